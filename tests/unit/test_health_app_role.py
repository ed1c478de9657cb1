"""The role of the health app: what it renders is what the app itself takes, and bad input is refused before that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.watchkeeper.component_checks import HEALTH_CHECK_KEYS
from ansible.module_utils.watchkeeper.settings import documented

from tests.unit.runs import ROOT, Run, Sent, inventory, run_site

OPTIONS = documented(ROOT, "health_app")
PACKAGE = ROOT / "files" / "health_app"
PASSWORD = "planted: 'password' {x} \"%(y)s\""  # noqa: S105
DSN = "https://plantedkey@errors.example.com/42"
LICENCE = "planted0123456789abcdef0123456789abcdef0"
CHECKS: list[dict[str, Any]] = [
    {"name": "database", "type": "postgresql", "database": "shop", "user": "shop", "password": PASSWORD},
    {
        "name": "redis",
        "type": "redis",
        "url": "rediss://cache.example.com:6380/1",
        "username": "u",
        "password": PASSWORD,
    },
    {"name": "partner", "type": "http", "critical": False, "url": "https://example.com/", "status": [200, 204]},
    {"name": "mail", "type": "tcp", "host": "mail.example.com", "port": 25, "timeout": 0.5},
    {"name": "disk", "type": "disk", "path": "/home/shop", "free_percent": 2.5},
]
FULL: dict[str, Any] = {
    "health_app_service": "shop",
    "health_app_release": "4.5.6",
    "health_app_environment": "staging",
    "health_app_listen_address": "[::1]",
    "health_app_checks": CHECKS,
    "health_app_health_cache": 0,
    "health_app_demo": True,
    "health_app_log_level": "debug",
    "health_app_sentry_dsn": DSN,
    "health_app_sentry_profiles_sample_rate": 0.25,
    "health_app_otlp_url": "https://collector.example.com:4318",
    "health_app_otlp_headers": {"Authorization": "Bearer planted-token", "X-Tenant": "{{ 'planted' ~ 1 }}"},
    "health_app_newrelic_license_key": LICENCE,
    "health_app_newrelic_app_name": "The shop's 100 %",
    "health_app_arguments": ["--config=/other.yml"],
    "health_app_unit_settings": {"MemoryMax": "512M"},
}
HOSTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "full": FULL,
    "quiet": {
        "health_app_listen_address": "localhost",
        "health_app_log_directory": "",
        "health_app_checks": [{"name": "disk", "type": "disk"}, {"name": "redis", "type": "redis"}],
        "watchkeeper_external_labels": {"environment": "demo"},
    },
    "gone": {**FULL, "health_app_state": "absent"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run over all hosts, in which everything is said that can be said."""
    hosts = inventory({"server": {}}, HOSTS, groups={"application": list(HOSTS)})
    folder = tmp_path_factory.mktemp("health_app")
    done = run_site(folder, hosts, "--tags", "health_app", "--diff", "-vvv", CI="true")
    assert done.code == 0, done.output
    return done


def on_disk(sent: Sent, folder: Path) -> Path:
    """Put the configuration where a program can read it, and return the path of the app's own file."""
    declaration = sent.arguments["declaration"]
    live = f"/etc/watchkeeper/health_app/run-{declaration['run']}/config"
    files = {item["path"]: item["content"] for item in declaration["files"]} | sent.arguments["secrets"]
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content.replace(live, str(folder)), encoding="utf-8")
    return folder / "app.yml"


def app(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the app's own code."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("host", ["plain", "full", "quiet"])
def test_the_app_takes_what_is_rendered(run: Run, host: str, tmp_path: Path) -> None:
    """By the check that the host runs, with secrets, and with New Relic's agent judging its own file."""
    sent = run.component("health_app", host)
    [check] = sent.arguments["declaration"]["checks"]
    assert check[0] == "{release}/bin/python"
    on_disk(sent, tmp_path)
    done = app(*[word.replace("{config}", str(tmp_path)) for word in check[1:]])
    assert (done.returncode, done.stderr) == (0, "")


def test_the_app_refuses_what_is_wrong(run: Run, tmp_path: Path) -> None:
    """The check of the candidate is one that can fail."""
    path = on_disk(run.component("health_app", "full"), tmp_path)
    (tmp_path / "secrets" / "newrelic.ini").write_text(
        "[newrelic]\ntransaction_tracer.record_sql = all\n", encoding="utf-8"
    )
    done = app("-m", "watchkeeper_app", "--config", str(path), "--check")
    assert done.returncode == 1
    assert "record_sql" in done.stderr


def test_what_a_user_says_reaches_the_app(run: Run, tmp_path: Path) -> None:
    """Every variable in the place where the app looks for it, secrets by the app's own reading of their files."""
    path = on_disk(run.component("health_app", "full"), tmp_path)
    code = (
        "import sys, json; from pathlib import Path; from watchkeeper_app import config\n"
        "told = config.load(Path(sys.argv[1]))\n"
        "secret = {'passwords': [check.password for check in told.checks[:2]], 'dsn': told.errors.dsn,"
        " 'headers': told.tracing.headers}\n"
        "print(json.dumps([told.model_dump(), secret]))"
    )
    done = app("-c", code, str(path))
    assert done.returncode == 0, done.stderr
    told, secret = json.loads(done.stdout)
    assert (told["service"], told["version"], told["environment"]) == ("shop", "4.5.6", "staging")
    assert told["listen"] == {"address": "::1", "port": 8000}
    assert told["health"] == {"cache": 0.0}
    assert told["demo"] is True
    for check, given in zip(told["checks"], CHECKS, strict=True):
        assert {key: check[key] for key in given if key != "password"} == {
            key: value for key, value in given.items() if key != "password"
        }
    assert told["logging"] == {
        "level": "debug",
        "directory": "/var/log/health_app",
        "max_bytes": 5242880,
        "backups": 5,
    }
    assert (told["errors"]["traces_sample_rate"], told["errors"]["profiles_sample_rate"]) == (1.0, 0.25)
    assert told["tracing"]["otlp_endpoint"] == "https://collector.example.com:4318"
    assert secret == {
        "passwords": [PASSWORD, PASSWORD],
        "dsn": DSN,
        "headers": {"Authorization": "Bearer planted-token", "X-Tenant": "planted1"},
    }


def test_new_relic_does_what_was_asked(run: Run, tmp_path: Path) -> None:
    """By the agent's own reading: obfuscated SQL, no headers that identify, no 404s, no log lines."""
    on_disk(run.component("health_app", "full"), tmp_path)
    code = (
        "import sys, json, newrelic.config as agent\n"
        "agent._load_configuration(sys.argv[1], 'staging')\n"
        "told = agent._settings\n"
        "print(json.dumps([told.license_key, told.app_name, told.monitor_mode, told.transaction_tracer.record_sql,"
        " told.distributed_tracing.enabled, 404 in told.error_collector.ignore_status_codes,"
        " told.application_logging.forwarding.enabled, sorted(told.attributes.exclude)]))"
    )
    done = app("-c", code, str(tmp_path / "secrets" / "newrelic.ini"))
    assert done.returncode == 0, done.stderr
    *told, excluded = json.loads(done.stdout.splitlines()[-1])
    assert told == [LICENCE, "The shop's 100 %", True, "obfuscated", True, True, False]
    headers = {"cookie", "authorization", "proxyAuthorization", "setCookie*", "x*"}
    assert set(excluded) == {f"{way}.headers.{name}" for way in ("request", "response") for name in headers} | {
        "request.parameters.*"
    }


def test_without_anything_set_everything_is_off(run: Run) -> None:
    """No checks, no secrets, no reports; the rates are those of the environment."""
    sent = run.component("health_app", "plain")
    config = sent.data("app.yml")
    assert sent.arguments["secrets"] == {}
    assert config["checks"] == []
    assert (config["environment"], config["demo"]) == ("production", False)
    assert "version" not in config
    assert config["errors"] == {"dsn_file": "", "traces_sample_rate": 0.1, "profiles_sample_rate": 0.1}
    assert config["tracing"] == {"otlp_endpoint": "", "sample_ratio": 0.1, "headers_file": ""}
    assert config["newrelic"] == {"config_file": ""}


def test_settings_of_the_quiet_host(run: Run) -> None:
    """Another environment has other rates; without log files there is no directory for them."""
    sent = run.component("health_app", "quiet")
    config = sent.data("app.yml")
    assert config["environment"] == "demo"
    assert config["errors"]["traces_sample_rate"] == config["tracing"]["sample_ratio"] == 1.0
    assert config["logging"]["directory"] == ""
    assert sent.arguments["declaration"]["manifest"]["data"] == []
    assert config["listen"]["address"] == "127.0.0.1"


def test_unit(run: Run) -> None:
    """The user's words and settings; the log directory is writable, and a disk below /home can be measured."""
    sent = run.component("health_app", "full")
    unit = sent.arguments["declaration"]["unit"].splitlines()
    config = f"/etc/watchkeeper/health_app/run-{sent.arguments['declaration']['run']}/config/app.yml"
    assert sent.command()[1:] == ["-m", "watchkeeper_app", "--config", config, "--config=/other.yml"]
    assert {"MemoryMax=512M", "ReadWritePaths=/var/log/health_app", "ProtectHome=read-only"} <= set(unit)
    assert "ProtectHome=true" in run.component("health_app", "quiet").arguments["declaration"]["unit"].splitlines()


def test_removal_keeps_the_logs(run: Run) -> None:
    """The engine is told where they are."""
    arguments = run.component("health_app", "gone").arguments
    assert (arguments["state"], arguments["data"]) == ("absent", ["/var/log/health_app"])


def test_secrets_are_files_and_nothing_else(run: Run) -> None:
    """Not in the configuration, the unit, the terminal or what callbacks get."""
    sent = run.component("health_app", "full")
    assert set(sent.arguments["secrets"]) == {
        f"secrets/{name}" for name in ("check_database", "check_redis", "sentry_dsn", "otlp_headers", "newrelic.ini")
    }
    assert "planted" not in json.dumps(sent.arguments["declaration"])
    assert "planted" not in run.output
    assert "planted" not in json.dumps(run.results)


def test_keys_of_checks_are_the_apps() -> None:
    """One truth: the app's models, the documentation of the variable, and the preflight."""
    code = (
        "import json; from typing import get_args; from watchkeeper_app import config\n"
        "print(json.dumps({get_args(model.model_fields['type'].annotation)[0]:"
        " {name: [field.is_required(), None if field.is_required() else field.default]"
        " for name, field in model.model_fields.items()}"
        " for model in get_args(get_args(config.AnyCheck)[0])}))"
    )
    done = app("-c", code)
    assert done.returncode == 0, done.stderr
    models: dict[str, dict[str, tuple[bool, Any]]] = json.loads(done.stdout)
    options = OPTIONS["health_app_checks"]["options"]
    assert set(models) == set(HEALTH_CHECK_KEYS) == set(options["type"]["choices"])
    for kind, fields in models.items():
        own = {name.replace("password_file", "password"): field for name, field in fields.items()}
        needed, further = HEALTH_CHECK_KEYS[kind]
        assert set(own) == {"name", "type", "critical", "timeout", *needed, *further}
        assert {name for name, (required, _default) in own.items() if required} == {"name", "type", *needed}
        for name, (required, default) in own.items():
            assert required or options[name]["default"] == default, (kind, name)
    assert set(options) == {name.replace("password_file", "password") for fields in models.values() for name in fields}


SQL = {"name": "database", "type": "postgresql", "database": "shop", "user": "shop"}
# What a host has in its variables, and what the message must say.
WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown-type": (
        {"health_app_checks": [{"name": "database", "type": "mysql"}]},
        [
            "health_app_checks[0].type is 'mysql'",
            "one of postgresql, redis, http, tcp, disk",
            "set it in the inventory",
        ],
    ),
    "unknown-key": (
        {"health_app_checks": [{**SQL, "pasword": "planted"}]},
        ["health_app_checks[0].pasword is not a key of health_app_checks", "did you mean 'password'?"],
    ),
    "missing": (
        {
            "health_app_checks": [
                {"name": "database", "type": "postgresql", "user": "shop"},
                {"type": "disk"},
                "name=disk",
            ]
        },
        [
            "health_app_checks[0] needs database, as every check of type postgresql",
            "health_app_checks[1] needs name",
            "health_app_checks[2] is (hidden), but must be a mapping",
        ],
    ),
    "foreign-key": (
        {"health_app_checks": [{"name": "disk", "type": "disk", "url": "https://example.com"}]},
        ["health_app_checks[0].url does not belong to a check of type disk, which has name", "free_percent"],
    ),
    "names": (
        {"health_app_checks": [SQL, {"name": "Data-Base", "type": "disk"}, {"name": "database", "type": "disk"}]},
        [
            "health_app_checks[1].name is 'Data-Base', but must be small letters",
            "health_app_checks[2].name is 'database', but must be different for each check",
        ],
    ),
    "types": (
        {"health_app_checks": [{**SQL, "port": "many", "password": 12345678901, "critical": "yes", "timeout": True}]},
        [
            "health_app_checks[0].port is 'many', but must be of type int",
            "health_app_checks[0].password is (hidden), but must be of type str, in quotes",
            "health_app_checks[0].critical is 'yes'",
            "health_app_checks[0].timeout is True",
        ],
    ),
    "values": (
        {
            "health_app_checks": [
                {**SQL, "timeout": 0, "port": 0, "sslmode": "prefer"},
                {"name": "partner", "type": "http", "url": "example.com", "timeout": 31, "status": [200]},
                {"name": "disk", "type": "disk", "path": "var", "free_percent": 100},
                {"name": "redis", "type": "redis", "url": "localhost:6379"},
            ]
        },
        [
            "health_app_checks[0].timeout is 0, but must be above 0",
            "health_app_checks[0].port is 0",
            "health_app_checks[1].timeout is 31",
            "health_app_checks[1].url is 'example.com'",
            "health_app_checks[2].path is 'var'",
            "health_app_checks[2].free_percent is 100",
            "health_app_checks[3].url is 'localhost:6379', but must be redis://HOST:PORT/NUMBER",
        ],
    ),
    "choices": (
        {
            "health_app_checks": [
                {**SQL, "sslmode": "on"},
                {"name": "p", "type": "http", "url": "http://x", "status": ["2xx"]},
            ]
        },
        ["health_app_checks[0].sslmode is 'on', but must be one of disable", "health_app_checks[1].status is ['2xx']"],
    ),
    "credentials-in-a-url": (
        {
            "health_app_checks": [
                {"name": "redis", "type": "redis", "url": "redis://u:planted@localhost"},
                {"name": "partner", "type": "http", "url": "https://u:planted@example.com"},
            ],
            "health_app_otlp_url": "https://u:planted@example.com",
        },
        [
            "health_app_checks[0].url is (hidden)",
            "they go into username and password",
            "health_app_checks[1].url is (hidden), but must be without user name and password; set it",
            "health_app_otlp_url is (hidden)",
            "health_app_otlp_headers",
        ],
    ),
    "dsn": (
        {"health_app_sentry_dsn": "https://planted@errors.example.com/project"},
        ["health_app_sentry_dsn is (hidden)", "https://KEY@HOST/NUMBER"],
    ),
    "dsn-without-key": (
        {"health_app_sentry_dsn": "https://planted.example.com/1"},
        ["health_app_sentry_dsn is (hidden)"],
    ),
    "licence": (
        {"health_app_newrelic_license_key": "planted", "health_app_newrelic_app_name": "two\nlines"},
        [
            "health_app_newrelic_license_key is (hidden)",
            "40 letters and digits",
            "health_app_newrelic_app_name is 'two",
        ],
    ),
    "headers": (
        {"health_app_otlp_headers": {"X-Key": "planted\nX-Other: planted", "X Key": "planted", "X-Number": 5}},
        [
            "health_app_otlp_headers.X-Key is (hidden)",
            "health_app_otlp_headers.X Key is (hidden)",
            "health_app_otlp_headers.X-Number is (hidden)",
        ],
    ),
    "rates": (
        {
            "health_app_sentry_traces_sample_rate": 10,
            "health_app_otlp_sample_ratio": -0.1,
            "health_app_health_cache": 61,
        },
        [
            "health_app_sentry_traces_sample_rate is 10",
            "from 0 (none) to 1 (all)",
            "health_app_otlp_sample_ratio is -0.1",
            "health_app_health_cache is 61",
        ],
    ),
    "texts": (
        {"health_app_service": "", "health_app_environment": "a b", "health_app_release": "1 2"},
        ["health_app_service is ''", "health_app_environment is 'a b'", "health_app_release is '1 2'"],
    ),
    "logs": (
        {"health_app_log_directory": "logs", "health_app_log_backups": 0, "health_app_log_max_bytes": 10},
        ["health_app_log_directory is 'logs'", "health_app_log_backups is 0", "health_app_log_max_bytes is 10"],
    ),
    "demo": (
        {"health_app_demo": True, "health_app_checks": [SQL]},
        ["health_app_demo needs a check of type redis in health_app_checks"],
    ),
    "not-a-list": ({"health_app_checks": {"database": {"password": "planted"}}}, ["health_app_checks is (hidden)"]),
    "log-level": ({"health_app_log_level": "warn"}, ["one of debug, info, warning, error"]),
    "otlp-url": ({"health_app_otlp_url": "collector:4318"}, ["health_app_otlp_url is 'collector:4318'"]),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run over hosts that each have another mistake."""
    hosts = inventory(
        {"server": {}}, {name: wrong for name, (wrong, _said) in WRONG.items()}, {"application": list(WRONG)}
    )
    return run_site(tmp_path_factory.mktemp("refused"), hosts, "-vvv", "--diff", CI="true")


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_refused_by_name(refused: Run, name: str) -> None:
    """The message names the variable, its value, what is allowed, and where to set it."""
    for words in WRONG[name][1]:
        assert words in refused.errors[name]


def test_a_refusal_changes_nothing_and_shows_no_secret(refused: Run) -> None:
    """It comes before the first change, and not even a wrong secret is repeated."""
    assert refused.stopped_before_any_change()
    assert set(refused.errors) == set(WRONG)
    assert "planted" not in refused.output
    assert "planted" not in json.dumps(refused.results)
