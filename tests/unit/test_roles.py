"""Every role is thin and says what it reads: the documentation, the defaults and the tasks agree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import jinja2.nodes
import pytest
import yaml
from ansible.module_utils.watchkeeper.catalogue import Project

from tests.unit.runs import ROOT

PROJECT = Project.load(ROOT)
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
SHARED = "watchkeeper"
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
}
every_role = pytest.mark.parametrize("role", ROLES)
every_component = pytest.mark.parametrize("name", list(PROJECT.components))


def load(role: str, part: str) -> Any:
    """Return what a file of a role says, or nothing."""
    path = ROOT / "roles" / role / part
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def options_of(role: str) -> dict[str, dict[str, Any]]:
    """Return the documented variables of a role."""
    options: dict[str, dict[str, Any]] = load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return options


def nested(options: dict[str, dict[str, Any]], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every option and every option inside of one."""
    for name, option in options.items():
        yield f"{path}{name}", option
        yield from nested(option.get("options", {}), f"{path}{name}.")


def texts(value: Any) -> Iterator[str]:
    """Yield every text in YAML data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (*texts(key), *texts(item))
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def templated(role: str) -> Iterator[str]:
    """Yield every text of a role that Ansible renders."""
    for part in ("tasks", "vars", "defaults", "handlers"):
        for path in (ROOT / "roles" / role / part).glob("*.yml"):
            yield from texts(yaml.safe_load(path.read_text(encoding="utf-8")))
    for path in (ROOT / "roles" / role / "templates").glob("**/*"):
        if path.is_file():
            yield path.read_text(encoding="utf-8")


def variables_read(role: str) -> set[str]:
    """Return the names of the variables that a role's templates read."""
    environment = jinja2.Environment(autoescape=False)  # noqa: S701 - parsed, never rendered
    trees = [environment.parse(text) for text in templated(role)]
    return {name.name for tree in trees for name in tree.find_all(jinja2.nodes.Name)}


def test_a_role_for_each_component() -> None:
    """And no role beside them but the shared one."""
    assert set(ROLES) == {*PROJECT.components, SHARED}


@every_role
def test_options_are_described(role: str) -> None:
    """Type and description, down to the last option inside an option."""
    for path, option in nested(options_of(role)):
        assert option.get("type") in TYPES, path
        described = option.get("description")
        assert described, path
        assert all(text.strip() for text in ([described] if isinstance(described, str) else described)), path
        if option["type"] == "list":
            assert option.get("elements") in TYPES, path


@every_role
def test_names_have_the_roles_prefix(role: str) -> None:
    """So that no two roles mean different things by one name."""
    for name in options_of(role):
        assert re.fullmatch(rf"{role}_[a-z0-9_]+", name)
    for name in load(role, "vars/main.yml"):
        assert name.startswith(f"__{role}_")


@every_role
def test_defaults_are_documented(role: str) -> None:
    """Literal defaults stand in both places with one value; a computed one is explained in words only."""
    options, defaults = options_of(role), load(role, "defaults/main.yml")
    assert set(defaults) <= set(options)
    for name, option in options.items():
        assert not option.get("required"), name
        if name not in defaults or "{{" in str(defaults[name]):
            assert "default" not in option, name
        else:
            assert option["default"] == defaults[name], name
            kinds = TYPES[option["type"]]
            assert isinstance(defaults[name], kinds), name
            assert kinds == (bool,) or not isinstance(defaults[name], bool), name


@every_role
def test_variables_that_are_read_exist(role: str) -> None:
    """Every variable with a role's prefix is documented by its role, or is an internal one of this role."""
    documented = {name for other in ROLES for name in options_of(other)}
    internal = set(load(role, "vars/main.yml"))
    for path in (ROOT / "roles" / role / "tasks").iterdir():
        for task in load(role, f"tasks/{path.name}"):
            internal |= {*task.get("vars", {}), task.get("register", "")}
    prefixes = tuple(f"{other}_" for other in ROLES)
    for name in variables_read(role):
        if name.startswith(prefixes):
            assert name in documented, name
        if name.startswith("__"):
            assert name in internal, name


@every_role
def test_what_is_documented_without_default_is_not_read_as_it_is(role: str) -> None:
    """It would end a run as an undefined variable."""
    without = set(options_of(role)) - set(load(role, "defaults/main.yml"))
    assert not without & variables_read(role)


@every_role
def test_documented_variables_are_read(role: str) -> None:
    """By the role itself, or by the project's code; a variable that nothing reads is a promise broken."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "plugins").glob("**/*.py"))
    code += "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "site.yml", *(ROOT / "playbooks").glob("*.yml"))
    )
    # A setting of the whole project may be read by name: lookup('watchkeeper', 'setting', NAME).
    code += "".join(re.findall(r"'setting', '\w+'", "".join(text for other in ROLES for text in templated(other))))
    read = variables_read(role)
    for name in options_of(role):
        # `<name>_default` is read together with `<name>`; f"{role}_state" and the like are read by their ending.
        words = (name, name.removesuffix("_default"), "{" + "key}" + name.removeprefix(role))
        assert name in read or any(word in code for word in words), name


@every_component
def test_defaults_are_the_catalogues(name: str) -> None:
    """Prometheus takes the catalogue's for hosts that do not say otherwise."""
    entry, defaults = PROJECT.entry(name), load(name, "defaults/main.yml")
    if entry.chosen_by:
        assert f"'setting', '{entry.chosen_by}') == '{name}'" in defaults[f"{name}_state"]
    else:
        assert defaults[f"{name}_state"] == entry.state
    assert defaults.get(f"{name}_port", 0) == entry.port
    if entry.instances:
        assert entry.instances.variable in defaults


@every_component
def test_common_variables(name: str) -> None:
    """What the preflight and the scrape jobs count on."""
    options = options_of(name)
    assert options[f"{name}_state"]["choices"] == ["present", "absent"]
    if PROJECT.entry(name).port:
        assert options[f"{name}_port"]["type"] == "int"
        assert options[f"{name}_listen_address"]["type"] == "str"
    if PROJECT.entry(name).kind != "host":
        assert options[f"{name}_version"]["default"] == ""
        assert options[f"{name}_unit_settings"]["type"] == "dict"
        assert options[f"{name}_arguments"]["elements"] == "str"


@every_role
def test_roles_are_thin(role: str) -> None:
    """One task: the component, or the check of all variables. What goes with it comes before or after, in files."""
    tasks = load(role, "tasks/main.yml")
    for task in tasks:
        assert re.fullmatch(r"[A-Z][^{}]+[^.]", task["name"])
    if role == SHARED:
        assert len(tasks) == 1
        assert "preflight" in tasks[0]
        return
    if PROJECT.entry(role).kind == "host":
        assert not any("component" in task for task in tasks)
        return
    [task] = [item for item in tasks if "component" in item]
    requested = [item for item in tasks if item is not task]
    for include in requested:
        assert set(include) == {"name", "ansible.builtin.include_tasks", "when"}
        assert f"{role}_" in str(include["when"])
    files = {path.name for path in (ROOT / "roles" / role / "tasks").iterdir()}
    assert files == {"main.yml", *(include["ansible.builtin.include_tasks"] for include in requested)}
    # One of several that can be chosen leaves its removal to the one that follows it.
    assert set(task) <= {"name", "component", "vars", *(["when"] if PROJECT.entry(role).chosen_by else [])}
    component = task["component"]
    assert component["name"] == role
    for key in ("state", "version"):
        assert component[key] == f"{{{{ {role}_{key} }}}}"
    assert component["listen"] == [f"{{{{ {role}_listen_address }}}}:{{{{ {role}_port }}}}"]


@every_role
def test_files_of_a_role_are_used(role: str) -> None:
    """Templates and files that no task names are left-overs."""
    rendered = "\n".join(templated(role))
    for part in ("files", "templates"):
        for path in Path(ROOT, "roles", role, part).glob("**/*"):
            assert path.is_dir() or path.name in rendered, path
