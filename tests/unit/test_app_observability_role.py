"""The role for users' own applications: exactly the files of the list, which programs of any language can read."""

from __future__ import annotations

import getpass
import grp
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from ansible.module_utils.watchkeeper import component_checks
from ansible.module_utils.watchkeeper.settings import documented

from tests.unit.runs import ROOT, Run, inventory, run_site

MODULE = "owned_files"
OWN = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getegid()).gr_name}
NAMES = ("logging.json", "observability.env", "sentry-browser.js")
APP_NAME = 'The "shop\'s" 100 % \\ $HOME `id`; #1'
SHOP: dict[str, Any] = {
    **OWN,
    "name": "shop",
    "release": "1.2.3",
    "environment": "staging",
    "sentry_dsn": "https://plantedkey@errors.example.com/1",
    "sentry_browser_dsn": "https://public@errors.example.com/2",
    "otlp_headers": {"Authorization": "Bearer planted, token=%"},
    "newrelic_license_key": "planted0123456789abcdef0123456789abcdef0",
    "newrelic_app_name": APP_NAME,
    "log_level": "warn",
    "metrics_port": 3000,
}
BLOG = {**OWN, "name": "blog", "sentry_dsn": "https://plantedkey@errors.example.com/3"}
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs the program node (Debian's package nodejs)")


@dataclass(frozen=True)
class Host:
    """A host whose files lie in a folder of the test."""

    folder: Path

    @property
    def files(self) -> Path:
        """Where the role keeps its files."""
        return self.folder / "etc" / "app_observability"

    def converge(self, *applications: dict[str, Any], options: tuple[str, ...] = (), **variables: Any) -> Run:
        """Run the role."""
        own = {"app_observability_applications": list(applications), **variables}
        hosts = inventory({"server": {}}, {"app": own}, {"application": ["app"]})
        moved = json.dumps({"__app_observability_folder": str(self.files)})
        tags = ("--tags", "app_observability", "--diff", "-vvv", f"--extra-vars={moved}", *options)
        return run_site(self.folder / "run", hosts, *tags, CI="true")

    def there(self) -> set[str]:
        """Return all files below the role's folder."""
        return {str(path.relative_to(self.files)) for path in self.files.rglob("*") if path.is_file()}

    def log(self) -> Path:
        """Return the log directory of an application."""
        return self.folder / "log" / "shop"


def answer(run: Run) -> dict[str, Any]:
    """Return what the host said; there was one execution."""
    assert run.code == 0, run.output
    results = [item for item in run.results if item["host"] == "app" and item["action"] == MODULE]
    assert len(results) == 1
    return dict(results[0]["result"])


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes traces, and keeps what came: path, headers, body."""

    received: ClassVar[list[tuple[str, Message, bytes]]] = []

    def do_POST(self) -> None:
        """Keep one delivery."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((self.path, self.headers, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Stay quiet."""


@pytest.fixture(scope="module")
def collector() -> Iterator[str]:
    """A receiver of traces; its address."""
    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, collector: str) -> tuple[Host, dict[str, Run]]:
    """A bare host in check mode, two applications, and the same again."""
    host = Host(tmp_path_factory.mktemp("host"))
    shop = {**SHOP, "otlp_url": collector, "log_directory": str(host.log())}
    runs = {"check": host.converge(shop, BLOG, options=("--check",))}
    assert not (host.folder / "etc").exists()
    assert not host.log().exists()
    runs["first"] = host.converge(shop, BLOG)
    runs["again"] = host.converge(shop, BLOG)
    return host, runs


def test_files_of_each_application(story: tuple[Host, dict[str, Run]]) -> None:
    """Check mode tells the same; the second run finds nothing to do."""
    host, runs = story
    for name in ("check", "first"):
        said = answer(runs[name])
        assert said["changed"]
        assert {action.split("/", 1)[1].rsplit("/", 1)[1] for action in said["actions"]} == {*NAMES, "shop"}
        assert len(said["actions"]) == 7
    assert host.there() == {"files.json", *(f"{app}/{name}" for app in ("shop", "blog") for name in NAMES)}
    said = answer(runs["again"])
    assert (said["changed"], said["actions"]) == (False, [])


def test_permissions(story: tuple[Host, dict[str, Run]]) -> None:
    """Secrets for the group alone, whatever the umask; the log directory belongs to the application."""
    host, _runs = story
    modes = {name: (host.files / "shop" / name).stat().st_mode & 0o7777 for name in NAMES}
    assert modes == {"logging.json": 0o644, "observability.env": 0o640, "sentry-browser.js": 0o644}
    assert (host.files / "shop").stat().st_mode & 0o7777 == 0o755
    assert host.log().stat().st_mode & 0o7777 == 0o750


def test_a_run_shows_no_secret(story: tuple[Host, dict[str, Run]]) -> None:
    """The diff shows what is public, and of a secret file only that it changes."""
    _host, runs = story
    for run in runs.values():
        assert "planted" not in run.output
        assert "planted" not in json.dumps(run.results)
    assert '"level": "warn"' in runs["check"].output
    assert "+(secret)" in runs["check"].output


def variables(path: Path, program: str = "env -0") -> dict[str, str]:
    """Return the environment as a shell makes it from the file."""
    script = f'set -a; . "$1"; {program}'
    done = subprocess.run(["sh", "-euc", script, "sh", str(path)], env={}, capture_output=True, check=True)
    lines = [line.partition("=") for line in done.stdout.decode().split("\0") if line]
    return {name: value for name, _equals, value in lines if name not in ("PWD", "SHLVL", "_", "OLDPWD")}


def as_systemd_reads(text: str) -> dict[str, str]:
    """Return the environment by the rules of systemd.exec(5) for EnvironmentFile=."""
    found = {}
    for line in text.splitlines():
        if line.startswith(("#", ";")) or not line:
            continue
        name, _equals, value = line.partition("=")
        if value.startswith('"'):
            assert value.endswith('"')
            value = re.sub(r'\\(["\\`$])', r"\1", value[1:-1])
        else:
            assert not re.search(r"[\s\"'\\]", value)
        found[name] = value
    return found


def test_environment_file(story: tuple[Host, dict[str, Run]], collector: str) -> None:
    """A shell and systemd read the same, and what the user said."""
    host, _runs = story
    path = host.files / "shop" / "observability.env"
    found = variables(path)
    assert as_systemd_reads(path.read_text(encoding="utf-8")) == found
    expected = {
        "LOG_LEVEL": "warn",
        "LOG_CONFIG": str(host.files / "shop" / "logging.json"),
        "LOG_DIRECTORY": str(host.log()),
        "SENTRY_DSN": SHOP["sentry_dsn"],
        "SENTRY_ENVIRONMENT": "staging",
        "SENTRY_RELEASE": "1.2.3",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
        "OTEL_TRACES_SAMPLER_ARG": "1.0",
        "NEW_RELIC_LICENSE_KEY": SHOP["newrelic_license_key"],
        "NEW_RELIC_APP_NAME": APP_NAME,
    }
    assert {name: found.get(name) for name in expected} == expected
    # One tracer is enough.
    assert "SENTRY_TRACES_SAMPLE_RATE" not in found


def test_what_is_not_set_is_off(story: tuple[Host, dict[str, Run]]) -> None:
    """No trace leaves by OpenTelemetry or New Relic; Sentry gets those of a tenth of the requests in production."""
    host, _runs = story
    found = variables(host.files / "blog" / "observability.env")
    assert found == {
        "LOG_LEVEL": "info",
        "LOG_FORMAT": "json",
        "LOG_CONFIG": str(host.files / "blog" / "logging.json"),
        "SENTRY_DSN": BLOG["sentry_dsn"],
        "SENTRY_ENVIRONMENT": "production",
        "SENTRY_TRACES_SAMPLE_RATE": "0.1",
        "OTEL_SERVICE_NAME": "blog",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=production",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "NEW_RELIC_ENABLED": "false",
    }


def test_real_libraries_read_the_environment(story: tuple[Host, dict[str, Run]]) -> None:
    """Sentry's, OpenTelemetry's and New Relic's own, started with nothing but the file."""
    host, _runs = story
    code = """
import json, sentry_sdk, newrelic.config
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
sentry_sdk.init()
sentry = sentry_sdk.get_client().options
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
provider.get_tracer("test").start_span("a request").end()
agent = newrelic.config._settings
print(json.dumps([
    [sentry["dsn"], sentry["environment"], sentry["release"]],
    [agent.license_key, agent.app_name, agent.transaction_tracer.record_sql],
    agent.application_logging.forwarding.enabled,
]))
"""
    environment = variables(host.files / "shop" / "observability.env")
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sentry, agent, forwarding = json.loads(done.stdout.splitlines()[-1])
    assert sentry == [SHOP["sentry_dsn"], "staging", "1.2.3"]
    assert agent == [SHOP["newrelic_license_key"], APP_NAME, "obfuscated"]
    assert forwarding is False
    [(path, headers, body)] = Collector.received
    assert (path, headers["Authorization"]) == ("/v1/traces", "Bearer planted, token=%")
    for word in ("a request", "shop", "1.2.3", "staging"):
        assert word.encode() in body


def test_logging_configuration(story: tuple[Host, dict[str, Run]]) -> None:
    """The same keys in every case; without a directory there is no file."""
    host, _runs = story
    shop = json.loads((host.files / "shop" / "logging.json").read_text(encoding="utf-8"))
    blog = json.loads((host.files / "blog" / "logging.json").read_text(encoding="utf-8"))
    assert set(shop) == set(blog)
    assert shop["file"] == {"path": str(host.log() / "shop.log"), "max_bytes": 5242880, "backups": 5}
    assert blog["file"] is None
    assert (shop["service"], shop["level"], shop["release"], shop["environment"]) == (
        "shop",
        "warn",
        "1.2.3",
        "staging",
    )


def test_words_that_hide_are_the_health_apps(story: tuple[Host, dict[str, Run]]) -> None:
    """What the configuration asks an application to hide, the project's own application hides too."""
    host, _runs = story
    words = json.loads((host.files / "shop" / "logging.json").read_text(encoding="utf-8"))["redact"]
    code = (
        "import json, sys; from watchkeeper_app.scrub import scrub; print(json.dumps(scrub(json.loads(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(dict.fromkeys(words, "shown"))],
        env={**os.environ, "PYTHONPATH": str(ROOT / "files" / "health_app")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "shown" not in done.stdout


STAND_IN = """
export const calls = [];
const note = (name) => (...given) => { calls.push([name, given]); return name; };
export const init = note("init");
export const browserTracingIntegration = note("browserTracingIntegration");
export const replayIntegration = note("replayIntegration");
export const captureException = note("captureException");
export const withScope = (use) => use({ setContext: note("setContext") });
"""


def node(folder: Path, script: str, *options: str, dsn: str = "") -> Any:
    """Run a module with Node, next to a stand-in for Sentry's SDK, and return what it prints last."""
    for package in ("browser", "node"):
        place = folder / "node_modules" / "@sentry" / package
        place.mkdir(parents=True, exist_ok=True)
        (place / "package.json").write_text('{"type": "module", "exports": "./index.js"}', encoding="utf-8")
        (place / "index.js").write_text(STAND_IN, encoding="utf-8")
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (folder / "main.js").write_text(script, encoding="utf-8")
    done = subprocess.run(
        ["node", *options, "main.js"],
        cwd=folder,
        env={**os.environ, "SENTRY_DSN": dsn},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_node
def test_browser_snippet(story: tuple[Host, dict[str, Run]], tmp_path: Path) -> None:
    """Network errors are dropped and others sent; recordings are masked, and nothing personal is collected."""
    host, _runs = story
    shutil.copy(host.files / "shop" / "sentry-browser.js", tmp_path)
    started, options, replay, verdicts, captured = node(
        tmp_path,
        """
import * as Sentry from "@sentry/browser";
import { captureError, startSentry } from "./sentry-browser.js";
const started = startSentry(Sentry, { tunnel: "/errors" });
const options = Sentry.calls.find(([name]) => name === "init")[1][0];
const replay = Sentry.calls.find(([name]) => name === "replayIntegration")[1][0];
const errors = {
  chrome: new TypeError("Failed to fetch"),
  named: new TypeError("Failed to fetch (api.example.com)"),
  firefox: new TypeError("NetworkError when attempting to fetch resource."),
  safari: new TypeError("Load failed"),
  left: new DOMException("The user aborted a request.", "AbortError"),
  real: new TypeError("order is undefined"),
  deployment: new TypeError("Failed to fetch dynamically imported module: https://example.com/a.js"),
  text: "a text",
  nothing: undefined,
  empty: null,
};
const event = { event_id: "1" };
const sends = (error) => options.beforeSend(event, { originalException: error }) === event;
const verdicts = Object.fromEntries(Object.entries(errors).map(([name, error]) => [name, sends(error)]));
Sentry.calls.length = 0;
captureError(Sentry, new Error("payment"), { order: { id: 7 } });
console.log(JSON.stringify([started, options, replay, verdicts, Sentry.calls]));
""",
    )
    assert started is True
    assert verdicts == {
        **dict.fromkeys(("chrome", "named", "firefox", "safari", "left"), False),
        **dict.fromkeys(("real", "deployment", "text", "nothing", "empty"), True),
    }
    assert replay == {"maskAllText": True, "maskAllInputs": True, "blockAllMedia": True}
    assert options["integrations"] == ["browserTracingIntegration", "replayIntegration"]
    assert (options["dsn"], options["environment"], options["release"]) == (
        "https://public@errors.example.com/2",
        "staging",
        "1.2.3",
    )
    assert (options["tracesSampleRate"], options["replaysSessionSampleRate"], options["tunnel"]) == (
        1.0,
        0.1,
        "/errors",
    )
    collected = options["dataCollection"]
    assert not any(any(value.values()) if isinstance(value, dict) else value for value in collected.values())
    assert captured == [["setContext", ["order", {"id": 7}]], ["captureException", [{}]]]


@needs_node
def test_browser_snippet_without_dsn(story: tuple[Host, dict[str, Run]], tmp_path: Path) -> None:
    """A page may have it in any case; then it does nothing."""
    host, _runs = story
    shutil.copy(host.files / "blog" / "sentry-browser.js", tmp_path)
    script = """
import * as Sentry from "@sentry/browser";
import { startSentry } from "./sentry-browser.js";
console.log(JSON.stringify([startSentry(Sentry), Sentry.calls]));
"""
    assert node(tmp_path, script) == [False, []]


def example(name: str) -> str:
    """Return an example of the documentation by the file name in its first line."""
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for block in re.findall(r"^```\w+\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            if re.match(rf"(#|//) {re.escape(name)}\b", block):
                return str(block)
    raise AssertionError(f"the documentation has no example {name}")


@needs_node
def test_example_for_node(tmp_path: Path) -> None:
    """Before everything else; validation errors and 404s are dropped, others sent."""
    (tmp_path / "instrument.mjs").write_text(example("instrument.mjs"), encoding="utf-8")
    script = """
import * as Sentry from "@sentry/node";
const [[, [options]] = ["", []]] = Sentry.calls;
const http = (status) => Object.assign(new Error("x"), { status });
const nest = (status) => Object.assign(new Error("x"), { getStatus: () => status });
const invalid = Object.assign(new Error("x"), { name: "ValidationError" });
const sends = (error) => options.beforeSend({}, { originalException: error }) !== null;
const errors = [http(404), nest(404), invalid, http(500), nest(500), new Error("x"), "x"];
console.log(JSON.stringify(options ? errors.map(sends) : []));
"""
    options = ("--import", "./instrument.mjs")
    assert node(tmp_path, script, *options, dsn="") == []
    verdicts = node(tmp_path, script, *options, dsn="https://public@errors.example.com/1")
    assert verdicts == [False, False, False, True, True, True, True]


def test_example_for_python(story: tuple[Host, dict[str, Run]], tmp_path: Path) -> None:
    """One line of JSON for each event on standard output and in the file, without secrets at any depth."""
    host, _runs = story
    (tmp_path / "log_setup.py").write_text(example("log_setup.py"), encoding="utf-8")
    code = """
import logging, log_setup
log_setup.configure()
log = logging.getLogger("orders")
log.info("not shown")
fields = {"order": 7, "request": [{"Authorization": "planted"}], "user_password": "planted"}
log.warning("placed", extra={"fields": fields})
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""
    environment = {**variables(host.files / "shop" / "observability.env"), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    file = host.log() / "shop.log"
    assert file.read_text(encoding="utf-8") == done.stdout
    file.unlink()
    placed, failed = (json.loads(line) for line in done.stdout.splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", placed.pop("timestamp"))
    assert placed == {
        "level": "warning",
        "context": "orders",
        "message": "placed",
        "service": "shop",
        "order": 7,
        "request": [{"Authorization": "(hidden)"}],
        "user_password": "(hidden)",
    }
    assert "ZeroDivisionError" in failed["error"]


def test_examples_of_settings_are_accepted() -> None:
    """By the check that every run begins with; what comes from a vault is made up."""
    checks = {role: component_checks.CHECKS[role] for role in ("app_observability", "health_app")}
    for role, check in checks.items():
        options = documented(ROOT, role)
        found: dict[str, Any] = {}
        for page in (ROOT / "docs").glob("*.md"):
            for block in re.findall(
                r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
            ):
                if re.search(rf"^{role}_", block, re.MULTILINE):
                    text = re.sub(r"\{\{ vault_\w*dsn \}\}", "https://key@errors.example.org/1", block)
                    text = re.sub(r"\{\{ vault_\w*license_key \}\}", "0" * 40, text)
                    found |= yaml.safe_load(re.sub(r"\{\{ vault_\w+ \}\}", "made-up", text))
        assert {f"{role}_{name}" for name in ("applications", "checks")} & set(found)
        values = {
            name: option.get("default", 0 if option["type"] == "float" else "x") for name, option in options.items()
        }
        assert check({**values, **found}, options) == []


@needs_node
def test_example_for_winston_is_valid(tmp_path: Path) -> None:
    """As far as Node can tell without the library."""
    (tmp_path / "logging.mjs").write_text(example("logging.mjs"), encoding="utf-8")
    done = subprocess.run(["node", "--check", "logging.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_application_goes_and_everything_goes(tmp_path: Path) -> None:
    """What is no longer in the list is removed, and nothing that somebody else put beside it."""
    host = Host(tmp_path)
    shop = {**SHOP, "log_directory": str(host.log()), "directory": str(tmp_path / "srv" / "shop")}
    assert answer(host.converge(shop, BLOG))["changed"]
    (host.files / "blog" / "mine.txt").write_text("mine", encoding="utf-8")
    env = tmp_path / "srv" / "shop" / "observability.env"
    env.chmod(0o644)
    (tmp_path / "srv" / "shop" / "logging.json").write_text("{}", encoding="utf-8")
    said = answer(host.converge(shop))
    assert {re.sub(r" /.*/", " ", action) for action in said["actions"]} == {
        *(f"removed {name}" for name in NAMES),
        "permissions restored of observability.env",
        "changed logging.json",
    }
    assert env.stat().st_mode & 0o777 == 0o640
    assert host.there() == {"files.json", "blog/mine.txt"}
    said = answer(host.converge(shop, app_observability_state="absent"))
    assert len(said["actions"]) == 3
    assert host.there() == {"blog/mine.txt"}
    assert not (tmp_path / "srv").exists()
    assert host.log().is_dir()


# What a host has in its variables, and what the message must say.
WRONG: dict[str, tuple[list[Any], list[str]]] = {
    "keys": (
        [{"sentry_dns": "planted"}, "name=planted"],
        [
            "app_observability_applications[0].sentry_dns is not a key",
            "did you mean 'sentry_dsn'?",
            "app_observability_applications[0] needs name",
            "app_observability_applications[1] is (hidden), but must be a mapping",
        ],
    ),
    "types": (
        [{"name": "shop", "metrics_port": "3000", "newrelic_license_key": 1234567, "log_level": "warning"}],
        [
            "app_observability_applications[0].metrics_port is '3000', but must be of type int",
            "app_observability_applications[0].newrelic_license_key is (hidden)",
            "app_observability_applications[0].log_level is 'warning', but must be one of debug, info, warn, error",
        ],
    ),
    "reports": (
        [
            {
                "name": "shop",
                "sentry_dsn": "https://planted.example.com/1",
                "sentry_browser_dsn": "planted",
                "otlp_url": "collector:4317",
                "otlp_headers": {"A B": "planted"},
                "newrelic_license_key": "planted",
                "traces_sample_rate": 50,
            }
        ],
        [
            "app_observability_applications[0].sentry_dsn is (hidden), but must be a DSN of the form",
            "app_observability_applications[0].sentry_browser_dsn is (hidden)",
            "app_observability_applications[0].otlp_url is 'collector:4317'",
            "app_observability_applications[0].otlp_headers.A B is (hidden)",
            "app_observability_applications[0].newrelic_license_key is (hidden)",
            "app_observability_applications[0].traces_sample_rate is 50",
        ],
    ),
    "texts": (
        [
            {
                "name": "../shop",
                "release": "a\nB=1",
                "directory": "relative",
                "log_directory": "/var/log/../shop log",
                "owner": "Shop Keeper",
                "metrics_path": "metrics",
                "metrics_port": 70000,
                "log_backups": 0,
                "newrelic_app_name": "two\nlines",
            }
        ],
        [
            f"app_observability_applications[0].{key} is "
            for key in (
                "name",
                "release",
                "directory",
                "log_directory",
                "owner",
                "metrics_path",
                "metrics_port",
                "log_backups",
                "newrelic_app_name",
            )
        ],
    ),
    "twice": (
        [{"name": "shop", "directory": "/srv/shop"}, {"name": "shop"}, {"name": "blog", "directory": "/srv/shop"}],
        [
            "app_observability_applications[1].name is 'shop', but must be different for each application",
            "app_observability_applications[2].directory is '/srv/shop', but must be different for each application",
        ],
    ),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run over hosts that each have another mistake."""
    hosts = {name: {"app_observability_applications": wrong} for name, (wrong, _said) in WRONG.items()}
    folder = tmp_path_factory.mktemp("refused")
    return run_site(folder, inventory({"server": {}}, hosts, {"application": list(WRONG)}), "-vvv", "--diff", CI="true")


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


def test_every_documented_key_is_read() -> None:
    """By the role's variables and templates, or by the catalogue."""
    role = ROOT / "roles" / "app_observability"
    text = "".join(
        path.read_text(encoding="utf-8") for part in ("vars", "templates") for path in (role / part).iterdir()
    )
    text += (ROOT / "files" / "components.yml").read_text(encoding="utf-8")
    for key in documented(ROOT, "app_observability")["app_observability_applications"]["options"]:
        assert re.search(rf"\b(own|application)\.{key}\b|\{{\{{ {key} \}}\}}", text), key
