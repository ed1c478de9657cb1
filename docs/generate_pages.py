"""Write the reference pages from what the code already says of itself.

``docs/components/`` comes from the catalogue, the lock file and the roles' argument specifications, ``docs/modules/``
from the modules' own documentation, ``docs/urls.md`` from the catalogue and ``docs/alerts.md`` from the alert entries.
``--check`` writes nothing and fails when a page is missing, stale or left over.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ansible.module_utils
import yaml

ROOT = Path(__file__).resolve().parents[1]
ansible.module_utils.__path__.append(str(ROOT / "plugins" / "module_utils"))

from ansible.module_utils.watchkeeper import alerts as alert_catalogue  # noqa: E402
from ansible.module_utils.watchkeeper.catalogue import DEFAULT_GROUPS, Entry, Project, load_lock  # noqa: E402
from ansible.module_utils.watchkeeper.settings import documented  # noqa: E402

FOLDER = ROOT / "docs"
# Folders that hold generated pages only.
OWN_FOLDERS = ("components", "modules")
SHARED_ROLE = "watchkeeper"
# Metrics that an exporter has under another name than its own.
FURTHER_METRICS = {
    "blackbox_exporter": ("probe_",),
    "postgres_exporter": ("pg_",),
    "docker_engine": ("engine_daemon_",),
    "cadvisor": ("container_",),
    "alloy": ("loki_write_",),
    "health_app": ("http_re", "cache_requests_", "db_query_", "health_check_"),
}
# A longer default has no place in a table's cell.
LONGEST_CELL = 60
# A longer value is told by the runbook alone.
LONGEST_PARAMETER = 30

Options = Mapping[str, Mapping[str, Any]]


def marker(sources: str) -> str:
    """Return the first line of a page, which tells where its text comes from."""
    return f"<!-- Generated from {sources} by docs/generate_pages.py: do not edit. -->"


def markdown(text: object) -> str:
    """Return Ansible's markup as Markdown: C(), O(), V() and the like become code."""
    return re.sub(r"\b[COVEM]\(([^)]*)\)", r"`\1`", str(text))


def prose(description: object) -> str:
    """Return a description, which may be a list of sentences, as one paragraph."""
    parts = description if isinstance(description, list) else [description]
    return markdown(" ".join(str(part).strip() for part in parts if part))


def cell(text: str) -> str:
    """Return a text that a table's cell can hold."""
    return text.replace("|", "\\|").replace("\n", " ")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def code(text: str, language: str) -> str:
    """Return a fenced block."""
    return f"```{language}\n{text.strip()}\n```"


def flow(value: object) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()
    return text.removesuffix("\n...").strip()


# Variables


def kind(option: Mapping[str, Any]) -> str:
    """Return the type of an option for people."""
    name = str(option.get("type", "str"))
    return f"list of {option['elements']}" if name == "list" and "elements" in option else name


def nested(option: Mapping[str, Any]) -> Options:
    """Return the options of a mapping, or of the mappings of a list."""
    return option.get("options") or option.get("suboptions") or {}


def meaning(option: Mapping[str, Any]) -> str:
    """Return description, choices and whether it is a secret."""
    text = prose(option.get("description", ""))
    if "choices" in option:
        text += f" One of {', '.join(f'`{choice}`' for choice in option['choices'])}."
    if option.get("no_log"):
        text += " A secret: keep it in a vault."
    return text


def default_cell(name: str, option: Mapping[str, Any], fallbacks: Mapping[str, Any]) -> str:
    """Return the default for a cell; one that is computed or long is told in words."""
    if option.get("required"):
        return "required"
    value = option.get("default", fallbacks.get(name))
    if value is None:
        return ""
    text = flow(value)
    if "{{" in text:
        return "derived"
    return f"`{text}`" if len(text) <= LONGEST_CELL else "see below"


def flattened(options: Options, prefix: str = "") -> list[tuple[str, Mapping[str, Any]]]:
    """Return all options below one, each with its dotted path; ``[]`` stands for the entries of a list."""
    found = []
    for name, option in options.items():
        path = f"{prefix}{name}"
        found.append((path, option))
        found += flattened(nested(option), f"{path}[]." if option.get("type") == "list" else f"{path}.")
    return found


def variables(options: Options, fallbacks: Mapping[str, Any]) -> str:
    """Return the table of variables, the long defaults, and a table for the entries of each structured one."""
    headings = ("Variable", "Type", "Default", "Meaning")
    rows = [
        (f"`{name}`", kind(option), default_cell(name, option, fallbacks), meaning(option))
        for name, option in options.items()
    ]
    blocks = [table(headings, rows)]
    for name, option in options.items():
        if default_cell(name, option, fallbacks) == "see below":
            text = yaml.safe_dump({name: option.get("default", fallbacks.get(name))}, sort_keys=False, width=110)
            blocks += [f"The default of `{name}`:", code(text, "yaml")]
    structured: list[tuple[list[str], Options]] = []
    for name, option in options.items():
        if inner := nested(option):
            twin = next((names for names, known in structured if known == inner), None)
            if twin is None:
                structured.append(([name], inner))
            else:
                twin.append(name)
    for names, inner in structured:
        blocks.append(f"### Entries of {' and '.join(f'`{name}`' for name in names)}")
        inner_rows = [
            (f"`{path}`", kind(option), default_cell(path, option, {}), meaning(option))
            for path, option in flattened(inner)
        ]
        blocks.append(table(("Key", "Type", "Default", "Meaning"), inner_rows))
    return "\n\n".join(blocks)


def role_spec(role: str) -> Mapping[str, Any]:
    """Return the argument specification of a role."""
    text = (ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    spec: Mapping[str, Any] = yaml.safe_load(text)["argument_specs"]["main"]
    return spec


def role_defaults(role: str) -> dict[str, Any]:
    """Return the defaults of a role."""
    return dict(yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8")))


# Alerts


def watches(alert: alert_catalogue.Alert, entry: Entry) -> bool:
    """Tell whether an alert's expression asks for metrics of a component."""
    if alert.language == alert_catalogue.LOGQL:
        return entry.name == "loki"
    prefixes = [f"{entry.name}_", *FURTHER_METRICS.get(entry.name, ())]
    if entry.released:
        # An upstream's job is called like its metrics; an application's is not.
        prefixes.append(f"{entry.job}_")
    return any(re.search(rf"\b{re.escape(prefix)}\w", alert.expr) for prefix in prefixes)


def alert_rows(alerts: Iterable[alert_catalogue.Alert], runbooks: str) -> list[tuple[str, ...]]:
    """Return the rows of an alert table; `runbooks` is the way to their folder."""
    rows: list[tuple[str, ...]] = []
    for alert in alerts:
        parameters = ", ".join(
            f"`{name}`" if len(str(value)) > LONGEST_PARAMETER else f"`{name}: {value}`"
            for name, value in alert.parameters.items()
        )
        name = f"[{alert.name}]({runbooks}/{alert.name}.md)" if alert.runbook else alert.name
        rows.append((name, alert.severity, alert.wait, alert.fill(alert.summary), parameters))
    return rows


ALERT_HEADINGS = ("Alert and runbook", "Severity", "For", "Summary", "Parameters")


def alerts_page(alerts: Sequence[alert_catalogue.Alert]) -> str:
    """Return the page of all alerts, group by group."""
    blocks = [
        marker("files/alerts/*.yml"),
        "# Alerts",
        (
            "Each alert is one entry in `files/alerts/`: expression, texts, runbook and test cases. Its name leads to "
            "its runbook. Parameters, `for`, `severity`, `summary`, `description`, `labels` and `enabled` can be "
            "set with `watchkeeper_alerts`, see [howto.md](howto.md#change-an-alert-or-switch-it-off). Alerts of "
            "yours go into `watchkeeper_alerts_extra`."
        ),
    ]
    for group in dict.fromkeys(alert.group for alert in alerts):
        own = [alert for alert in alerts if alert.group == group]
        blocks += [f"## {group.capitalize()}", table(ALERT_HEADINGS, alert_rows(own, "runbooks"))]
    return "\n\n".join(blocks) + "\n"


# Components


def group_in_words(entry: Entry) -> str:
    """Return which hosts run a component."""
    group = DEFAULT_GROUPS.get(entry.group, entry.group)
    hosts = "all hosts" if group == "all" else f"the hosts of the group `{group}`"
    return f"{hosts}, unless `watchkeeper_groups.{entry.group}` names another group"


def account(entry: Entry) -> str:
    """Return the account under which a component runs, as its task says."""
    tasks = yaml.safe_load((ROOT / "roles" / entry.name / "tasks" / "main.yml").read_text(encoding="utf-8"))
    [component] = [task["component"] for task in tasks if "component" in task]
    return str(component.get("account") or entry.name)


def facts(entry: Entry, options: Options, pins: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the catalogue, the lock file and the engine fix about a component."""
    own = f"/etc/watchkeeper/{entry.name}/current/config/"
    jobs = ", ".join(f"`{job}`" for job in entry.jobs)
    path = entry.instances.path if entry.instances else entry.metrics_path
    where = "" if "{" in path else f", path `{path}`"
    runs = group_in_words(entry)
    if entry.state != "present":
        runs += f", where `{entry.name}_state` is `present`"
    if entry.chosen_by:
        runs += f", where `{entry.chosen_by}` is `{entry.name}`"
    rows = [
        ("Version", f"{entry.version} (`{entry.name}_version`)" if entry.version else ""),
        ("Pinned in `files/lock.yml`", ", ".join(f"{version} ({', '.join(pins[version])})" for version in pins)),
        ("Pinned in", f"`{entry.requirements}`" if entry.requirements else ""),
        ("Runs on", runs),
        ("Port", f"{entry.port} (`{entry.name}_port`)" if entry.port else ""),
        ("Scrape job", f"{jobs}{where}" if jobs else ""),
        ("Measures", f"each item of `{entry.instances.variable}`" if entry.instances else ""),
        ("Ready when", f"`{entry.ready}` answers 200" if entry.ready else ""),
        ("A change counts when", ", ".join(f"`{name}` is not 0" for name in entry.samples)),
        ("Page for people", f"`http://HOST:{entry.port}{entry.ui}`" if entry.ui else ""),
    ]
    if entry.kind != "host":
        rows += [
            ("Unit", f"`{entry.name}.service`"),
            ("Program", f"`/opt/watchkeeper/{entry.name}/VERSION/`"),
            ("Configuration", f"`{own}` (root writes, the account `{account(entry)}` reads)"),
        ]
    for name, option in options.items():
        if option.get("type") == "path" and option.get("default"):
            rows.append(("Data", f"`{option['default']}` (`{name}`)"))
    rows.append(("Upstream", f"<{entry.documentation}>"))
    return [(title, text) for title, text in rows if text]


def life(entry: Entry, place: str) -> list[str]:
    """Return how a component comes, changes and goes."""
    more = "" if entry.state == "present" else f" and set `{entry.name}_state: present`"
    if entry.chosen_by:
        more = f" and set `{entry.chosen_by}: {entry.name}`"
    taken = "sets it up" if entry.kind == "host" else "installs it"
    if entry.kind != "host" and entry.job:
        taken += " and Prometheus scrapes it"
    add = f"Add: put the host into {place}{more}. The next run {taken}."
    commands = code(
        f"ansible-playbook -i inventory/mine site.yml --check --diff --tags {entry.name}\n"
        "ansible-playbook -i inventory/mine site.yml",
        "bash",
    )
    absent = f"{entry.chosen_by}: none" if entry.chosen_by else f"{entry.name}_state: absent"
    remove = f"Remove: set `{absent}` for the host and run `site.yml`."
    mine = "`inventory/mine` stands for your inventory."
    if entry.kind == "host":
        return ["## Add, remove", mine, add, commands, f"{remove} What it has written goes."]
    upgrade = "take a newer checkout of this project, and run `site.yml`."
    if entry.released:
        upgrade = f"set `{entry.name}_version` to a version that the lock file pins, or {upgrade}"
    return [
        "## Add, upgrade, roll back, remove",
        mine,
        add,
        commands,
        f"Upgrade: {upgrade} If the new version does not become ready, the old one comes back by itself.",
        "Roll back to the state that was proven before the present one:",
        code(
            f"ansible-playbook -i inventory/mine playbooks/rollback.yml -e component={entry.name} --limit HOST",
            "bash",
        ),
        (
            f"Then set `{entry.name}_version` (and what else has changed) in the inventory to what runs now, or the "
            "next `site.yml` goes forward again."
        ),
        f"{remove} Data stays, see [howto.md](../howto.md#remove-a-component-or-a-host).",
    ]


def component_page(entry: Entry, alerts: Sequence[alert_catalogue.Alert], pins: Mapping[str, Any]) -> str:
    """Return the page of one component."""
    spec, options = role_spec(entry.name), documented(ROOT, entry.name)
    own = [alert for alert in alerts if watches(alert, entry)]
    everywhere = DEFAULT_GROUPS.get(entry.group) == "all"
    place = "the inventory" if everywhere else f"the inventory's group `{entry.group}`"
    blocks = [
        marker(f"files/components.yml, files/lock.yml, files/alerts/ and roles/{entry.name}/"),
        f"# {entry.title}",
        f"{prose(spec['short_description'])}. {prose(spec['description'])}",
        table(("", ""), facts(entry, options, pins)),
        *life(entry, place),
        "## Variables",
        "Settings that all components share are on [their own page](watchkeeper.md).",
        variables(options, role_defaults(entry.name)),
        "## Alerts",
    ]
    if own:
        blocks.append(table(ALERT_HEADINGS, alert_rows(own, "../runbooks")))
    blocks.append(
        "`ServiceDown` and `TargetMissing` watch every scrape job. All alerts are listed in [alerts.md](../alerts.md)."
    )
    return "\n\n".join(blocks) + "\n"


def shared_page() -> str:
    """Return the page of the settings that all components share."""
    spec = role_spec(SHARED_ROLE)
    blocks = [
        marker(f"roles/{SHARED_ROLE}/"),
        "# Shared settings",
        (
            f"{prose(spec['short_description'])}. Set them in the `group_vars` or `host_vars` of your inventory. "
            "A variable that starts with the name of a role of this project but that nothing reads stops the run, with "
            "the name that was probably meant."
        ),
        variables(documented(ROOT, SHARED_ROLE), role_defaults(SHARED_ROLE)),
    ]
    return "\n\n".join(blocks) + "\n"


def urls_page(project: Project) -> str:
    """Return the table of ports and addresses."""
    rows = [
        (
            f"[{entry.title}](components/{entry.name}.md)",
            entry.version,
            str(entry.port or ""),
            f"`http://HOST:{entry.port}{entry.ui}`" if entry.ui else "",
            f"`http://HOST:{entry.port}{entry.metrics_path}`" if entry.port and entry.job else "",
            ", ".join(f"`{job}`" for job in entry.jobs),
            f"`{entry.ready}`" if entry.ready else "",
        )
        for entry in project.components.values()
    ]
    blocks = [
        marker("files/components.yml"),
        "# Components, ports and addresses",
        table(("Component", "Version", "Port", "Page", "Metrics", "Job", "Ready probe"), rows),
        (
            "None of these programs but Grafana and Bugsink has a login. Where there is one monitoring host, "
            "Prometheus, Alertmanager, Grafana and the blackbox exporter listen on its loopback address only: reach "
            "them [through SSH](howto.md#open-the-pages). Two more jobs come from the blackbox exporter: `blackbox` "
            "(`watchkeeper_probes`) and `ping` (every host of the inventory)."
        ),
        "Several monitoring hosts also use TCP and UDP port 9094 (`alertmanager_cluster_port`) between them.",
    ]
    return "\n\n".join(blocks) + "\n"


# Modules


def module_texts(path: Path) -> dict[str, str]:
    """Return the documentation strings of a module, or of a fragment's class, without running it."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
                found[name] = str(ast.literal_eval(node.value))
    return found


def returned(values: Mapping[str, Mapping[str, Any]], prefix: str = "") -> list[tuple[str, ...]]:
    """Return the rows of a module's result."""
    rows: list[tuple[str, ...]] = []
    for name, value in values.items():
        rows.append((f"`{prefix}{name}`", kind(value), str(value.get("returned", "")), prose(value["description"])))
        rows += returned(value.get("contains", {}), f"{prefix}{name}.")
    return rows


def module_page(path: Path) -> str:
    """Return the page of one module."""
    texts = module_texts(path)
    about = yaml.safe_load(texts["DOCUMENTATION"])
    known = dict(about["options"])
    for fragment in about.get("extends_documentation_fragment", []):
        shared = module_texts(ROOT / "plugins" / "doc_fragments" / f"{fragment}.py")
        known.update(yaml.safe_load(shared["DOCUMENTATION"])["options"])
    options = [
        (f"`{name}`", kind(option), default_cell(name, option, {}), meaning(option))
        for name, option in flattened(known)
    ]
    sentences = [f"- {markdown(sentence)}" for sentence in about["description"]]
    attributes = [
        (name.replace("_", " "), str(entry["support"]) if "support" in entry else "", prose(entry["description"]))
        for name, entry in about.get("attributes", {}).items()
    ]
    blocks = [
        marker(f"library/{path.name}"),
        f"# Module {about['module']}",
        f"{markdown(about['short_description'])}.",
        "\n".join(sentences),
        "## Options",
        table(("Option", "Type", "Default", "Meaning"), options),
        "## Examples",
        code(texts["EXAMPLES"], "yaml"),
        "## Result",
        table(("Key", "Type", "Returned", "Meaning"), returned(yaml.safe_load(texts["RETURN"]))),
    ]
    if attributes:
        blocks += ["## Check mode and diff", table(("Feature", "Support", "Meaning"), attributes)]
    return "\n\n".join(blocks) + "\n"


# All pages


def render_pages() -> dict[str, str]:
    """Return every page's text by its path below ``docs/``."""
    project, alerts = Project.load(ROOT), alert_catalogue.load_catalogue(ROOT / "files" / "alerts")
    lock = load_lock(ROOT)
    pages = {
        f"components/{name}.md": component_page(entry, alerts, lock.get(name, {}))
        for name, entry in project.components.items()
    }
    pages[f"components/{SHARED_ROLE}.md"] = shared_page()
    for path in sorted((ROOT / "library").glob("*.py")):
        pages[f"modules/{path.stem}.md"] = module_page(path)
    return {**pages, "urls.md": urls_page(project), "alerts.md": alerts_page(alerts)}


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them, and return the exit code."""
    pages = render_pages()
    files = [FOLDER / name for name in pages if (FOLDER / name).exists()]
    files += [file for folder in OWN_FOLDERS for file in (FOLDER / folder).glob("*.md")]
    present = {str(file.relative_to(FOLDER)): file.read_text(encoding="utf-8") for file in files}
    if arguments == ["--check"]:
        differing = sorted(name for name in {*pages, *present} if pages.get(name) != present.get(name))
        if differing:
            print(f"run `make docs`; out of date: {', '.join(differing)}", file=sys.stderr)
        return 1 if differing else 0
    for name in present.keys() - pages.keys():
        (FOLDER / name).unlink()
    for name, text in pages.items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
