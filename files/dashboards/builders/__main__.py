"""Write every dashboard to `files/dashboards/<name>.json`, or with `--check` say which of them are not as built."""

from __future__ import annotations

import json
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module

from files.dashboards import builders
from files.dashboards.builders.library import FOLDER, Board

NOT_DASHBOARDS = ("library", "__main__")


def boards() -> list[Board]:
    """Return all dashboards, in the order of their modules' names."""
    names = sorted(item.name for item in pkgutil.iter_modules(builders.__path__))
    return [import_module(f"{builders.__name__}.{name}").build() for name in names if name not in NOT_DASHBOARDS]


def pages() -> dict[str, str]:
    """Return the text of every file by its name."""
    return {f"{board.name}.json": json.dumps(board.data(), indent=2, ensure_ascii=False) + "\n" for board in boards()}


def main(arguments: Sequence[str]) -> int:
    """Write or compare; files of dashboards that are gone are removed, or reported."""
    built = pages()
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    stale = sorted(name for name in {*built, *found} if built.get(name) != found.get(name))
    if "--check" in arguments:
        for name in stale:
            print(f"files/dashboards/{name}: not what its builder makes; run `make dashboards`", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        if name in built:
            (FOLDER / name).write_text(built[name], encoding="utf-8")
        else:
            (FOLDER / name).unlink()
        print(f"files/dashboards/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
