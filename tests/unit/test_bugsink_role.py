"""The role of Bugsink: what it renders is run by a real Bugsink, and the applications get its DSNs without a human."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import shlex
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper.catalogue import Project

from tests.emulators.webhook import WebhookSink
from tests.harness import bugsink
from tests.unit.live import free_port
from tests.unit.runs import ROOT, Run, Sent, inventory, run_site

PASSWORD = "planted 'password' {x}"  # noqa: S105
KEY = "planted-key-0123456789abcdefghijklmnop"
GENERATED = "made-by-the-engine-0123456789abcdefghijklmno"
ENTRY = Project.load(ROOT).entry("bugsink")
FULL: dict[str, Any] = {
    "bugsink_url": "https://errors.example.com/bugs/",
    "bugsink_listen_address": "[::1]",
    "bugsink_timezone": "Europe/Berlin",
    "bugsink_admin_user": "ops@example.com",
    "bugsink_admin_password": PASSWORD,
    "bugsink_secret_key": KEY,
    "bugsink_settings": {"MAX_EVENTS_PER_HOUR": 500, "SITE_TITLE": "Ours"},
    "bugsink_arguments": ["--threads=2"],
    "bugsink_unit_settings": {"MemoryMax": "512M"},
}


@pytest.fixture(scope="module")
def home() -> Path:
    """Bugsink's environment: what the host's own would hold, by the same lock."""
    try:
        return bugsink.install()
    except bugsink.DownloadError as error:
        pytest.skip(str(error))


class Host:
    """One host of a run as a folder: the files where the unit has them, and the unit's programs as processes."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home
        self.data = folder / "data"
        self.config = folder / "config"

    def write(self, sent: Sent) -> None:
        """Write the files of a declaration, with the secrets that the engine would make."""
        declaration = sent.arguments["declaration"]
        self.live = f"/etc/watchkeeper/bugsink/run-{declaration['run']}/config"
        files = {item["path"]: item["content"] for item in declaration["files"]} | sent.arguments["secrets"]
        files |= dict.fromkeys(declaration["generate"], GENERATED)
        for path, content in files.items():
            place = self.config / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(self.here(content), encoding="utf-8")
        self.data.mkdir(exist_ok=True)
        self.unit = declaration["unit"]
        self.checks = declaration["checks"]

    def here(self, text: str) -> str:
        """Return a text with the paths of this machine."""
        release = rf"/opt/watchkeeper/bugsink/{re.escape(ENTRY.version)}-[0-9a-f]{{8}}"
        return re.sub(release, str(self.home), text.replace(self.live, str(self.config)))

    def words(self, key: str) -> list[str]:
        """Return a command line of the unit."""
        [line] = re.findall(rf"^{key}=(.*)$", self.unit, re.MULTILINE)
        return shlex.split(self.here(line))

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of the unit, and where the release has our package."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "PYTHON"))}
        own = re.findall(r'^Environment="?([A-Z_]+)=(.*?)"?$', self.here(self.unit), re.MULTILINE)
        return {**kept, **dict(own), "PYTHONPATH": str(ROOT / "files" / "bugsink"), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            words, cwd="/", env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )

    def check(self) -> subprocess.CompletedProcess[str]:
        """Have the candidate judged, as the engine does, without the unit's environment."""
        [check] = self.checks
        words = [word.replace("{release}", str(self.home)).replace("{config}", str(self.config)) for word in check]
        return self.run(["env", "-u", "DJANGO_SETTINGS_MODULE", "-u", "WATCHKEEPER_BUGSINK_CONFIG", *words])

    def prepare(self) -> str:
        """Do what the unit does before it starts."""
        done = self.run(self.words("ExecStartPre"))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> subprocess.Popen[bytes]:
        """Start the service."""
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(self.words("ExecStart"), cwd="/", env=self.environment, stdout=log, stderr=log)


def declared(folder: Path, *arguments: str, **variables: Any) -> Run:
    """Run the job for one host with a Bugsink of these settings."""
    hosts = inventory({"server": {"watchkeeper_error_tracker": "bugsink", **variables}})
    return run_site(folder, hosts, "--tags", "bugsink", *arguments, CI="true")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """One run in which everything is said that can be said, at the highest verbosity."""
    folder = tmp_path_factory.mktemp("full")
    run = declared(folder / "run", "--diff", "-vvv", **FULL, bugsink_data_dir=str(folder / "data"))
    assert run.code == 0, run.output
    return run, folder


def test_the_version_is_that_of_the_lock() -> None:
    """The catalogue names what the requirements install."""
    lock = (ROOT / ENTRY.requirements).read_text(encoding="utf-8")
    assert f"\nbugsink=={ENTRY.version} " in lock
    assert ENTRY.early


def test_what_a_user_says_reaches_the_unit(full: tuple[Run, Path]) -> None:
    """Words of one's own come last; settings of one's own win."""
    sent = full[0].component("bugsink", "server")
    command = sent.command()
    assert command[0].endswith("/bin/gunicorn")
    assert "--bind=[::1]:8010" in command
    assert command[-1] == "--threads=2"
    unit = sent.arguments["declaration"]["unit"].splitlines()
    assert "MemoryMax=512M" in unit
    assert "User=bugsink" in unit
    assert sent.arguments["declaration"]["manifest"]["ready"]["url"] == "http://[::1]:8010/health/ready"


def test_no_secret_is_shown_or_readable(full: tuple[Run, Path]) -> None:
    """Neither in what a run says nor in a file that is no secret."""
    run, _folder = full
    sent = run.component("bugsink", "server")
    assert sent.arguments["secrets"] == {"secrets/admin_password": PASSWORD, "secrets/secret_key": KEY}
    assert set(sent.arguments["declaration"]["start_secrets"]) == set(sent.arguments["secrets"])
    for secret in ("planted 'password'", "planted \\'password", KEY):
        assert secret not in run.output
        assert secret not in json.dumps(sent.arguments["declaration"])


def test_bugsink_takes_what_is_rendered(full: tuple[Run, Path], home: Path) -> None:
    """By the check of the candidate, which can fail; and Django has every setting where Bugsink looks for it."""
    run, folder = full
    host = Host(folder, home)
    host.write(run.component("bugsink", "server"))
    done = host.check()
    assert done.returncode == 0, done.stderr
    code = (
        "import json; from django.conf import settings as s; from bugsink.app_settings import get_settings\n"
        "b = get_settings(); print(json.dumps([s.SECRET_KEY, s.TIME_ZONE, s.ALLOWED_HOSTS, s.FORCE_SCRIPT_NAME,"
        " s.SESSION_COOKIE_SECURE, str(s.DATABASES['default']['NAME']), b.BASE_URL, b.PHONEHOME,"
        " b.MAX_EVENTS_PER_HOUR, b.SITE_TITLE]))"
    )
    done = host.run([str(home / "bin" / "python"), "-c", code])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        KEY,
        "Europe/Berlin",
        ["errors.example.com", "localhost", "127.0.0.1", "[::1]"],
        "/bugs",
        True,
        str(folder / "data" / "db.sqlite3"),
        "https://errors.example.com/bugs",
        False,
        500,
        "Ours",
    ]
    config = host.config / "bugsink.yml"
    config.write_text(config.read_text(encoding="utf-8").replace("SITE_TITLE", "SIDE_TITLE"), encoding="utf-8")
    done = host.check()
    assert done.returncode != 0
    assert "bugsink_settings: SIDE_TITLE is no setting of Bugsink's; it has BASE_URL, " in done.stderr


# What the monitoring hosts say, and where their Bugsink is for others.
ADDRESSES: dict[str, tuple[dict[str, Any], str]] = {
    "server": ({}, "http://server:8010"),
    "ansible": ({"ansible_host": "192.0.2.7", "bugsink_port": 8011}, "http://192.0.2.7:8011"),
    "six": ({"watchkeeper_address": "2001:db8::7"}, "http://[2001:db8::7]:8010"),
    "public": (
        {"watchkeeper_public_address": "errors.example.com", "ansible_host": "x"},
        "http://errors.example.com:8010",
    ),
    "loopback": ({"bugsink_listen_address": "127.0.0.1"}, "http://127.0.0.1:8010"),
}


def test_the_address_in_every_dsn(tmp_path: Path) -> None:
    """That under which others reach the host, unless nobody else can."""
    shared = {"watchkeeper_error_tracker": "bugsink", "bugsink_state": "present"}
    hosts = inventory({name: {**shared, **variables} for name, (variables, _url) in ADDRESSES.items()})
    run = run_site(tmp_path, hosts, "--tags", "bugsink")
    assert run.code == 0, run.output
    for name, (_variables, url) in ADDRESSES.items():
        assert run.component("bugsink", name).data("bugsink.yml")["url"] == url


def test_one_host_has_it(tmp_path: Path) -> None:
    """The first monitoring host that may; where another tracker is chosen, it goes and leaves its data."""
    second = {"watchkeeper_error_tracker": "bugsink"}
    states = {}
    for name, first in (("both", second), ("not here", {**second, "bugsink_state": "absent"})):
        run = run_site(tmp_path / name, inventory({"one": first, "two": second}), "--tags", "bugsink")
        assert run.code == 0, run.output
        states[name] = [run.component("bugsink", host).arguments.get("state", "present") for host in ("one", "two")]
        asked = [item.host for item in run.sent if item.module == "sentry_project"]
        assert asked == []
    assert states == {"both": ["present", "absent"], "not here": ["absent", "present"]}
    run = run_site(tmp_path / "none", inventory({"one": {}}), "--tags", "bugsink")
    gone = run.component("bugsink", "one").arguments
    assert (gone["state"], gone["data"], gone["purge_data"]) == ("absent", ["/var/lib/bugsink"], False)


# What a monitoring host says, and what the message must say.
WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "h0": ({"bugsink_url": ""}, ["bugsink_url is '', but must be a URL"]),
    "h1": ({"bugsink_url": "https://me:planted@errors.example.com"}, ["bugsink_url is (hidden)", "without user name"]),
    "h2": ({"bugsink_data_dir": "data dir"}, ["bugsink_data_dir is 'data dir'", "an absolute path"]),
    "h3": ({"bugsink_admin_user": "the boss"}, ["bugsink_admin_user is 'the boss'", "letters, digits"]),
    "h4": ({"bugsink_admin_password": "planted"}, ["bugsink_admin_password is (hidden)", "at least 8 printable"]),
    "h5": ({"bugsink_secret_key": "planted"}, ["bugsink_secret_key is (hidden)", "at least 32 printable"]),
    "h6": ({"bugsink_settings": {"BASE_URL": "x"}}, ["bugsink_settings.BASE_URL cannot be set there: set bugsink_url"]),
    "h7": ({"bugsink_port": 9090}, ["prometheus_port is 9090", "another port than bugsink_port on the same host"]),
    "h8": ({"bugsink_listen_address": "errors"}, ["bugsink_listen_address is 'errors'", "an IP address of the host"]),
}


def test_bad_input(tmp_path: Path) -> None:
    """One clear message before anything changes, without a secret."""
    shared = {"watchkeeper_error_tracker": "bugsink", "bugsink_state": "present"}
    hosts = inventory({name: {**shared, **variables} for name, (variables, _words) in WRONG.items()})
    run = run_site(tmp_path, hosts, "--tags", "bugsink")
    assert run.stopped_before_any_change(), run.output
    for name, (_variables, words) in WRONG.items():
        assert "things are wrong" not in run.errors[name]
        for word in words:
            assert word in run.errors[name]
    assert "planted" not in run.output


# A real Bugsink


class Live(Host):
    """A Bugsink that runs as its unit says, on a free port."""

    def __init__(self, folder: Path, home: Path) -> None:
        super().__init__(folder, home)
        self.port = free_port()
        self.server: subprocess.Popen[bytes] | None = None
        # The account is the host's; whoever runs the tests stands for it.
        programs = folder / "programs"
        programs.mkdir()
        (programs / "runuser").write_text('#!/bin/sh\n[ "$1 $2 $3" = "-u bugsink --" ] && shift 3 && exec "$@"\n')
        (programs / "runuser").chmod(0o755)
        self.path = f"{programs}:{os.environ['PATH']}"

    @property
    def url(self) -> str:
        """Return where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def variables(self, **more: Any) -> dict[str, Any]:
        """Return the variables of the monitoring host."""
        return {
            "watchkeeper_error_tracker": "bugsink",
            "bugsink_listen_address": "127.0.0.1",
            "bugsink_port": self.port,
            "bugsink_data_dir": str(self.data),
            **more,
        }

    def converge(self, folder: str, nodes: dict[str, Any], *arguments: str, **more: Any) -> Run:
        """Run the job with its real module for projects; the rest is written down."""
        groups = {"application": list(nodes)}
        # The hosts are one machine, but each has its own record of what the role has written.
        record = {"__app_observability_folder": f"{self.folder}/{folder}/{{{{ inventory_hostname }}}}"}
        return run_site(
            self.folder / folder,
            inventory({"server": self.variables(**more)}, nodes, groups=groups),
            *arguments,
            f"--extra-vars={json.dumps(record)}",
            real=("sentry_project",),
            PATH=self.path,
            PYTHONPATH=str(ROOT / "files" / "bugsink"),
            CI="true",
        )

    def restart(self) -> str:
        """Start it as systemd would; return what was said before the start."""
        self.stop()
        said = self.prepare()
        self.server = self.start()
        end = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/health/ready", timeout=5):
                    return said
            except OSError as error:
                if self.server.poll() is not None or time.monotonic() > end:
                    raise AssertionError((self.folder / "log").read_text(encoding="utf-8")) from error
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop it."""
        if self.server:
            self.server.terminate()
            self.server.wait()
            self.server = None

    def login(self, password: str) -> bool:
        """Tell whether the administrator comes in with a password."""
        cookies = http.cookiejar.CookieJar()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
        page = f"{self.url}/accounts/login/"
        with opener.open(page, timeout=30):
            pass
        form = {"username": "admin", "password": password}
        form["csrfmiddlewaretoken"] = next(str(one.value) for one in cookies if one.name == "csrftoken")
        with opener.open(page, urllib.parse.urlencode(form).encode(), timeout=30) as answer:
            return str(answer.url) != page

    @property
    def token(self) -> str:
        """Return the token that was made for the API."""
        return (self.data / "api_token").read_text(encoding="utf-8")

    def ask(self, path: str) -> Any:
        """Ask the API."""
        return bugsink._ask(self.url, self.token, path)

    def shell(self, code: str) -> str:
        """Run code inside of Bugsink, by the program that is left for people."""
        done = self.run([str(self.data / "manage"), "shell", "--verbosity=0", "--command", code])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def live(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A real Bugsink out of what a run declares."""
    found = Live(tmp_path_factory.mktemp("live"), home)
    # The chat of the tests is on this machine.
    settings = {"ALERTS_WEBHOOK_DENY_NON_GLOBAL": False}
    hosts = inventory({"server": found.variables(bugsink_settings=settings)})
    run = run_site(found.folder / "first", hosts, "--tags", "bugsink")
    assert run.code == 0, run.output
    found.write(run.component("bugsink", "server"))
    found.restart()
    try:
        yield found
    finally:
        found.stop()


def test_what_the_start_makes(live: Live) -> None:
    """The administrator with the password of the host, and a token that can do what the projects need and no more."""
    assert live.login(GENERATED)
    assert not live.login("admin")
    assert re.fullmatch(r"[0-9a-f]{40}", live.token)
    for name in ("api_token", "admin_password.hash", "db.sqlite3"):
        assert stat.S_IMODE((live.data / name).stat().st_mode) & 0o077 == 0, name
    assert live.ask("projects/")["results"] == live.ask("projects/")["results"]
    request = urllib.request.Request(
        f"{live.url}/api/canonical/0/issues/?project=1", headers={"Authorization": f"Bearer {live.token}"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    refused.value.close()
    assert refused.value.code == 403


def test_another_start_changes_nothing_and_another_password_counts(live: Live) -> None:
    """The token stays. What a person has changed stays until another password is declared."""
    token = live.token
    said = live.restart()
    assert "made" not in said
    assert live.token == token
    live.shell("from users.models import User; u = User.objects.get(); u.set_password('of-a-person'); u.save()")
    live.restart()
    assert live.login("of-a-person")
    (live.config / "secrets" / "admin_password").write_text(PASSWORD, encoding="utf-8")
    assert "gave the administrator admin the password" in live.restart()
    assert live.login(PASSWORD)
    assert not live.login("of-a-person")
    # A token that somebody has revoked is made again.
    live.shell("from bsmain.models import AuthToken; [one.revoke() for one in AuthToken.objects.all()]")
    live.restart()
    assert live.token != token
    assert live.ask("teams/")["results"] == []


@pytest.fixture
def chat() -> Iterator[WebhookSink]:
    """A webhook of the team's chat."""
    with WebhookSink(path="/services/planted-hook") as sink:
        yield sink


def test_applications_get_the_dsns_of_a_real_bugsink(live: Live, chat: WebhookSink) -> None:
    """Projects are made once, each application gets its own, on every host and in a run for one host alone.

    The DSN is that with which a real event arrives, and the team's chat is told of it.
    """
    nodes = {
        "app": {"health_app_service": "shop"},
        "other": {"health_app_service": "shop"},
        "web": {
            "health_app_state": "absent",
            "app_observability_applications": [{"name": "front", "directory": str(live.folder / "front")}],
        },
    }
    tags = ("--tags", "health_app,app_observability,sentry")
    more = {"sentry_alert": {"via": "slack", "url": chat.url}}
    run = live.converge("second", nodes, *tags, "-vvv", **more)
    assert run.code == 0, run.output
    assert "planted-hook" not in run.output
    listed = {item["name"]: item for item in live.ask("projects/")["results"]}
    assert sorted(listed) == ["front", "front-browser", "shop"]
    [team] = live.ask("teams/")["results"]
    assert (team["name"], listed["shop"]["team"]) == ("watchkeeper", team["id"])

    dsn = listed["shop"]["dsn"]
    assert dsn.endswith(f"@127.0.0.1:{live.port}/{listed['shop']['id']}")
    for host in ("app", "other"):
        assert run.component("health_app", host).arguments["secrets"]["secrets/sentry_dsn"] == dsn
    env = (live.folder / "front" / "observability.env").read_text(encoding="utf-8")
    assert f"\nSENTRY_DSN={listed['front']['dsn']}\n" in env
    script = (live.folder / "front" / "sentry-browser.js").read_text(encoding="utf-8")
    assert listed["front-browser"]["dsn"] in script
    # Only the browser's is for everybody.
    for name in ("shop", "front"):
        assert listed[name]["dsn"] not in run.output

    code = f"import sentry_sdk; sentry_sdk.init({dsn!r}); sentry_sdk.capture_message('it works'); sentry_sdk.flush()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    count = "from events.models import Event; print([e.project.name for e in Event.objects.all()])"
    assert live.shell(count) == "['shop']"
    told = chat.wait(lambda record: "it works" in json.dumps(record))
    assert "shop" in json.dumps(told)

    again = live.converge("third", nodes, *tags, **more)
    assert again.code == 0, again.output
    assert not any(item["result"].get("changed") for item in again.results if item["action"] == "sentry_project")
    alone = live.converge("fourth", nodes, "--limit", "other", **more)
    assert alone.code == 0, alone.output
    assert alone.component("health_app", "other").arguments["secrets"]["secrets/sentry_dsn"] == dsn
    assert {item.host for item in alone.sent} == {"other"}


def test_a_bugsink_that_does_not_answer(live: Live) -> None:
    """The run ends before an application loses its DSN; check mode goes on, for there may be none yet."""
    nodes: dict[str, Any] = {"app": {}}
    closed = {"bugsink_port": free_port()}
    run = live.converge("fifth", nodes, "--tags", "health_app", **closed)
    assert run.code != 0
    assert [item.module for item in run.sent if item.module == "component"] == []
    [message] = run.errors.values()
    assert f"http://127.0.0.1:{closed['bugsink_port']}" in message
    checked = live.converge("sixth", nodes, "--tags", "health_app", "--check", **closed)
    assert checked.code == 0, checked.output
    assert "secrets/sentry_dsn" not in checked.component("health_app", "app").arguments["secrets"]


def test_the_demo_has_it() -> None:
    """The embedded default tracks errors, and probes its own tracker."""
    demo = yaml.safe_load((ROOT / "inventory" / "demo" / "hosts.yml").read_text(encoding="utf-8"))
    [host] = demo["all"]["hosts"].values()
    assert host["watchkeeper_error_tracker"] == "bugsink"
    assert f"http://127.0.0.1:{ENTRY.port}{ENTRY.ready}" in [probe["url"] for probe in host["watchkeeper_probes"]]
