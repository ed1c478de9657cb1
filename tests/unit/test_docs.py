"""The documentation says what is true of the code: pages are current, links lead somewhere, names and examples work."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper import alerts, receivers, validation
from ansible.module_utils.watchkeeper.catalogue import Project
from ansible.module_utils.watchkeeper.settings import documented

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ROLES = ("watchkeeper", *Project.load(ROOT).components)
# Runbooks speak of metrics and have tests of their own.
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(path for path in DOCS.rglob("*.md") if path.parent.name != "runbooks"),
]
# Top-level folders: code that starts with one of these is a path of the repository.
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
# The user's own copy of the example inventory.
MINE = "inventory/mine"


def page_name(path: Path) -> str:
    """Name a page in the list of tests."""
    return str(path.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=page_name)


@cache
def text_of(page: Path) -> str:
    """Return a page's text."""
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str = "") -> list[str]:
    """Return the contents of a page's fenced blocks, also of those inside a list."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", text_of(page), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", body, flags=re.M) for indent, name, body in found if language in ("", name)]


def without_blocks(page: Path) -> str:
    """Return a page's text without fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[str]:
    """Return each line of shell blocks and each piece of inline code."""
    for block in blocks(page, "bash"):
        yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())
    yield from re.findall(r"`([^`\n]+)`", without_blocks(page))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings as forges make them."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Generated pages


@pytest.mark.parametrize("script", sorted(DOCS.glob("generate_*.py")), ids=page_name)
def test_generated_pages_are_current(script: Path) -> None:
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_marker_stands_on_every_generated_page() -> None:
    for folder in ("components", "modules"):
        for page in (DOCS / folder).glob("*.md"):
            assert "do not edit" in text_of(page).splitlines()[0], page_name(page)


def test_every_component_variable_and_alert_is_documented() -> None:
    for role in ROLES:
        page = text_of(DOCS / "components" / f"{role}.md")
        for name in documented(ROOT, role):
            assert f"`{name}`" in page
    listed = text_of(DOCS / "alerts.md")
    for alert in alerts.load_catalogue(ROOT / "files" / "alerts"):
        assert f"[{alert.name}](runbooks/{alert.name}.md)" in listed


# What the pages refer to


@every_page
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page)):
        if re.match(r"https?:", target):
            continue
        path, _hash, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target}: no such file"
        assert not anchor or anchor in anchors(linked), f"{target}: no such heading"


@every_page
def test_variables_exist(page: Path) -> None:
    options = {name: option for role in ROLES for name, option in documented(ROOT, role).items()}
    # The keys of a list's items, too: one may begin with the name of a role.
    known = {*options, *(key for option in options.values() for key in option.get("options") or {})}
    for playbook in (ROOT / "playbooks").glob("*.yml"):
        known.update(re.findall(r"\bwatchkeeper_\w+", playbook.read_text(encoding="utf-8")))
    # A module may begin with the name of a role, and so may what an alert can be told.
    known.update(name for alert in alerts.load_catalogue(ROOT / "files" / "alerts") for name in alert.parameters)
    known.update(path.stem for path in (ROOT / "library").glob("*.py"))
    # Longer prefixes first; a name is no path and no part of a metric.
    prefixes = "|".join(sorted(ROLES, key=len, reverse=True))
    used = set(re.findall(rf"(?<![\w/.-])((?:{prefixes})_[a-z]\w*)", text_of(page)))
    assert used <= known, f"not variables: {', '.join(sorted(used - known))}"


@every_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for command in commands(page):
        if match := re.match(r"make ([a-z][a-z-]*)", command):
            assert match[1] in targets, command


@every_page
def test_playbooks_and_paths_exist(page: Path) -> None:
    for command in commands(page):
        words = command.split()
        paths = [word for word in words if word.split("/")[0] in FOLDERS and "/" in word]
        if words[:1] == ["ansible-playbook"]:
            paths += [word for word in words if word.endswith(".yml")]
        for path in paths:
            if not path.startswith(MINE) and not re.search(r"[<>*…]|[A-Z]{4}", path):
                assert (ROOT / path).exists(), f"{command}: {path} does not exist"


@every_page
def test_nothing_of_one_machine_is_in_a_page(page: Path) -> None:
    assert not re.search(r"/(work|tmp|root|home)/", text_of(page))


# Examples


class Loader(yaml.SafeLoader):
    """YAML as Ansible reads it: `!unsafe` marks a text that is no template."""


def plain_text(loader: yaml.SafeLoader, node: Any) -> Any:
    """Read a tagged text as a text."""
    return loader.construct_scalar(node)


Loader.add_constructor("!unsafe", plain_text)


def example_settings(page: Path) -> dict[str, Any]:
    """Return all examples of a page as one set of variables; lists and mappings grow together."""
    merged: dict[str, Any] = {}
    for block in blocks(page, "yaml"):
        for name, value in yaml.load(block, Loader).items():  # noqa: S506 - a safe loader with one more tag
            if isinstance(value, list):
                merged[name] = [*merged.get(name, []), *value]
            elif isinstance(value, dict):
                merged[name] = {**merged.get(name, {}), **value}
            else:
                merged[name] = value
    return merged


HOWTO = example_settings(DOCS / "howto.md")


def with_defaults(role: str) -> dict[str, Any]:
    """Return a role's variables as the how-to sets them."""
    defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8"))
    # A default that is made of other variables is not known here.
    plain = {name: value for name, value in defaults.items() if "{{" not in str(value)}
    return {**plain, **{name: value for name, value in HOWTO.items() if name in documented(ROOT, role)}}


def test_examples_of_alerts_are_accepted() -> None:
    entries = alerts.load_catalogue(ROOT / "files" / "alerts")
    together = alerts.add_extras(entries, HOWTO["watchkeeper_alerts_extra"])
    changed = alerts.apply_overrides(together, HOWTO["watchkeeper_alerts"])
    assert len(changed) == len(together) - 1


def test_examples_of_receivers_and_routes_are_accepted() -> None:
    secrets = {
        "alertmanager_smtp_auth_password": "secret",
        "alertmanager_slack_api_url": "https://hooks.slack.com/services/T/B/X",
        "alertmanager_pagerduty_routing_key": "0" * 32,
    }
    rendered = receivers.render({**with_defaults("alertmanager"), **secrets})
    assert rendered.unheard == ["database-team"]
    assert any("--verify.receivers=web-team,critical" in check for check in rendered.checks)


def test_examples_of_probes_and_jobs_are_accepted() -> None:
    modules = yaml.safe_load((ROOT / "roles/blackbox_exporter/vars/main.yml").read_text(encoding="utf-8"))
    assert validation.check_probes(HOWTO["watchkeeper_probes"], modules["__blackbox_exporter_modules"]) == []
    assert validation.check_prometheus(with_defaults("prometheus"), ["node"], ["targets"]) == []


def test_examples_name_variables_of_the_right_type() -> None:
    kinds: dict[str, Any] = {"str": str, "path": str, "list": list, "dict": dict, "int": int, "bool": bool}
    kinds["float"] = (int, float)
    options = {name: option for role in ROLES for name, option in documented(ROOT, role).items()}
    for name, value in HOWTO.items():
        # hosts.yml has another shape.
        if name != "all":
            assert isinstance(value, kinds[options[name].get("type", "str")]), name
            assert validation.check_format(name, value, options[name]) == ""
