"""Self-hosted Sentry: a release in a git repository of the test's own; Docker's part is played by sentry_docker.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.live import free_port
from tests.unit.runs import ROOT, inventory, run_site
from tests.unit.test_grafana_modules import compare

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="needs the program git")

RUNNER = """
import json, runpy, sys
import ansible.module_utils
from ansible.module_utils.testing import patch_module_args
root, arguments = sys.argv[1:]
ansible.module_utils.__path__.append(f"{root}/plugins/module_utils")
with patch_module_args(json.loads(arguments)):
    runpy.run_path(f"{root}/library/sentry_self_hosted.py", run_name="__main__")
"""
# What upstream's installer does, as far as anybody here can tell: the services stand still when it ends.
INSTALLER = """#!/usr/bin/env bash
set -e
echo "$@" > installer_flags
test -t 0 && exit 9
if read -r -t 1 answer; then exit 8; fi
source .env
source .env.custom
echo "REPORT=$REPORT_SELF_HOSTED_ISSUES RELEASE={version}" >> sentry_install_log-2026.txt
for name in clickhouse data kafka postgres redis seaweedfs; do docker volume create --name=sentry-$name; done
if [ -e ../broken ]; then echo "installing with $LAUNCHPAD_RPC_SHARED_SECRET"; echo "no space left"; exit 7; fi
sed -i -e "s/^system.secret-key:.*$/system.secret-key: 'made'/" sentry/config.yml
docker compose --ansi never --env-file .env.custom stop -t 60
"""
SERVICES = "# web\n# relay\n# nginx\n# postgres\n# vroom feature-complete\n# uptime-checker feature-complete\n"
CONFIG = "mail.host: 'smtp'\nsystem.secret-key: '!!changeme!!'\n"
PLANTED = "planted-admin-password"
MAIL = "planted-mail-password"
EMAIL = "ops@example.com"
GIBIBYTE = 2**30


class Repository:
    """A git repository with two releases, in the form of upstream's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "sentry").mkdir(parents=True)
        self.git("init", "--quiet")
        self.commits = {version: self.release(version) for version in ("26.7.2", "26.8.0")}

    def git(self, *words: str) -> str:
        """Run git on the repository."""
        own = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=master")
        done = subprocess.run(["git", "-C", str(self.path), *own, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def release(self, version: str) -> str:
        """Make a release, and return its commit."""
        environment = (
            f"COMPOSE_PROJECT_NAME=sentry-self-hosted\nCOMPOSE_PROFILES=feature-complete\nSENTRY_BIND=9000\n"
            f"SENTRY_IMAGE=ghcr.io/getsentry/sentry:{version}\n"
        )
        for name, text in {
            "install.sh": INSTALLER.replace("{version}", version),
            "docker-compose.yml": SERVICES,
            ".env": environment,
            ".gitignore": ".env.custom\nsentry/config.yml\nsentry/sentry.conf.py\n*_log-*\ninstaller_flags\n",
            "sentry/config.example.yml": CONFIG,
            "sentry/sentry.conf.example.py": "from sentry.conf.server import *\n",
        }.items():
            (self.path / name).write_text(text, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", version)
        self.git("tag", version)
        return self.git("rev-parse", "HEAD")


class Server:
    """A host: its Docker and its Sentry."""

    def __init__(self, folder: Path, releases: Repository) -> None:
        self.folder, self.state = folder, folder / "docker"
        self.repository, self.commits = releases.path, releases.commits
        self.directory, self.secrets = folder / "opt" / "sentry", folder / "secrets"
        self.record = folder / "etc" / "sentry_self_hosted.json"
        for path in (self.state, folder / "bin"):
            path.mkdir(parents=True)
        program = folder / "bin" / "docker"
        text = (ROOT / "tests" / "unit" / "sentry_docker.py").read_text(encoding="utf-8")
        program.write_text(text.replace("/usr/bin/env python3", sys.executable, 1), encoding="utf-8")
        program.chmod(0o755)
        self.machine()
        self.port = free_port()
        self.ended = threading.Event()
        self.web = threading.Thread(target=self.serve)
        self.web.start()

    def serve(self) -> None:
        """Listen while nginx runs."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(server.answer(self.path, self.headers.get("Authorization", "")))
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        while not self.ended.wait(0.02):
            if "nginx" not in self.get("running.json", []):
                continue
            with ThreadingHTTPServer(("127.0.0.1", self.port), Handler) as web:
                web.timeout = 0.02
                while "nginx" in self.get("running.json", []) and not self.ended.is_set():
                    web.handle_request()

    def close(self) -> None:
        """End what the test has started."""
        self.ended.set()
        self.web.join()

    def machine(self, memory: float = 16, processors: int = 4, **more: Any) -> None:
        """Say what Docker tells of the machine, and what of it fails."""
        info = {"ServerVersion": "29.1.2", "NCPU": processors, "MemTotal": int(memory * GIBIBYTE)}
        info.update(more.pop("info", {}))
        self.put("host.json", {"info": info, "compose": "v2.40.3", **more})

    def put(self, name: str, data: Any) -> None:
        """Write a file of Docker's state."""
        candidate = self.state / f"{name}.test"
        candidate.write_text(json.dumps(data), encoding="utf-8")
        candidate.replace(self.state / name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return what a file of Docker's state says."""
        path = self.state / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default

    @property
    def sentry(self) -> dict[str, Any]:
        """Accounts, tokens and options of Sentry."""
        return dict(self.get("sentry.json"))

    def calls(self) -> list[list[str]]:
        """Return the command lines of Docker since the last time."""
        path = self.state / "calls.jsonl"
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    def answer(self, path: str, authorization: str) -> int:
        """Answer as Sentry's web server."""
        if "web" not in self.get("running.json", []):
            return 502
        if path == "/_health/":
            return 200
        if path != "/api/0/organizations/sentry/":
            return 404
        return 200 if authorization in [f"Bearer {one['token']}" for one in self.sentry["tokens"]] else 401

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a run."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {"PATH": path, "WATCHKEEPER_TEST_DOCKER": str(self.state)}

    def task(self, **changed: Any) -> dict[str, Any]:
        """Return the arguments of the module."""
        version = changed.get("version", "26.8.0")
        return {
            "version": version,
            "commit": self.commits.get(version, "0" * 40),
            "repository": str(self.repository),
            "directory": str(self.directory),
            "url": "https://sentry.example.com",
            "listen_address": "127.0.0.1",
            "port": self.port,
            "admin_email": EMAIL,
            "secrets": str(self.secrets),
            "record": str(self.record),
            "timeout": 5,
            **changed,
        }

    def converge(self, check: bool = False, **changed: Any) -> dict[str, Any]:
        """Run the module, and return its answer."""
        arguments = {**self.task(**changed), "_ansible_check_mode": check}
        command = [sys.executable, "-c", RUNNER, str(ROOT), json.dumps(arguments)]
        # Who asks a question is answered, which the installer must not be.
        done = subprocess.run(
            command,
            env={**os.environ, **self.variables},
            input="y\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stdout.startswith("\n{") or done.stdout.startswith("{"), done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def refused(self, **changed: Any) -> str:
        """Run the module, which has to fail, and return its message."""
        answer = self.converge(**changed)
        assert answer.get("failed"), answer
        return str(answer["msg"])

    def installations(self) -> list[str]:
        """Return what each run of an installer has noted."""
        path = self.directory / "sentry_install_log-2026.txt"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def text(self, name: str) -> str:
        """Return a file of the installation."""
        return (self.directory / name).read_text(encoding="utf-8")

    def token(self) -> str:
        """Return the token as it is kept."""
        return (self.secrets / "token").read_text(encoding="utf-8").strip()

    def untouched(self) -> bool:
        """Tell whether nothing was fetched, written or started."""
        places = (self.directory, self.secrets, self.record, self.state / "running.json", self.state / "volumes.json")
        return not any(path.exists() for path in places)


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Give a repository with two releases."""
    return Repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def server(tmp_path: Path, releases: Repository) -> Iterator[Server]:
    """Give a host with Docker and without Sentry."""
    made = Server(tmp_path, releases)
    yield made
    made.close()


# Documentation


def test_the_documentation_is_the_argument_spec() -> None:
    text = (ROOT / "library" / "sentry_self_hosted.py").read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "sentry_self_hosted"}
    # Dataclasses look for the module that they are of.
    vars(sys.modules.setdefault("sentry_self_hosted", types.ModuleType("sentry_self_hosted"))).update(names)
    exec(compile(text, "sentry_self_hosted", "exec"), names)  # noqa: S102 - the project's own module
    caught: list[dict[str, Any]] = []

    def module(**given: Any) -> None:
        caught.append(given["argument_spec"])
        raise SystemExit

    names["AnsibleModule"] = module
    with pytest.raises(SystemExit):
        names["main"]()
    about = yaml.safe_load(names["DOCUMENTATION"])
    assert about["module"] == "sentry_self_hosted"
    compare(about["options"], caught[0], "sentry_self_hosted")
    for task in yaml.safe_load(names["EXAMPLES"]):
        given = task["sentry_self_hosted"]
        assert set(given) <= set(about["options"])
        if given.get("state") != "absent":
            defaults = {name: option.get("default") for name, option in about["options"].items()}
            assert names["settings_problems"]({**defaults, **given}) == []


# What a run does


def test_a_first_run_installs_starts_and_makes_account_and_token(server: Server) -> None:
    answer = server.converge(config={"mail.host": "mx.example.com"}, environment={"SENTRY_MAIL_HOST": "example.com"})
    assert not answer.get("failed"), answer
    assert answer["component"] == {
        "name": "sentry",
        "version": "26.8.0",
        "state": "ready",
        "actions": [
            f"release 26.8.0 in {server.directory}",
            "settings in .env.custom",
            "settings in sentry/config.yml",
            "settings in sentry/sentry.conf.py",
            "installation of 26.8.0 (feature-complete)",
            "start",
            f"administrator {EMAIL}, and a token of the API",
        ],
    }
    # Unattended, and silent towards its makers.
    assert server.text("installer_flags").split() == [
        "--skip-user-creation",
        "--skip-commit-check",
        "--no-report-self-hosted-issues",
        "--apply-automatic-config-updates",
    ]
    assert server.installations() == ["REPORT=0 RELEASE=26.8.0"]
    assert "SENTRY_BEACON = False" in server.text("sentry/sentry.conf.py")
    # What runs is what was asked for.
    variables = server.get("variables.json")
    assert variables["SENTRY_BIND"] == f"127.0.0.1:{server.port}"
    assert variables["SENTRY_EVENT_RETENTION_DAYS"] == "90"
    assert variables["SENTRY_MAIL_HOST"] == "example.com"
    assert variables["SENTRY_IMAGE"].endswith(":26.8.0")
    assert len(variables["LAUNCHPAD_RPC_SHARED_SECRET"]) >= 43
    options = yaml.safe_load(server.text("sentry/config.yml"))
    assert options["system.url-prefix"] == "https://sentry.example.com"
    assert options["system.secret-key"] == "made"
    assert options["mail.host"] == "mx.example.com"
    assert options["auth.allow-registration"] is False
    # The account has the password that was made here; the token is one for the modules.
    sentry = server.sentry
    password = (server.secrets / "admin_password").read_text(encoding="utf-8").strip()
    assert sentry["users"] == {EMAIL: {"superuser": True, "password": password}}
    assert sentry["options"] == {"sentry:version-configured": "26.8.0"}
    assert [one["token"] for one in sentry["tokens"]] == [server.token()]
    assert {"team:write", "project:admin", "project:releases", "alerts:write"} <= set(sentry["tokens"][0]["scope_list"])
    assert sentry["tokens"][0]["expires_at"] is None
    assert answer["organization"] == "sentry"
    assert answer["token_file"] == str(server.secrets / "token")
    assert answer["notes"] == [f"the password of {EMAIL} is made on this host: {server.secrets / 'admin_password'}"]


def test_secrets_are_for_root_alone_and_on_no_command_line(server: Server) -> None:
    answer = server.converge(admin_password=PLANTED, config={"mail.password": MAIL})
    for path in (*server.secrets.iterdir(), server.record, server.directory / ".env.custom"):
        assert path.stat().st_mode & 0o077 == 0, path
    for path in (server.secrets, server.directory):
        assert path.stat().st_mode & 0o777 == 0o700, path
    # Sentry's own account in the container reads it.
    assert (server.directory / "sentry" / "config.yml").stat().st_mode & 0o777 == 0o644
    kept = [path.read_text(encoding="utf-8").strip() for path in server.secrets.iterdir()]
    assert PLANTED in kept
    told = json.dumps([answer, server.calls()]) + server.record.read_text(encoding="utf-8")
    for secret in (*kept, MAIL):
        assert secret not in told


def test_a_second_run_changes_nothing(server: Server) -> None:
    server.converge(config={"mail.port": 587})
    server.calls()
    before = {path: path.stat().st_mtime_ns for path in server.folder.rglob("*") if "docker" not in path.parts}
    answer = server.converge(config={"mail.port": 587})
    assert (answer["changed"], answer["actions"], answer["notes"]) == (False, [], [])
    assert [words[-1] for words in server.calls()] == ["--services", "running"]
    after = {path: path.stat().st_mtime_ns for path in server.folder.rglob("*") if "docker" not in path.parts}
    assert after == before


def test_check_mode_only_tells(server: Server) -> None:
    answer = server.converge(check=True)
    assert answer["changed"]
    assert "installation of 26.8.0 (feature-complete)" in answer["actions"]
    assert server.untouched()
    server.converge()
    ready = server.record.read_text(encoding="utf-8")
    assert not server.converge(check=True)["changed"]
    answer = server.converge(check=True, event_retention_days=30, admin_password=PLANTED)
    assert answer["actions"] == [
        "settings in .env.custom",
        "installation of 26.8.0 (feature-complete)",
        "start",
        f"administrator {EMAIL}, and a token of the API",
    ]
    assert server.record.read_text(encoding="utf-8") == ready
    assert len(server.installations()) == 1
    assert PLANTED not in (server.secrets / "admin_password").read_text(encoding="utf-8")


def test_errors_only_has_fewer_services_on_a_smaller_host(server: Server) -> None:
    server.machine(memory=7.5, processors=2)
    server.converge(profile="errors-only")
    assert server.get("running.json") == ["web", "relay", "nginx", "postgres"]
    # Another profile needs other images: that is the installer's work.
    server.machine(memory=16, processors=4)
    assert "installation of 26.8.0 (feature-complete)" in server.converge()["actions"]
    assert "vroom" in server.get("running.json")


def test_a_service_that_stands_still_is_started(server: Server) -> None:
    server.converge()
    server.put("running.json", [name for name in server.get("running.json") if name != "relay"])
    assert server.converge(check=True)["actions"] == ["start of relay"]
    assert server.converge()["actions"] == ["start of relay"]
    assert "relay" in server.get("running.json")
    assert len(server.installations()) == 1


def test_a_change_of_settings_runs_the_installer_and_keeps_what_people_wrote(server: Server) -> None:
    server.converge()
    path = server.directory / "sentry" / "config.yml"
    path.write_text(path.read_text(encoding="utf-8") + "slack.client-id: '1'\n", encoding="utf-8")
    assert "settings in sentry/config.yml" in server.converge(config={"mail.host": "mx.example.com"})["actions"]
    options = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert options["slack.client-id"] == "1"
    assert options["mail.host"] == "mx.example.com"
    assert len(server.installations()) == 2
    assert not server.converge(config={"mail.host": "mx.example.com"})["changed"]


# Releases


def test_an_upgrade_runs_the_new_installer_and_there_is_no_way_back(server: Server) -> None:
    server.converge(version="26.7.2")
    key = server.text("sentry/config.yml")
    answer = server.converge()
    assert answer["actions"][:2] == [
        f"release 26.8.0 in {server.directory}",
        "installation of 26.8.0 (feature-complete)",
    ]
    assert server.installations() == ["REPORT=0 RELEASE=26.7.2", "REPORT=0 RELEASE=26.8.0"]
    assert server.text("sentry/config.yml") == key
    message = server.refused(version="26.7.2")
    assert "sentry_self_hosted_version is 26.7.2, but 26.8.0 was installed" in message
    assert len(server.installations()) == 2


def test_a_failed_upgrade_says_why_goes_on_and_never_goes_back(server: Server) -> None:
    server.converge(version="26.7.2")
    (server.directory.parent / "broken").touch()
    message = server.refused()
    assert "the installer of Sentry 26.8.0 failed" in message
    assert "no space left" in message
    assert server.get("variables.json")["LAUNCHPAD_RPC_SHARED_SECRET"] not in message
    # Its data may be of the new release by now.
    assert "26.8.0 was installed" in server.refused(version="26.7.2")
    (server.directory.parent / "broken").unlink()
    assert server.converge()["component"]["actions"][0] == "installation of 26.8.0 (feature-complete)"
    assert not server.converge()["changed"]


def test_a_tag_that_names_another_commit_is_not_run(server: Server) -> None:
    message = server.refused(commit=server.commits["26.7.2"])
    assert f"is commit {server.commits['26.8.0']}, but sentry_self_hosted_commit is" in message
    assert server.installations() == []
    assert server.get("running.json") is None
    assert not server.converge().get("failed")


def test_a_release_that_is_not_there_is_named(server: Server) -> None:
    message = server.refused(version="26.9.9", commit="1" * 40)
    assert "release 26.9.9 could not be fetched from" in message


def test_files_of_the_release_that_were_changed_by_hand_are_not_run(server: Server) -> None:
    server.converge()
    (server.directory / "docker-compose.yml").write_text("# web\n", encoding="utf-8")
    assert "changed by hand" in server.refused(event_retention_days=30)
    assert "docker-compose.yml" in server.refused(event_retention_days=30)
    assert len(server.installations()) == 1


# What stops a run before anything is done


@pytest.mark.parametrize(
    ("machine", "profile", "words"),
    [
        ({"memory": 13}, "feature-complete", "14000 MiB of memory are needed, it has 13312"),
        ({"processors": 3}, "feature-complete", "4 processors are needed, it has 3"),
        ({"memory": 6}, "errors-only", "7000 MiB of memory are needed, it has 6144"),
        ({"processors": 1}, "errors-only", "2 processors are needed, it has 1"),
        ({"info": {"ServerVersion": "19.3.5"}}, "errors-only", "Docker 19.3.6 is needed, it has 19.3.5"),
        ({"compose": "2.32.1"}, "errors-only", "Docker Compose 2.32.2 is needed, it has 2.32.1"),
        ({"compose": ""}, "errors-only", "Docker Compose 2.32.2 is needed, it has none"),
        ({"fails": ["info"]}, "errors-only", "Docker does not answer"),
    ],
)
def test_a_host_that_is_not_fit_stays_as_it_is(
    server: Server, machine: dict[str, Any], profile: str, words: str
) -> None:
    server.machine(**machine)
    assert server.converge(check=True, profile=profile)["failed"]
    answer = server.converge(profile=profile)
    assert answer["failed"]
    assert words in answer["msg"]
    assert not answer["changed"]
    assert not any(path.exists() for path in (server.directory, server.record, server.state / "running.json"))


def test_a_host_without_docker_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    (server.folder / "bin" / "docker").unlink()
    for name in ("git", "bash"):
        (server.folder / "bin" / name).symlink_to(str(shutil.which(name)))
    # Ansible looks into these as well.
    if any(Path(folder, "docker").exists() for folder in ("/sbin", "/usr/sbin", "/usr/local/sbin")):
        pytest.skip("this machine has a docker where Ansible always looks")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "this host has no Docker" in server.refused()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"version": "latest"}, "sentry_self_hosted_version is 'latest'"),
    ({"commit": "73fe2f2"}, "sentry_self_hosted_commit is '73fe2f2'"),
    ({"url": "sentry.example.com"}, "sentry_self_hosted_url must be like"),
    ({"url": "https://example.com/sentry"}, "sentry_self_hosted_url must be like"),
    ({"listen_address": "localhost"}, "sentry_self_hosted_listen_address is 'localhost'"),
    ({"port": 90000}, "sentry_self_hosted_port is 90000"),
    ({"admin_email": "root"}, "sentry_self_hosted_admin_email is 'root'"),
    ({"event_retention_days": 0}, "sentry_self_hosted_event_retention_days is 0"),
    ({"environment": {"SENTRY_BIND": "80"}}, "set sentry_self_hosted_listen_address and sentry_self_hosted_port"),
    ({"environment": {"A": "x'; rm"}}, "sentry_self_hosted_environment.A must be one line"),
    ({"environment": {"a b": "x"}}, "sentry_self_hosted_environment.a b"),
    ({"config": {"system.secret-key": "x"}}, "the installer makes it"),
    ({"config": {"mail host": "x"}}, "sentry_self_hosted_config.mail host"),
]


def test_a_wrong_setting_is_named(server: Server) -> None:
    for changed, words in WRONG:
        assert words in server.refused(**changed)
    assert server.untouched()
    assert server.calls() == []


def test_an_installation_of_somebody_else_is_left_alone(server: Server) -> None:
    server.put("volumes.json", ["sentry-postgres"])
    assert "this host has the volume sentry-postgres" in server.refused()
    server.put("volumes.json", [])
    server.directory.mkdir(parents=True)
    (server.directory / "notes").write_text("mine", encoding="utf-8")
    assert "neither empty nor a checkout" in server.refused()
    assert os.listdir(server.directory) == ["notes"]


def test_a_checkout_that_somebody_made_is_taken_over_with_its_data(server: Server) -> None:
    server.put("volumes.json", ["sentry-postgres"])
    subprocess.run(
        ["git", "clone", "--quiet", "--branch=26.7.2", str(server.repository), str(server.directory)],
        check=True,
        capture_output=True,
    )
    (server.directory / ".env.custom").write_text("SENTRY_BIND=80\n", encoding="utf-8")
    assert ".env.custom was made by somebody else" in server.refused()
    (server.directory / ".env.custom").unlink()
    server.directory.chmod(0o755)
    answer = server.converge()
    assert server.directory.stat().st_mode & 0o777 == 0o700
    assert answer["component"]["version"] == "26.8.0"
    assert server.installations() == ["REPORT=0 RELEASE=26.8.0"]


def test_another_folder_is_refused_where_there_are_data(server: Server) -> None:
    server.converge()
    assert f"was installed in {server.directory}" in server.refused(directory=str(server.folder / "elsewhere"))


def test_a_taken_port_is_named(server: Server) -> None:
    with ThreadingHTTPServer(("127.0.0.1", server.port), BaseHTTPRequestHandler):
        assert f"port {server.port} is taken by" in server.refused()
    assert not server.directory.exists()


# Account and token


def test_a_token_that_sentry_does_not_take_is_replaced_and_the_password_stays(server: Server) -> None:
    server.converge()
    sentry = server.sentry
    sentry["tokens"] = []
    sentry["users"][EMAIL].update(password=PLANTED)
    server.put("sentry.json", sentry)
    assert server.converge()["actions"] == [f"token of the API for {EMAIL}"]
    assert [one["token"] for one in server.sentry["tokens"]] == [server.token()]
    assert server.sentry["users"][EMAIL]["password"] == PLANTED
    assert not server.converge()["changed"]


def test_another_password_is_set(server: Server) -> None:
    server.converge()
    assert server.converge(admin_password=PLANTED)["actions"] == [f"administrator {EMAIL}, and a token of the API"]
    assert server.sentry["users"][EMAIL]["password"] == PLANTED
    assert len(server.sentry["tokens"]) == 1
    assert not server.converge(admin_password=PLANTED)["changed"]
    # Without the variable, what was set stays.
    assert not server.converge()["changed"]
    assert len(server.installations()) == 1


def test_a_sentry_that_does_not_start_is_told(server: Server) -> None:
    server.machine(fails=["up"])
    message = server.refused()
    assert "Sentry did not start" in message
    assert "web-1 is unhealthy" in message
    server.machine()
    assert server.converge()["actions"] == ["start", f"administrator {EMAIL}, and a token of the API"]


# Removal


def test_removal_stops_sentry_and_keeps_its_data(server: Server) -> None:
    server.converge()
    assert server.converge(check=True, state="absent")["actions"] == ["stop"]
    assert server.get("running.json") != []
    answer = server.converge(state="absent")
    assert answer["component"] == {"name": "sentry", "version": "26.8.0", "state": "absent", "actions": ["stop"]}
    assert server.get("running.json") == []
    assert "sentry-postgres" in server.get("volumes.json")
    assert (server.directory / "sentry" / "config.yml").exists()
    assert not server.converge(state="absent")["changed"]
    # It comes back as it was, without an installation.
    assert server.converge()["actions"] == ["start"]
    assert len(server.installations()) == 1


def test_where_there_never_was_sentry_removal_needs_no_docker(server: Server) -> None:
    answer = server.converge(state="absent")
    assert not answer["changed"]
    assert "component" not in answer
    assert server.calls() == []


# The role


PLAYBOOK = """
- hosts: monitoring
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: sentry
        tasks_from: self_hosted.yml
"""


def test_the_role_installs_upgrades_and_stops(server: Server, tmp_path: Path) -> None:
    def run(state: str, *words: str, **changed: Any) -> Any:
        settings = {
            "watchkeeper_error_tracker": "self_hosted",
            "sentry_self_hosted_repository": str(server.repository),
            "sentry_self_hosted_directory": str(server.directory),
            "sentry_self_hosted_version": "26.8.0",
            "sentry_self_hosted_commit": server.commits["26.8.0"],
            "sentry_self_hosted_listen_address": "127.0.0.1",
            "sentry_self_hosted_port": server.port,
            "sentry_self_hosted_admin_email": EMAIL,
            "sentry_self_hosted_admin_password": PLANTED,
            "sentry_self_hosted_config": {"mail.password": MAIL, "mail.port": 587},
            "ansible_host": "192.0.2.7",
            "ansible_async_dir": str(tmp_path / "jobs"),
            **changed,
        }
        # Over the role's own variables: nothing of the machine that runs the tests is written.
        moved = {
            "__sentry_self_hosted_secrets": str(server.secrets),
            "__sentry_self_hosted_record": str(server.record),
            "__sentry_self_hosted_state": state,
        }
        return run_site(
            tmp_path / "run",
            inventory({"monitor": settings}),
            f"--extra-vars={json.dumps(moved)}",
            *words,
            playbook=PLAYBOOK,
            real=("sentry_self_hosted",),
            **server.variables,
        )

    checked = run("present", "--check")
    assert checked.code == 0, checked.output
    assert server.untouched()
    first = run("present", "-vvv")
    assert first.code == 0, first.output
    assert yaml.safe_load(server.text("sentry/config.yml"))["system.url-prefix"] == f"http://192.0.2.7:{server.port}"
    assert server.sentry["users"][EMAIL]["password"] == PLANTED
    for secret in (PLANTED, MAIL, server.token()):
        assert secret not in first.output
    assert "changed=0" in run("present").output
    stopped = run("absent", sentry_self_hosted_admin_email="")
    assert stopped.code == 0, stopped.output
    assert server.get("running.json") == []
    assert "changed=0" in run("absent").output
