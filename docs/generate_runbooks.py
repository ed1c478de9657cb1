"""Write the runbook pages, ``docs/runbooks/<alert>.md`` and the list of them, from the alert catalogue.

``--check`` writes nothing and fails when a page is missing, stale or left over.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ansible.module_utils

ROOT = Path(__file__).resolve().parents[1]
ansible.module_utils.__path__.append(str(ROOT / "plugins" / "module_utils"))

from ansible.module_utils.watchkeeper import alerts as catalogue  # noqa: E402

FOLDER = ROOT / "docs" / "runbooks"


def render_pages() -> dict[str, str]:
    """Return every page's text by file name."""
    alerts = catalogue.load_catalogue(ROOT / "files" / "alerts")
    pages = {f"{alert.name}.md": catalogue.render_runbook(alert) for alert in alerts}
    return {"README.md": catalogue.render_runbook_index(alerts), **pages}


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them, and return the exit code."""
    pages = render_pages()
    present = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    if arguments == ["--check"]:
        differing = sorted(name for name in {*pages, *present} if pages.get(name) != present.get(name))
        if differing:
            print(f"run `python docs/generate_runbooks.py`; out of date: {', '.join(differing)}", file=sys.stderr)
        return 1 if differing else 0
    FOLDER.mkdir(exist_ok=True)
    for name in present.keys() - pages.keys():
        (FOLDER / name).unlink()
    for name, text in pages.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
