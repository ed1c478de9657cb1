"""The administrator's password is the one in the file, however it came to another one."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.emulators.grafana import GrafanaEmulator
from tests.unit.grafana_fixture import EMULATOR, Grafana, release
from tests.unit.live import Program, answers, free_port
from tests.unit.runs import ROOT, inventory, run_site

OLD, NEW = "planted-old-password", "planted-new-password"
ACCOUNT = pwd.getpwuid(os.geteuid()).pw_name


# What Ansible does on a host, without the way there.
RUNNER = """
import json, runpy, sys
import ansible.module_utils
from ansible.module_utils.testing import patch_module_args
root, arguments = sys.argv[1:]
ansible.module_utils.__path__.append(f"{root}/plugins/module_utils")
with patch_module_args(json.loads(arguments)):
    runpy.run_path(f"{root}/library/grafana_admin_password.py", run_name="__main__")
"""


class Installed:
    """A release of the emulator in Grafana's layout, its configuration and its password file."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.url = f"http://127.0.0.1:{port}"
        self.home = release(EMULATOR, folder)
        self.program = self.home / "bin" / "grafana"
        self.password = folder / "admin_password"
        self.write(OLD)
        self.config = folder / "grafana.ini"
        self.config.write_text(
            f"[paths]\ndata = {folder}/data\nprovisioning = {folder}/provisioning\n[server]\nhttp_addr = 127.0.0.1\n"
            f"http_port = {port}\n[security]\nadmin_password = $__file{{{self.password}}}\n",
            encoding="utf-8",
        )
        (folder / "provisioning").mkdir()

    def write(self, password: str) -> None:
        """Put another password into the file."""
        self.password.write_text(password, encoding="utf-8")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve for a while."""
        command = [str(self.program), "server", "--homepath", str(self.home), "--config", str(self.config)]
        with Program(command, self.folder / "log", answers(self.port)):
            yield

    def status(self, password: str, login: str = "admin") -> int:
        """Return how Grafana answers a login."""
        return Grafana(self.url).ask("GET", "/api/user", login=f"{login}:{password}")[0]

    def task(self, **changed: Any) -> dict[str, Any]:
        """Return the arguments of a task."""
        task = {
            "url": self.url,
            "password_file": str(self.password),
            "homepath": str(self.home),
            "config": str(self.config),
            "account": ACCOUNT,
            "timeout": 20,
        }
        return {**task, **changed}

    def run(self, check: bool = False, **changed: Any) -> dict[str, Any]:
        """Run the module as a program; no password may be in what it says."""
        arguments = {**self.task(**changed), "_ansible_check_mode": check}
        done = subprocess.run(
            [sys.executable, "-c", RUNNER, str(ROOT), json.dumps(arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GF_SECURITY_ADMIN_PASSWORD": "planted"},
            timeout=60,
        )
        for password in (OLD, NEW):
            assert password not in done.stdout + done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        assert bool(done.returncode) == bool(told.get("failed")), told
        return told


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    """One that serves with the old password."""
    one = Installed(tmp_path, free_port())
    with one.running():
        assert one.status(OLD) == 200
        yield one


def good(told: dict[str, Any]) -> dict[str, Any]:
    """Return what a run said that did not fail."""
    assert not told.get("failed"), told
    return told


def test_the_right_password_changes_nothing(installed: Installed) -> None:
    told = good(installed.run())
    assert not told["changed"]
    assert told["actions"] == told["notes"] == []
    assert told["password_file"] == str(installed.password)


def test_another_password_in_the_file_is_set(installed: Installed) -> None:
    """Check mode says so first and does nothing; the next run has nothing to do."""
    installed.write(NEW)
    assert good(installed.run(check=True))["actions"] == ["password of admin reset"]
    assert installed.status(OLD) == 200
    assert good(installed.run())["changed"]
    assert installed.status(NEW) == 200
    assert installed.status(OLD) == 401
    assert not good(installed.run())["changed"]


def test_in_a_playbook(installed: Installed) -> None:
    """The closing notes say where the password lies that the host made; nothing at all shows it."""
    installed.write(NEW)
    task = installed.task(kept_in="/var/lib/somewhere/admin_password")
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"grafana_admin_password": task}]}
    folder = installed.folder / "run"
    real = ("grafana_admin_password",)
    run = run_site(folder, inventory({"m1": {}}), "-vvvv", "--diff", playbook=yaml.safe_dump([play]), real=real)
    [note] = run.of("grafana_admin_password", "m1")["notes"]
    assert note.startswith(
        "Grafana's login is admin; its password was made on the host and lies in /var/lib/somewhere/"
    )
    assert "grafana_admin_password" in note
    assert note in run.output
    assert OLD not in run.output
    assert NEW not in run.output


def test_a_locked_account_is_said_and_left_alone(installed: Installed) -> None:
    """A reset would help nobody, and would report a change that is none."""
    for _ in range(5):
        assert installed.status("wrong") == 401
    assert installed.status(OLD) == 401
    installed.program.unlink()
    told = installed.run()
    assert "locked the account admin after five wrong passwords" in told["msg"]
    assert "within five minutes" in told["msg"]


def test_an_administrator_of_another_name(installed: Installed) -> None:
    """The first account gets the password, but the login is not its own."""
    told = installed.run(username="root")
    assert "refuses the login of root" in told["msg"]
    assert "set grafana_admin_user" in told["msg"]


def test_a_program_that_fails_is_quoted_without_the_password(installed: Installed) -> None:
    installed.write(NEW)
    installed.program.write_text('#!/bin/sh\nread password\necho "no $password today" >&2\nexit 3\n', encoding="utf-8")
    assert "reset-admin-password failed: no ******** today" in installed.run()["msg"]
    installed.program.unlink()
    assert "cannot be started" in installed.run()["msg"]
    assert installed.status(OLD) == 200


def test_a_program_that_hangs_is_ended(installed: Installed) -> None:
    installed.write(NEW)
    installed.program.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    assert "did not end within 1 s" in installed.run(timeout=1)["msg"]


def test_the_program_gets_the_password_on_its_standard_input_alone(installed: Installed) -> None:
    """Neither its command line nor its environment tells it, and nothing there overrides the configuration."""
    installed.write(NEW)
    installed.program.write_text(
        '#!/bin/sh\n{ cat; for word in "$@"; do echo "$word"; done; pwd; id -un; env; } >"${0%/*}/../told"\n',
        encoding="utf-8",
    )
    assert installed.run()["failed"]
    password, *told = (installed.home / "told").read_text(encoding="utf-8").splitlines()
    home, config = str(installed.home), str(installed.config)
    words = ["cli", "--homepath", home, "--config", config, "admin", "reset-admin-password", "--password-from-stdin"]
    assert password == NEW
    assert told[: len(words) + 2] == [*words, home, ACCOUNT]
    assert not [line for line in told if NEW in line or line.startswith("GF_")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can work as somebody else")
def test_the_program_works_as_the_account(installed: Installed) -> None:
    """Files that it makes in Grafana's data directory must be Grafana's."""
    installed.write(NEW)
    # Where the account may write, and a release that it may run.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        home = Path(folder)
        home.chmod(0o777)
        (home / "bin").mkdir(mode=0o755)
        program = home / "bin" / "grafana"
        program.write_text("#!/bin/sh\ncat >/dev/null\nid >told\numask >>told\n", encoding="utf-8")
        program.chmod(0o755)
        assert "still refuses" in installed.run(account="nobody", homepath=folder)["msg"]
        who, mask = (home / "told").read_text(encoding="utf-8").splitlines()
    assert "(nobody)" in who.split()[0]
    assert "root" not in who
    assert mask == "0027"


def test_an_account_that_is_not_there(installed: Installed) -> None:
    installed.write(NEW)
    assert "there is no account nobody-here" in installed.run(account="nobody-here")["msg"]


def test_nothing_runs_yet(tmp_path: Path) -> None:
    """Check mode on a bare host has nothing to say; a real run fails."""
    bare = Installed(tmp_path, free_port())
    bare.password.unlink()
    assert not good(bare.run(check=True))["changed"]
    assert f"password_file {bare.password} cannot be read" in bare.run()["msg"]


def test_an_empty_file_is_no_password(installed: Installed) -> None:
    installed.write("")
    assert f"password_file {installed.password} is empty" in installed.run()["msg"]


def test_other_answers_than_yes_and_no(tmp_path: Path) -> None:
    """What may be repeated is repeated; nothing but a refused login resets a password."""
    one = Installed(tmp_path, free_port())
    one.program.unlink()
    with GrafanaEmulator(admin_password=OLD) as emulator:
        emulator.fail_next(1, 503)
        assert not good(one.run(url=emulator.url))["changed"]
        emulator.fail_next(2, 403)
        assert "HTTP 403" in one.run(url=emulator.url)["msg"]
