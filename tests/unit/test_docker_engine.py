"""The metrics of the Docker engine: a real dockerd of the test's own, systemd's part is played by engine/systemctl.py.

It shares nothing with an engine that the machine runs already. Needs root and dockerd (Debian's package docker.io);
without them these tests are skipped by name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.watchkeeper.alerts import load_catalogue

from tests.unit.live import Program, free_port, get, wait_until
from tests.unit.runs import ROOT

MISSING = [f"the program {name}" for name in ("dockerd", "containerd") if not shutil.which(name)]
MISSING += [] if os.geteuid() == 0 else ["root"]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")

# Runs the module as a process of its own, with this project's code under the name that Ansible gives it.
MODULE = f"""
import json, runpy, sys
import ansible.module_utils
from ansible.module_utils.testing import patch_module_args
ansible.module_utils.__path__.append({str(ROOT / "plugins" / "module_utils")!r})
with patch_module_args(json.loads(sys.argv[1])):
    runpy.run_path({str(ROOT / "library" / "docker_metrics.py")!r}, run_name="__main__")
"""
OWN = {"storage-driver": "vfs", "log-level": "warn"}
CONTAINERD = """version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{address}"
"""
# Older engines cannot judge a configuration before they start; this one stands before whichever there is.
JUDGE = """#!/bin/sh
case "$*" in
*--validate*) echo "$*" >&2; exit 1 ;;
esac
exec dockerd "$@"
"""
PICKY = """#!/bin/sh
if grep -q metrics-addr {file}; then echo "no metrics with me"; exit 1; fi
exec {dockerd} "$@"
"""


class Engine:
    """An engine of the test's own, and the module that is to have it serve its metrics."""

    def __init__(self, folder: Path, containerd: Path) -> None:
        self.folder = folder
        self.containerd = containerd
        self.port = free_port()
        self.file = folder / "daemon.json"
        self.record = folder / "etc" / "record.json"
        for name in ("bin", "state/units"):
            (folder / name).mkdir(parents=True)
        stand_in = (ROOT / "tests" / "unit" / "engine" / "systemctl.py").read_text(encoding="utf-8")
        for name in ("systemctl", "journalctl"):
            self.script(name, f"#!{sys.executable}\n{stand_in}")
        self.dockerd = str(shutil.which("dockerd"))
        self.unit()
        self.write(OWN)

    def script(self, name: str, text: str) -> str:
        """Put a program before all others of its name."""
        path = self.folder / "bin" / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    def unit(self, *options: str, program: str = "") -> None:
        """Write the unit."""
        own = f"--config-file {self.file} --data-root {self.folder}/data --exec-root {self.folder}/exec --pidfile="
        own += f" --host unix://{self.folder}/docker.sock --containerd {self.containerd}"
        apart = "--bridge none --iptables=false --ip-forward=false"
        text = f"[Service]\nExecStart={program or self.dockerd} {own} {apart} {' '.join(options)}\n"
        (self.folder / "state" / "units" / "docker.service").write_text(text, encoding="utf-8")

    def write(self, data: dict[str, Any]) -> None:
        """Write the configuration as people do."""
        self.file.write_text(json.dumps(data, indent=4) + "\n", encoding="utf-8")

    def read(self) -> dict[str, Any]:
        """Return what the configuration says."""
        data: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        return data

    @property
    def environment(self) -> dict[str, str]:
        """Environment in which systemctl is the stand-in."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "WATCHKEEPER_TEST_SYSTEMD": str(self.folder / "state")}

    def systemctl(self, command: str) -> None:
        """Restart or stop the engine, as a person would."""
        subprocess.run(["systemctl", command, "docker.service"], env=self.environment, check=True, timeout=60)

    def start(self) -> None:
        """Start it."""
        self.systemctl("restart")
        wait_until(self.answers, "a start of dockerd", self.log)

    def log(self) -> str:
        """Return what it has said."""
        return (self.folder / "state" / "docker.service.log").read_text(encoding="utf-8")

    def answers(self) -> bool:
        """Tell whether it runs."""
        with closing(socket.socket(socket.AF_UNIX)) as trial:
            return trial.connect_ex(str(self.folder / "docker.sock")) == 0

    def serves(self) -> bool:
        """Tell whether it serves its metrics."""
        try:
            return "engine_daemon_engine_info{" in get(f"http://127.0.0.1:{self.port}/metrics")[1]
        except OSError:
            return False

    def converge(self, check: bool = False, **arguments: Any) -> dict[str, Any]:
        """Run the module and return its answer."""
        given = {
            "address": "127.0.0.1",
            "port": self.port,
            "timeout": 30,
            "path": str(self.file),
            "record": str(self.record),
            "socket": str(self.folder / "docker.sock"),
            **arguments,
            "_ansible_check_mode": check,
            "_ansible_diff": True,
        }
        command = [sys.executable, "-c", MODULE, json.dumps(given)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=120)
        answer: dict[str, Any] = json.loads(done.stdout)
        assert bool(answer.get("failed")) == (done.returncode != 0), done.stderr
        return answer

    def refuses(self, **arguments: Any) -> str:
        """Run the module, which has to fail with everything as it was, and return its message."""
        before = self.file.read_bytes()
        answer = self.converge(**arguments)
        assert answer["failed"]
        assert not answer["changed"]
        assert self.file.read_bytes() == before
        assert not self.record.exists()
        return str(answer["msg"])


@pytest.fixture(scope="module")
def containerd() -> Iterator[Path]:
    """Run what every engine needs; with its own, an engine would take its time to stop."""
    # The path of a socket may not be as long as pytest's own folders.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, address = folder / "config.toml", folder / "containerd.sock"
        config.write_text(CONTAINERD.format(folder=folder, address=address), encoding="utf-8")
        with Program(["containerd", "--config", str(config)], folder / "log", address.exists):
            yield address


@pytest.fixture
def engine(containerd: Path) -> Iterator[Engine]:
    """Return an engine that does not run yet."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = Engine(Path(folder), containerd)
        yield made
        made.systemctl("stop")


def test_the_metrics_come_with_an_allowed_restart(engine: Engine) -> None:
    engine.start()
    answer = engine.converge(restart_allowed=True)
    assert answer["changed"]
    assert answer["component"]["actions"] == [f"metrics-addr 127.0.0.1:{engine.port} in {engine.file}", "restart"]
    assert answer["component"]["version"]
    assert engine.serves()
    assert list(engine.read().items()) == [*OWN.items(), ("metrics-addr", f"127.0.0.1:{engine.port}")]
    again = engine.converge(restart_allowed=True)
    assert not again["changed"]
    assert again["component"] == {**answer["component"], "actions": []}


def test_a_fresh_engine_has_what_the_alerts_read(engine: Engine) -> None:
    engine.write({**OWN, "metrics-addr": f"127.0.0.1:{engine.port}"})
    engine.start()
    wait_until(engine.serves, "the metrics", engine.log)
    page = get(f"http://127.0.0.1:{engine.port}/metrics")[1]
    alerts = [alert for alert in load_catalogue(ROOT / "files" / "alerts") if alert.group == "docker"]
    series = {name: text for alert in alerts for name, text in re.findall(r"\b(engine_\w+)(\{.*?\})?", alert.expr)}
    assert len(series) == 2
    for name, selector in series.items():
        assert f"\n{name}{selector} " in page


def test_without_leave_the_engine_is_not_restarted(engine: Engine) -> None:
    engine.start()
    answer = engine.converge()
    assert answer["failed"]
    assert answer["changed"]
    for words in (
        str(engine.file),
        f"127.0.0.1:{engine.port}",
        "started the next time",
        "docker_engine_restart_allowed",
    ):
        assert words in answer["msg"]
    assert engine.read()["metrics-addr"] == f"127.0.0.1:{engine.port}"
    assert engine.answers()
    assert not engine.serves()
    again = engine.converge()
    assert (again["failed"], again["changed"]) == (True, False)
    engine.systemctl("restart")
    wait_until(engine.serves, "the metrics", engine.log)
    assert not engine.converge()["changed"]


def test_an_engine_that_listens_elsewhere_is_restarted(engine: Engine) -> None:
    """The page answers on loopback before and after."""
    engine.write({**OWN, "metrics-addr": f"127.0.0.1:{engine.port}"})
    engine.start()
    wait_until(engine.serves, "the metrics", engine.log)
    everywhere = "0.0.0.0"  # noqa: S104 - what users have
    answer = engine.converge(address=everywhere, restart_allowed=True)
    assert answer["component"]["actions"][-1] == "restart"
    assert engine.serves()
    assert not engine.converge(address=everywhere)["changed"]


def test_an_engine_that_refuses_gets_its_file_back(engine: Engine) -> None:
    picky = engine.script("picky", PICKY.format(file=engine.file, dockerd=engine.dockerd))
    engine.unit(program=picky)
    engine.start()
    before = engine.file.read_bytes()
    answer = engine.converge(restart_allowed=True)
    assert "no metrics with me" in answer["msg"]
    assert "the engine is back" in answer["msg"]
    assert engine.file.read_bytes() == before
    assert engine.answers()
    assert not engine.record.exists()


def test_an_engine_that_refuses_what_an_earlier_run_wrote(engine: Engine) -> None:
    engine.start()
    engine.converge()
    engine.unit(program=engine.script("picky", PICKY.format(file=engine.file, dockerd=engine.dockerd)))
    assert "the engine is back" in engine.converge(restart_allowed=True)["msg"]
    assert engine.read() == OWN
    assert engine.answers()


def test_everything_else_in_the_file_stays(engine: Engine) -> None:
    data = {"metrics-addr": "127.0.0.1:1", "dns": ["1.1.1.1"], **OWN, "labels": ["ort=Köln"]}
    engine.file.write_text(json.dumps(data, indent="\t", ensure_ascii=False), encoding="utf-8")
    engine.file.chmod(0o600)
    engine.converge()
    assert list(engine.read().items()) == [*{**data, "metrics-addr": f"127.0.0.1:{engine.port}"}.items()]
    assert '\n\t"labels": [' in engine.file.read_text(encoding="utf-8")
    assert "Köln" in engine.file.read_text(encoding="utf-8")
    assert engine.file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{}", None])
def test_a_file_that_says_nothing(engine: Engine, text: str | None) -> None:
    if text is None:
        engine.file.unlink()
    else:
        engine.file.write_text(text, encoding="utf-8")
    engine.converge()
    assert engine.read() == {"metrics-addr": f"127.0.0.1:{engine.port}"}
    assert engine.file.stat().st_mode & 0o777 == 0o644
    assert engine.converge(state="absent")["changed"]
    assert not engine.file.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"dns": [],\n}', "not valid JSON: Expecting property name enclosed in double quotes: line 2 column 1"),
        (b"[]", "holds no JSON object"),
        (b'{"dns": "\xff"}', "not text in UTF-8"),
    ],
)
def test_a_broken_file_is_left_to_its_owner(engine: Engine, content: bytes, words: str) -> None:
    engine.file.write_bytes(content)
    message = engine.refuses(restart_allowed=True)
    assert str(engine.file) in message
    assert words in message


def test_a_taken_port_is_told_before_anything_is_written(engine: Engine) -> None:
    with closing(socket.create_server(("127.0.0.1", engine.port))):
        message = engine.refuses(restart_allowed=True)
    assert f"port {engine.port} is taken by " in message
    assert "docker_engine_port" in message


def test_an_address_of_another_host_is_told_before_anything_is_written(engine: Engine) -> None:
    message = engine.refuses(address="198.51.100.1", restart_allowed=True)
    assert "docker_engine_listen_address is 198.51.100.1" in message


def test_the_engines_own_judgement_comes_first(engine: Engine) -> None:
    engine.unit("--debug")
    engine.start()
    message = engine.refuses(program=engine.script("judge", JUDGE), restart_allowed=True)
    assert f"would not start with metrics-addr in {engine.file}:\n" in message
    # It judges with the command line of the running engine.
    assert f"--debug --validate --config-file {engine.file}" in message
    assert engine.answers()


def test_an_address_on_the_command_line_stands_in_the_way(engine: Engine) -> None:
    other = free_port()
    engine.unit("--metrics-addr", f"127.0.0.1:{other}")
    engine.start()
    message = engine.refuses(restart_allowed=True)
    assert "would not start" in message
    assert f"127.0.0.1:{other}" in message
    # The same address there is as good as in the file.
    wait_until(lambda: get(f"http://127.0.0.1:{other}/metrics")[0] == 200, "the metrics", engine.log)
    answer = engine.converge(port=other)
    assert not answer["changed"]
    assert engine.read() == OWN


def test_the_key_is_taken_out_again(engine: Engine) -> None:
    engine.start()
    engine.converge(restart_allowed=True)
    answer = engine.converge(state="absent")
    assert answer["changed"]
    assert answer["component"]["state"] == "absent"
    assert "until it is restarted" in answer["notes"][0]
    assert engine.read() == OWN
    assert engine.serves()
    assert not engine.converge(state="absent")["changed"]


def test_the_metrics_end_with_an_allowed_restart(engine: Engine) -> None:
    engine.start()
    engine.converge(restart_allowed=True)
    assert engine.converge(state="absent", restart_allowed=True)["component"]["actions"][-1] == "restart"
    assert engine.answers()
    assert not engine.serves()


def test_what_stood_there_before_comes_back(engine: Engine) -> None:
    engine.write({**OWN, "metrics-addr": "127.0.0.1:1"})
    engine.converge()
    engine.port = free_port()
    engine.converge()
    assert engine.converge(state="absent")["changed"]
    assert engine.read() == {**OWN, "metrics-addr": "127.0.0.1:1"}


def test_what_somebody_else_wrote_stays(engine: Engine) -> None:
    engine.write({**OWN, "metrics-addr": f"127.0.0.1:{engine.port}"})
    engine.converge()
    assert not engine.converge(state="absent")["changed"]
    engine.write(OWN)
    engine.converge()
    engine.write({**OWN, "metrics-addr": "127.0.0.1:1"})
    engine.converge(state="absent")
    assert engine.read()["metrics-addr"] == "127.0.0.1:1"
    assert not engine.converge(state="absent")["changed"]


def test_a_run_that_was_killed_before_it_wrote_the_file(engine: Engine) -> None:
    engine.record.parent.mkdir()
    record = {"path": str(engine.file), "wrote": f"127.0.0.1:{engine.port}", "before": None}
    engine.record.write_text(json.dumps(record), encoding="utf-8")
    engine.converge(state="absent")
    assert engine.read() == OWN
    assert not engine.record.exists()


def test_check_mode_changes_nothing_and_shows_one_key(engine: Engine) -> None:
    engine.write({**OWN, "log-driver": "splunk", "log-opts": {"splunk-token": "geheim"}})
    engine.start()
    before = engine.file.read_bytes()
    answer = engine.converge(check=True)
    assert answer["changed"]
    assert answer["diff"]["before"] == ""
    assert answer["diff"]["after"] == f'"metrics-addr": "127.0.0.1:{engine.port}"\n'
    assert "docker_engine_restart_allowed" in answer["notes"][0]
    assert "geheim" not in json.dumps(answer)
    assert engine.converge(check=True, restart_allowed=True)["component"]["actions"][-1] == "restart"
    assert engine.file.read_bytes() == before
    assert not engine.record.exists()
    assert not engine.serves()


def test_a_host_without_docker(engine: Engine) -> None:
    engine.file.unlink()
    without: dict[str, Any] = {"program": "no-such-dockerd", "restart_allowed": True}
    answer = engine.converge(check=True, **without)
    assert answer["changed"]
    assert answer["diff"]["after"]
    assert "no Docker engine yet" in answer["notes"][0]
    answer = engine.converge(**without)
    assert "has no Docker engine" in answer["msg"]
    assert not answer["changed"]
    assert not engine.file.exists()
    assert not engine.converge(state="absent", **without)["changed"]
