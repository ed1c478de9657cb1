"""What Promtail gets for a plan: what its documentation allows, and the few things on which logs depend."""

from __future__ import annotations

import copy
import itertools
import json
import os
import stat
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper import promtail_config
from ansible.module_utils.watchkeeper.log_sources import (
    Json,
    Labels,
    Match,
    Multiline,
    Plan,
    Regex,
    Relabel,
    Replace,
    Source,
    Stage,
    StaticLabels,
    StructuredMetadata,
    Template,
    Timestamp,
    plan,
)

from tests.unit.live import ARCH, MIRROR
from tests.unit.promtail_schema import faults

URL = "http://127.0.0.1:3100/loki/api/v1/push"
VALUES: dict[str, Any] = {
    "promtail_listen_address": "0.0.0.0",  # noqa: S104 - rendered, not bound
    "promtail_port": 9080,
    "promtail_data_dir": "/var/lib/promtail",
    "promtail_log_level": "info",
    "promtail_batch_size": "1MiB",
    "promtail_batch_wait": "1s",
}
STAGES: tuple[Stage, ...] = (
    StaticLabels({"job": "app", "release": "1e3", "canary": "y"}),
    Multiline(r"^(\d{4}-|\{)", 500, "3s"),
    Replace(r"(?i)(?:password|token)=(\S+)", "<hidden>"),
    Replace(r"(eyJ[\w-]+\.[\w-]+)", '{{ .Value | trunc 3 }}"masked"'),
    Json({"time": "timestamp", "level": "level", "trace_id": 'trace."id"'}),
    Regex(r'^(?P<address>\S+) "(?P<method>[A-Z]+) (?P<status>\d)\d\d"'),
    Template("level", '{{ if eq .Value "err" }}error{{ else }}{{ .Value }}{{ end }}'),
    Timestamp("time", ("RFC3339Nano", "2006-01-02 15:04:05"), "Europe/Berlin"),
    Timestamp("time", ("02/Jan/2006:15:04:05 -0700",)),
    Labels({"level": "level"}),
    StructuredMetadata({"context": "context", "request_id": "request_id"}),
    Match('{job="app"} |= "health"', (Replace("(secret)", "x"), Match('{level="debug"}', (Labels({"kind": "kind"}),)))),
)
RULES = (
    Relabel("__journal__systemd_unit", "(.+)", "$1", "unit"),
    Relabel("__meta_docker_container_name", "/(.*)", "${1}", "container"),
)
SOURCES = {
    "journal": Source("journal", "journal", relabel=RULES[:1], stages=(StaticLabels({"job": "systemd-journal"}),)),
    "bare journal": Source("kernel", "journal", max_age="48h"),
    "matching journal": Source("ssh", "journal", matches="_SYSTEMD_UNIT=ssh.service PRIORITY=6", stages=STAGES),
    "one file": Source("syslog", "files", paths=("/var/log/syslog",), stages=STAGES),
    "many files": Source(
        "app", "files", paths=("/srv/app/**/*.log", "/srv/app/error.log"), exclude=("/srv/app/**/*.gz", "/srv/app/x")
    ),
    "one excluded": Source("nginx", "files", paths=("/var/log/nginx/*.log",), exclude=("/var/log/nginx/error.log",)),
    "docker": Source("docker", "docker", docker_host="unix:///var/run/docker.sock", relabel=RULES[1:], stages=STAGES),
    "remote docker": Source("remote", "docker", docker_host="tcp://127.0.0.1:2375"),
}
ACCOUNTS: dict[str, dict[str, str]] = {
    "open": {},
    "tenant": {"tenant": "shop"},
    "password": {"username": "shipper", "password": "planted-password"},
    "both": {"tenant": "1e3", "username": "no", "password": "planted-password"},
}
CHOICES: dict[str, tuple[Any, ...]] = {
    "promtail_listen_address": ("0.0.0.0", "[::1]", "localhost"),  # noqa: S104 - rendered, not bound
    "promtail_log_level": ("info", "error"),
    "promtail_batch_size": ("1MiB", "512KB", "4MiB"),
    "promtail_batch_wait": ("1s", "500ms"),
}


def plan_of(*sources: Source, **more: Any) -> Plan:
    """A plan for one host."""
    return Plan(**{"url": URL, "labels": {"host": "web1"}, "sources": sources, **more})


def files_of(wanted: Plan, **values: Any) -> dict[str, str]:
    """The rendered files by path, as they lie on the host."""
    found = promtail_config.render(wanted, {**VALUES, **values}).files
    return {item["path"]: item["content"].replace("{config}/", "/etc/watchkeeper/") for item in found}


def documents(wanted: Plan, **values: Any) -> dict[str, Any]:
    """The files in Promtail's form, read back."""
    files = files_of(wanted, **values)
    return {name: yaml.safe_load(files[name]) for name in ("promtail.yml", "check.yml")}


def running(*sources: Source, **more: Any) -> dict[str, Any]:
    """What runs for some sources."""
    found: dict[str, Any] = documents(plan_of(*sources, **more))["promtail.yml"]
    return found


def job(source: Source) -> dict[str, Any]:
    """The scrape configuration of a source."""
    [found] = running(source)["scrape_configs"]
    assert isinstance(found, dict)
    return found


def variants() -> Iterator[tuple[str, Plan, dict[str, Any]]]:
    """Every source with every stage on its own and with all, every account, and every choice of the variables."""
    for name, source in SOURCES.items():
        yield name, plan_of(source), {}
        for index, item in enumerate(STAGES):
            yield f"{name} {index}", plan_of(Source(**{**vars(source), "stages": (item,)})), {}
    for name, account in ACCOUNTS.items():
        for labels in ({}, {"host": "web1"}, {"host": "web1", "environment": "y", "release": "12e4"}):
            yield f"{name} {labels}", plan_of(*SOURCES.values(), labels=labels, **account), {}
    yield "nothing", plan_of(), {}
    for chosen in itertools.product(*CHOICES.values()):
        yield f"{chosen}", plan_of(*SOURCES.values()), dict(zip(CHOICES, chosen, strict=True))


@pytest.mark.parametrize(("wanted", "values"), [item[1:] for item in variants()], ids=[item[0] for item in variants()])
def test_promtail_knows_every_key(wanted: Plan, values: dict[str, Any]) -> None:
    """And every value has the form that its documentation gives."""
    for name, document in documents(wanted, **values).items():
        assert faults(document) == [], name


DECLARED: list[dict[str, Any]] = [
    {
        "name": "journal",
        "type": "journal",
        "max_age": "2d",
        "matches": "_TRANSPORT=stdout",
        "json_units": ["a.service"],
    },
    {"name": "syslog", "type": "syslog", "paths": ["/var/log/syslog"], "timestamp": {"zone": "Europe/Berlin"}},
    {"name": "cron", "type": "text", "paths": ["/var/log/cron/{a,b}.log", "/srv/cron/*.log"]},
    {"name": "access", "type": "nginx_access", "paths": ["/var/log/nginx/access.log"], "labels": {"site": "1e3"}},
    {"name": "errors", "type": "nginx_error", "paths": ["/var/log/nginx/error.log"]},
    {
        "name": "shop",
        "type": "json",
        "paths": ["/srv/shop/**/*.log", "/home/shop/log/*.json"],
        "exclude": ["/srv/shop/old/*", "/srv/shop/**/*.1.log"],
        "multiline": {"first_line": "^[{]", "max_lines": 10, "max_wait": "1d"},
        "timestamp": {"field": "time", "zone": "Europe/Berlin", "formats": ["2006-01-02 15:04:05", "RFC3339"]},
        "fields": {"user": "context.user"},
    },
    {"name": "containers", "type": "docker", "json": True},
]
MASKS = [{"name": "token", "expression": r"token=(\S+)"}, {"name": "key", "expression": r"AKIA\w{16}"}]


def declared(*sources: dict[str, Any]) -> Plan:
    """The plan for sources as the inventory declares them."""
    settings: dict[str, Any] = {
        "agent": "promtail",
        "sources_default": [],
        "sources": list(sources),
        "masks_default": MASKS,
        "masks": [],
        "labels": {"environment": "y"},
        "url": URL,
        "tenant": "",
        "username": "",
        "password": "",
        "groups": [],
    }
    return plan({"host": "web1", "url": URL, **{f"watchkeeper_log_{key}": value for key, value in settings.items()}})


@pytest.mark.parametrize("sources", [*([item] for item in DECLARED), DECLARED], ids=lambda items: items[-1]["name"])
def test_every_type_of_source(sources: list[dict[str, Any]]) -> None:
    """As the inventory declares it."""
    for name, document in documents(declared(*sources)).items():
        assert faults(document) == [], name


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document at which a mapping is."""
    if isinstance(value, dict):
        yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths_in(item, (*path, key))


# The names in these are the user's.
FREE = ("labels", "structured_metadata", "static_labels", "expressions", "external_labels")


def test_a_key_of_nobodys_is_refused() -> None:
    """Wherever it stands: the table above has no hole."""
    whole = plan_of(*SOURCES.values(), **ACCOUNTS["both"])
    sound = documents(whole)["promtail.yml"]
    places = [path for path in paths_in(sound) if not path or path[-1] not in FREE]
    assert len(places) > 40
    for place in places:
        document = copy.deepcopy(sound)
        target = document
        for key in place:
            target = target[key]
        target["made-up"] = "x"
        assert faults(document), place


def test_a_value_of_the_wrong_form_is_refused() -> None:
    """A few of those that would be easy to render."""
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda it: it["clients"][0].update(batchsize="1MiB"),
        lambda it: it["clients"][0].update(batchwait=1),
        lambda it: it["clients"][0]["external_labels"].update(host=True),
        lambda it: it["server"].update(http_listen_address="[::1]"),
        lambda it: it["scrape_configs"][0]["journal"].update(max_age="2d"),
        lambda it: it["scrape_configs"].append(it["scrape_configs"][0]),
        lambda it: it["scrape_configs"][0]["pipeline_stages"][0].update(labels={"a": "b"}),
        lambda it: it["scrape_configs"][0]["pipeline_stages"].append({"labels": {"a": 1}}),
    ]
    for change in changes:
        document = running(SOURCES["journal"])
        assert faults(document) == []
        change(document)
        assert faults(document)


def test_nothing_is_given_up() -> None:
    """Retries without end, and no limit beyond which lines are dropped."""
    found = running(*SOURCES.values())
    [client] = found["clients"]
    assert client["backoff_config"]["max_retries"] == 0
    assert "drop_rate_limited_batches" not in client
    assert found["limits_config"] == {"readline_rate_enabled": False}


def test_ready_without_a_file_to_read() -> None:
    """A fresh host has none; and nobody outside of the host reaches the server that nobody needs."""
    server = running()["server"]
    assert server["health_check_target"] is False
    assert (server["grpc_listen_address"], server["grpc_listen_port"]) == ("127.0.0.1", 0)
    assert (server["http_listen_address"], server["http_listen_port"]) == ("0.0.0.0", 9080)  # noqa: S104 - compared
    assert not server["enable_runtime_reload"]
    assert not server["profiling_enabled"]


def test_the_password_is_in_a_file_of_its_own() -> None:
    """The configuration names the file, and nothing else holds the password."""
    wanted = plan_of(*SOURCES.values(), **ACCOUNTS["password"])
    rendered = promtail_config.render(wanted, VALUES)
    assert rendered.secrets == {"secrets/loki_password": "planted-password"}
    assert "planted-password" not in json.dumps(rendered.files) + repr(rendered)
    [client] = documents(wanted)["promtail.yml"]["clients"]
    assert client["basic_auth"] == {"username": "shipper", "password_file": "/etc/watchkeeper/secrets/loki_password"}
    assert promtail_config.render(plan_of(), VALUES).secrets == {}
    # A user without a password, as some proxies want it.
    alone = plan_of(username="shipper")
    assert promtail_config.render(alone, VALUES).secrets == {}
    assert documents(alone)["promtail.yml"]["clients"][0]["basic_auth"] == {"username": "shipper"}


def test_a_journal_entry_keeps_a_label_when_it_has_none_of_its_own() -> None:
    """Promtail drops an entry without labels before the first stage could give it one."""
    found = job(SOURCES["journal"])
    assert found["journal"] == {"max_age": "12h", "labels": {"job": "systemd-journal"}}
    rule = {"source_labels": ["__journal__systemd_unit"], "regex": "(.+)", "replacement": "$1", "target_label": "unit"}
    assert found["relabel_configs"] == [{**rule, "action": "replace"}]
    assert job(SOURCES["matching journal"])["journal"]["matches"] == "_SYSTEMD_UNIT=ssh.service PRIORITY=6"
    # Only those with which the stages begin.
    later = Source("late", "journal", stages=(Labels({"level": "level"}), StaticLabels({"job": "late"})))
    assert job(later)["journal"]["labels"] == {}


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        (("/var/log/*.log",), "/var/log/*.log"),
        (("/var/log/a.log", "/var/log/b.log"), "/var/log/{a.log,b.log}"),
        (("/var/log/nginx/*.log", "/var/log/b.log"), "/var/log/{nginx/*.log,b.log}"),
        (("/var/log/b.log", "/srv/**/*.log"), "/{var/log/b.log,srv/**/*.log}"),
        (("/srv/*/a/x.log", "/srv/*/a/y.log"), "/srv/{*/a/x.log,*/a/y.log}"),
        (("/srv/a/a", "/srv/a"), "/srv/{a/a,a}"),
    ],
)
def test_several_globs_become_one(paths: tuple[str, ...], wanted: str) -> None:
    """Each target of a job reads on its own, so a file that two globs match would be sent twice."""
    found = job(Source("app", "files", paths=paths, exclude=paths))
    assert found["static_configs"] == [{"labels": {"__path__": wanted, "__path_exclude__": wanted}}]


def test_a_file_has_no_label_before_the_stages() -> None:
    """As with Alloy, where the position of a file hangs on its labels."""
    assert job(SOURCES["one file"])["static_configs"] == [{"labels": {"__path__": "/var/log/syslog"}}]


def test_containers() -> None:
    """Labels from the discovery; empty lines are left out as Alloy leaves them out."""
    found = job(SOURCES["docker"])
    assert found["docker_sd_configs"] == [{"host": "unix:///var/run/docker.sock", "refresh_interval": "5s"}]
    first, second, *_rest = found["pipeline_stages"]
    assert first == {"drop": {"expression": "^$", "drop_counter_reason": "empty"}}
    assert "static_labels" in second
    assert "drop" not in job(SOURCES["one file"])["pipeline_stages"][0]


def settings_of(*sources: Source, **values: Any) -> dict[str, Any]:
    """The settings of the unit."""
    return promtail_config.render(plan_of(*sources), {**VALUES, **values}).settings


def test_who_may_read_what() -> None:
    """The groups of logs; that of Docker, which is as good as root, only for a socket of its own."""
    for name, source in SOURCES.items():
        wanted = "adm systemd-journal docker" if name == "docker" else "adm systemd-journal"
        assert settings_of(source)["SupplementaryGroups"] == wanted
    more = settings_of(SOURCES["docker"], watchkeeper_log_groups=["www-data", "docker", "adm"])
    assert more["SupplementaryGroups"] == "adm systemd-journal docker www-data"


@pytest.mark.parametrize(
    ("path", "opened"),
    [
        ("/var/log/syslog", {}),
        ("/home/shop/log/*.log", {"ProtectHome": "read-only"}),
        ("/tmp/shop.log", {"PrivateTmp": False}),  # noqa: S108 - a log of somebody's
    ],
)
def test_the_sandbox_hides_no_source(path: str, opened: dict[str, Any]) -> None:
    """And nothing is opened for nothing."""
    found = settings_of(SOURCES["one file"], Source("shop", "files", paths=(path,)))
    assert {key: found[key] for key in ("ProtectHome", "PrivateTmp") if key in found} == opened


def test_positions_are_brought_before_each_start() -> None:
    """And the last batch has time to reach Loki at the end."""
    found = settings_of()
    assert found["ExecStartPre"] == "/usr/bin/python3 {config}/carry_positions.py {config}/carry.json"
    assert found["TimeoutStopSec"] == "90s"


def test_stages_in_promtails_words() -> None:
    """Every kind, in the order of the plan."""
    assert job(SOURCES["one file"])["pipeline_stages"] == [
        {"static_labels": {"job": "app", "release": "1e3", "canary": "y"}},
        {"multiline": {"firstline": r"^(\d{4}-|\{)", "max_lines": 500, "max_wait_time": "3s"}},
        {"replace": {"expression": r"(?i)(?:password|token)=(\S+)", "replace": "<hidden>"}},
        {"replace": {"expression": r"(eyJ[\w-]+\.[\w-]+)", "replace": '{{ .Value | trunc 3 }}"masked"'}},
        {"json": {"expressions": {"time": "timestamp", "level": "level", "trace_id": 'trace."id"'}}},
        {"regex": {"expression": r'^(?P<address>\S+) "(?P<method>[A-Z]+) (?P<status>\d)\d\d"'}},
        {"template": {"source": "level", "template": '{{ if eq .Value "err" }}error{{ else }}{{ .Value }}{{ end }}'}},
        {
            "timestamp": {
                "source": "time",
                "format": "RFC3339Nano",
                "fallback_formats": ["2006-01-02 15:04:05"],
                "location": "Europe/Berlin",
                "action_on_failure": "fudge",
            }
        },
        {"timestamp": {"source": "time", "format": "02/Jan/2006:15:04:05 -0700", "action_on_failure": "fudge"}},
        {"labels": {"level": "level"}},
        {"structured_metadata": {"context": "context", "request_id": "request_id"}},
        {
            "match": {
                "selector": '{job="app"} |= "health"',
                "stages": [
                    {"replace": {"expression": "(secret)", "replace": "x"}},
                    {"match": {"selector": '{level="debug"}', "stages": [{"labels": {"kind": "kind"}}]}},
                ],
            }
        },
    ]


def test_what_does_nothing_is_left_out() -> None:
    """Promtail refuses a stage without anything in it."""
    empty: tuple[Stage, ...] = (Json({}), Labels({}), StaticLabels({}), StructuredMetadata({}))
    assert promtail_config.stages([*empty, Match("{}", empty), Regex("a")]) == [{"regex": {"expression": "a"}}]


def test_batches() -> None:
    """In Promtail's units."""
    sizes = {"1KiB": 1024, "512KB": 524288, "4MiB": 4194304}
    for size, wanted in sizes.items():
        [client] = documents(plan_of(), promtail_batch_size=size, promtail_batch_wait="500ms")["promtail.yml"][
            "clients"
        ]
        assert (client["batchsize"], client["batchwait"]) == (wanted, "500ms")


@pytest.mark.parametrize("value", ["y", "N", "1e3", "12e45", "0x1F", "1_000", "2026-1-2", "~", "", "no", "null", "<<"])
def test_texts_stay_texts(value: str) -> None:
    """Promtail's parser takes more for numbers and flags than ours."""
    text = files_of(plan_of(labels={"release": value}))["promtail.yml"]
    assert f'release: "{value}"\n' in text or f"release: '{value}'\n" in text
    assert yaml.safe_load(text)["clients"][0]["external_labels"] == {"release": value}


def test_the_check_builds_everything() -> None:
    """All stages and rules of all sources, and what masks put in, for which Promtail itself does not look."""
    whole = plan_of(*SOURCES.values())
    found = documents(whole)
    sources = found["promtail.yml"]["scrape_configs"]
    [check] = found["check.yml"]["scrape_configs"]
    stages = [item for source in sources for item in source.get("pipeline_stages", [])]
    assert check["pipeline_stages"][: len(stages)] == stages
    texts = [item["template"]["template"] for item in check["pipeline_stages"][len(stages) :]]
    assert sorted(texts) == sorted({"<hidden>", '{{ .Value | trunc 3 }}"masked"', "x"})
    assert check["relabel_configs"] == [rule for source in sources for rule in source.get("relabel_configs", [])]
    assert len(check["relabel_configs"]) == 2


def test_what_the_script_that_carries_positions_gets() -> None:
    """The places of both agents and the sources by kind."""
    wanted = {
        "to": "promtail",
        "promtail": "/var/lib/promtail/positions.yaml",
        "alloy": "/var/lib/alloy/data",
        "files": [
            {"name": "syslog", "paths": ["/var/log/syslog"]},
            {"name": "app", "paths": ["/srv/app/**/*.log", "/srv/app/error.log"]},
            {"name": "nginx", "paths": ["/var/log/nginx/*.log"]},
        ],
        "journals": ["journal", "kernel", "ssh"],
        "docker": [
            {"name": "docker", "host": "unix:///var/run/docker.sock"},
            {"name": "remote", "host": "tcp://127.0.0.1:2375"},
        ],
    }
    assert json.loads(files_of(plan_of(*SOURCES.values()))["carry.json"]) == wanted
    moved = files_of(plan_of(), promtail_data_dir="/srv/promtail", alloy_data_dir="/srv/alloy")
    assert json.loads(moved["carry.json"]) == {
        **wanted,
        "promtail": "/srv/promtail/positions.yaml",
        "alloy": "/srv/alloy/data",
        "files": [],
        "journals": [],
        "docker": [],
    }
    assert yaml.safe_load(moved["promtail.yml"])["positions"]["filename"] == "/srv/promtail/positions.yaml"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("promtail_batch_size", "1048576"),
        ("promtail_batch_size", "0KiB"),
        ("promtail_batch_size", "5MiB"),
        ("promtail_batch_wait", "0s"),
        ("promtail_batch_wait", "2m"),
        ("promtail_batch_wait", "1"),
        ("promtail_batch_wait", "-1s"),
        ("promtail_data_dir", "/var/lib/prom tail"),
    ],
)
def test_bad_variables_are_named(name: str, value: Any) -> None:
    """With the value and with what is allowed."""
    [found] = promtail_config.problems({**VALUES, name: value})
    assert found.startswith(f"{name} is {value!r}, but must be ")


def test_good_variables() -> None:
    """The defaults, and others."""
    assert promtail_config.problems(VALUES) == []
    for chosen in itertools.product(*CHOICES.values()):
        assert promtail_config.problems({**VALUES, **dict(zip(CHOICES, chosen, strict=True))}) == []


# What only a real Promtail can say.

PACKED = sorted(MIRROR.glob(f"promtail/*/promtail-linux-{ARCH}.zip"))
real = pytest.mark.skipif(not PACKED, reason=f"needs a release archive of promtail in the mirror {MIRROR}")


@pytest.fixture(scope="module")
def promtail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real Promtail."""
    folder = tmp_path_factory.mktemp("promtail")
    with zipfile.ZipFile(PACKED[-1]) as archive:
        archive.extractall(folder)
    [program] = folder.iterdir()
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def checks(program: Path, folder: Path, wanted: Plan, **values: Any) -> tuple[bool, str]:
    """Let the program judge a plan with the commands of the role's task; whether both accept it, and their words."""
    [task] = yaml.safe_load((Path(__file__).parents[2] / "roles/promtail/tasks/main.yml").read_text(encoding="utf-8"))
    for path, content in files_of(wanted, **values).items():
        (folder / path).write_text(content, encoding="utf-8")
    words, fine = "", True
    for check in task["component"]["check"]:
        command = [word.replace("{config}", str(folder)).replace("{release}", str(program.parent)) for word in check]
        command[0] = str(program)
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "HOME": str(folder)},
        )
        fine, words = fine and done.returncode == 0, f"{words}{done.stdout}{done.stderr}"
    return fine, words


@real
@pytest.mark.parametrize("name", [*SOURCES, *ACCOUNTS, "declared"])
def test_the_program_accepts(promtail: Path, tmp_path: Path, name: str) -> None:
    """Every source with its stages, and every way to log in."""
    sources = [SOURCES[name]] if name in SOURCES else SOURCES.values()
    wanted = declared(*DECLARED) if name == "declared" else plan_of(*sources, **ACCOUNTS.get(name, {}))
    fine, words = checks(promtail, tmp_path, wanted)
    assert fine, words


@real
@pytest.mark.parametrize(
    "item",
    [
        Multiline("(", 10, "1s"),
        Multiline("a", 10, "soon"),
        Replace("(?<=a)(b)", "x"),
        Replace("(a)", "{{ .Value"),
        Replace("(a)", "{{ .Value | nothing }}"),
        Json({"a": "b["}),
        Regex("("),
        Template("a", "{{ nothing }}"),
        Timestamp("a", ("RFC3339",), "Nowhere/Atall"),
        Labels({"not-a-label": "a"}),
        Match("{job=", (Labels({"a": "a"}),)),
        Match('{job="x"}', (Regex("("),)),
    ],
    ids=repr,
)
def test_the_program_refuses(promtail: Path, tmp_path: Path, item: Stage) -> None:
    """Before the swap, while what ran still runs."""
    fine, _words = checks(promtail, tmp_path, plan_of(Source("app", "files", paths=("/x",), stages=(item,))))
    assert not fine
