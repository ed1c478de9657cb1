"""What the role cadvisor declares."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.watchkeeper.component_checks import check_cadvisor

from tests.unit.runs import Sent, inventory, run_site

GOOD = {"cadvisor_metrics": ["cpu"], "cadvisor_container_labels": ["com.docker.compose.service"]}


def declared(folder: Path, **variables: Any) -> Sent:
    """Return what a host of the group docker is sent."""
    hosts = inventory({"mon1": {}}, {"web1": variables}, {"docker": ["web1"]})
    run = run_site(folder, hosts, "--tags", "cadvisor")
    assert run.code == 0, run.output
    return run.component("cadvisor", "web1")


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """Return what a host without variables of its own is sent."""
    return declared(tmp_path_factory.mktemp("run"))


def settings(sent: Sent) -> dict[str, str]:
    """Return the settings of the unit."""
    return dict(re.findall(r"^(\w+)=(.*)$", sent.arguments["declaration"]["unit"], re.MULTILINE))


def test_the_series_of_a_container_are_bounded(standard: Sent) -> None:
    """Only chosen kinds of metrics, and only chosen labels; nothing but containers."""
    command = standard.command()
    assert "--docker_only=true" in command
    assert "--disable_root_cgroup_stats=true" in command
    assert "--store_container_labels=false" in command
    [kinds] = [word.partition("=")[2].split(",") for word in command if word.startswith("--enable_metrics=")]
    assert set(kinds) == {"cpu", "diskIO", "memory", "network"}
    labels = "com.docker.compose.project,com.docker.compose.service"
    assert f"--whitelisted_container_labels={labels}" in command


def test_what_a_user_says_reaches_the_program(tmp_path: Path) -> None:
    sent = declared(
        tmp_path,
        cadvisor_listen_address="127.0.0.1",
        cadvisor_port=8099,
        cadvisor_metrics=["cpu", "pressure"],
        cadvisor_container_labels=["team"],
        cadvisor_housekeeping_interval="30s",
        cadvisor_arguments=["--max_procs=1"],
        cadvisor_unit_settings={"MemoryMax": "200M", "SupplementaryGroups": "dockers"},
    )
    words = ["--listen_ip=127.0.0.1", "--port=8099", "--enable_metrics=cpu,pressure", "--housekeeping_interval=30s"]
    assert {*words, "--whitelisted_container_labels=team", "--max_procs=1"} <= set(sent.command())
    assert settings(sent)["MemoryMax"] == "200M"
    assert settings(sent)["SupplementaryGroups"] == "dockers"


def test_it_starts_only_where_an_engine_answers(standard: Sent, tmp_path: Path) -> None:
    """What the unit runs first, with and without a socket that answers."""
    before = shlex.split(settings(standard)["ExecStartPre"])
    path = tmp_path / "docker.sock"
    before[-1] = before[-1].replace("/run/docker.sock", str(path))

    def start() -> subprocess.CompletedProcess[str]:
        return subprocess.run(before, capture_output=True, text=True, check=False, timeout=30)

    assert f"no Docker engine answers at {path}: No such file" in start().stderr
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(path))
        assert "Connection refused" in start().stderr
        engine.listen()
        assert start().returncode == 0


def test_the_account_may_use_the_engine_and_little_else(standard: Sent) -> None:
    unit = settings(standard)
    assert unit["User"] == "cadvisor"
    assert unit["SupplementaryGroups"] == "docker root"
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == "CAP_DAC_READ_SEARCH"
    for name in ("PrivateDevices", "ProtectKernelLogs", "ProtectControlGroups", "NoNewPrivileges"):
        assert unit[name] == "true"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"cadvisor_metrics": []}, "cadvisor_metrics is [], but must be at least one kind of metrics"),
        ({"cadvisor_container_labels": ["a,b"]}, "cadvisor_container_labels is 'a,b'"),
        ({"cadvisor_container_labels": [""]}, "cadvisor_container_labels is ''"),
    ],
)
def test_wrong_values_are_named(variables: dict[str, Any], words: str) -> None:
    [problem] = check_cadvisor({**GOOD, **variables}, {})
    assert words in problem


def test_good_values_pass() -> None:
    assert check_cadvisor(GOOD, {}) == []
    assert check_cadvisor({**GOOD, "cadvisor_container_labels": []}, {}) == []


def test_an_unknown_kind_of_metrics_stops_the_run(tmp_path: Path) -> None:
    hosts = inventory({"mon1": {}}, {"web1": {"cadvisor_metrics": ["cpus"]}}, {"docker": ["web1"]})
    run = run_site(tmp_path, hosts)
    assert run.stopped_before_any_change()
    assert "cadvisor_metrics is ['cpus'], but must be one of " in run.errors["web1"]
