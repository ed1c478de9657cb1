"""UptimeRobot's modules as processes of their own, and the emulator that they talk to.

A test module imports the fixtures: ``from tests.unit.uptimerobot_fixture import Runner, run, start, uptimerobot``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.emulators.uptimerobot import UptimeRobotEmulator
from tests.unit.runs import ROOT

API_KEY = "u1-main-key"
READ_ONLY_KEY = "ur1-read-key"
# What a task says besides its options.
SPECIAL = {"check_mode": "check", "diff": "diff", "no_log": "no_log"}
# Runs each module as a process of its own, with this project's code under the name that Ansible gives it. What all of
# them import is imported once, before they part.
RUN = f"""
import atexit, json, os, runpy, sys, traceback
import ansible.module_utils.basic, ansible.module_utils.urls
from ansible.module_utils.testing import patch_module_args
ansible.module_utils.__path__.append({str(ROOT / "plugins" / "module_utils")!r})
for line in sys.stdin:
    module, given, environment, place = json.loads(line)
    child = os.fork()
    if not child:
        os.environ.update(environment)
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
        os.dup2(1, 2)
        try:
            with patch_module_args(given):
                runpy.run_path({str(ROOT / "library")!r} + "/" + module + ".py", run_name="__main__")
        except SystemExit:
            pass
        except BaseException:
            traceback.print_exc()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    print(flush=True)
"""

Start = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Runs a module with the parameters given, and an environment, and returns its answer."""
    place = tmp_path_factory.mktemp("modules") / "answer"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("UPTIMEROBOT_")}
    with subprocess.Popen(
        [sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean
    ) as done:
        assert done.stdin
        assert done.stdout
        sender, receiver = done.stdin, done.stdout

        def run(module: str, given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
            sender.write(json.dumps([module, given, environment or {}, str(place)]) + "\n")
            sender.flush()
            receiver.readline()
            text = place.read_text(encoding="utf-8")
            assert text.lstrip().startswith("{"), text
            answer: dict[str, Any] = json.loads(text)
            return answer

        yield run


class Runner:
    """The modules, with the key of an account and the emulator's URL; change `emulator` to talk to another one."""

    def __init__(self, emulator: UptimeRobotEmulator, start: Start) -> None:
        self.emulator = emulator
        self.start = start
        # Everything that modules have said, to look for what must not be in it.
        self.output = ""

    def __call__(self, module: str, *, environment: Mapping[str, str] | None = None, **given: Any) -> dict[str, Any]:
        """Run a module and return its answer; `check`, `diff` (on) and `no_log` are those of a task."""
        given = {"diff": True, **given}
        special = {f"_ansible_{name}": given.pop(option, False) for name, option in SPECIAL.items()}
        login = {"url": self.emulator.url, "api_key": API_KEY}
        kept = {key: value for key, value in {**login, **given}.items() if value is not None}
        answer = self.start(module, {**kept, **special}, environment)
        self.output += json.dumps(answer)
        return answer

    def counted(self, module: str, **given: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Run a module; return its answer and the requests that it has sent."""
        before = len(self.emulator.requests)
        answer = self(module, **given)
        return answer, list(self.emulator.requests[before:])


@contextmanager
def valid(emulator: UptimeRobotEmulator) -> Iterator[UptimeRobotEmulator]:
    """Run an emulator; at the end, insist that each request was one that UptimeRobot describes."""
    with emulator:
        yield emulator
        assert emulator.invalid == []


@pytest.fixture
def uptimerobot() -> Iterator[UptimeRobotEmulator]:
    """An account without anything in it, on a paid plan, without a limit of requests and without quirks."""
    with valid(UptimeRobotEmulator()) as emulator:
        yield emulator


@pytest.fixture
def run(uptimerobot: UptimeRobotEmulator, start: Start) -> Runner:
    """The modules, logged in."""
    return Runner(uptimerobot, start)


def good(answer: dict[str, Any], changed: bool) -> dict[str, Any]:
    """Insist on success and on whether something was changed."""
    assert not answer.get("failed"), answer.get("msg")
    assert answer["changed"] is changed, answer
    assert bool(answer["actions"]) is changed, answer
    return answer


def refused(answer: dict[str, Any]) -> str:
    """Insist on a failure in words, and return them."""
    assert answer.get("failed"), answer
    message = str(answer["msg"])
    assert "Traceback" not in message
    return message


def writes(requests: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the requests that change something."""
    return [one for one in requests if one[0] != "GET"]


@dataclass(frozen=True)
class Played:
    """What a run of ansible-playbook did and said."""

    code: int
    output: str


def play(
    folder: Path, emulator: UptimeRobotEmulator, tasks: list[dict[str, Any]], *arguments: str, **environment: str
) -> Played:
    """Run tasks in a real ansible-playbook on this host; key and URL come from the environment."""
    folder.mkdir(parents=True, exist_ok=True)
    book = folder / "play.yml"
    playbook = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]
    book.write_text(yaml.safe_dump(playbook, sort_keys=False), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CI", "UPTIMEROBOT"))}
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            str(book),
            "--inventory=localhost,",
            f"--extra-vars=ansible_python_interpreter={sys.executable}",
            *arguments,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={
            **kept,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOME": str(folder / "home"),
            "ANSIBLE_REMOTE_TMP": str(folder / "remote"),
            "NO_COLOR": "1",
            "UPTIMEROBOT_API_KEY": API_KEY,
            "UPTIMEROBOT_API_URL": emulator.url,
            **environment,
        },
    )
    return Played(done.returncode, done.stdout + done.stderr)
