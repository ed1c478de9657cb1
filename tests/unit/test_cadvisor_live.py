"""What the role cadvisor declares, as a real cAdvisor beside a real Docker engine with a container of the test's own.

Needs root, cAdvisor in the mirror, a Docker engine that answers, and the tests' own image of a host; without them these
tests are skipped by name.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible.module_utils.watchkeeper.alerts import load_catalogue

from tests.unit.live import ARCH, MIRROR, Program, answers, free_port, get, metrics_read, wait_until
from tests.unit.runs import ROOT, inventory, run_site

IMAGES = ("watchkeeper-host:trixie", "watchkeeper-host:bookworm")
# It takes all the processor time that it gets and much of the memory, and never feels well.
BUSY = "held = bytearray(40 << 20)\nwhile True: pass"
LIMITS = ["--memory=64m", "--memory-swap=64m", "--cpus=0.2", "--network=none"]


def docker(*words: str) -> str:
    """Ask the machine's engine; nothing when there is none, or when it refuses."""
    if not shutil.which("docker"):
        return ""
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=60).stdout.strip()


def release() -> Path | None:
    """Return the newest cAdvisor in the mirror."""
    found = sorted(MIRROR.glob(f"cadvisor/*/cadvisor-v*-linux-{ARCH}"))
    return found[-1] if found else None


IMAGE = next((name for name in IMAGES if docker("images", "--quiet", name)), "")
MISSING = [] if os.geteuid() == 0 else ["root"]
MISSING += [] if release() else [f"a release of cadvisor in the mirror {MIRROR}"]
MISSING += [] if IMAGE else [f"a Docker engine that has the image {IMAGES[0]}"]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")


@dataclass(frozen=True)
class Running:
    """A cAdvisor that runs, and the container that it has to see."""

    name: str
    port: int

    def page(self) -> str:
        """Return the metrics."""
        return get(f"http://127.0.0.1:{self.port}/metrics")[1]

    def value(self, metric: str) -> float | None:
        """Return a metric of the container."""
        found = re.search(rf'^{metric}\{{.*\bname="{self.name}".*\}} (\S+)', self.page(), re.MULTILINE)
        return float(found[1]) if found else None

    def at_least(self, metric: str, least: float) -> Callable[[], bool]:
        """Return a check whether a metric of the container has come so far."""
        return lambda: (self.value(metric) or 0) >= least


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Start a container, and the cAdvisor that the role declares for its host."""
    folder = tmp_path_factory.mktemp("cadvisor")
    port, name = free_port(), f"watchkeeper-test-{os.getpid()}"
    host = {
        "cadvisor_listen_address": "127.0.0.1",
        "cadvisor_port": port,
        "cadvisor_housekeeping_interval": "1s",
        "cadvisor_container_labels": ["team"],
    }
    hosts = inventory({"mon1": {}}, {"web1": host}, {"docker": ["web1"]})
    run = run_site(folder / "site", hosts, "--tags", "cadvisor")
    assert run.code == 0, run.output
    program, *options = run.component("cadvisor", "web1").command()
    assert program.endswith("/cadvisor")
    binary = folder / "cadvisor"
    shutil.copy(str(release()), binary)
    binary.chmod(0o755)
    options_of_container = [*LIMITS, "--label=team=shop", "--label=secret=geheim"]
    check = ["--health-cmd=false", "--health-interval=1s"]
    started = docker("run", "--detach", "--name", name, *options_of_container, *check, IMAGE, "python3", "-c", BUSY)
    assert started
    try:
        with Program([str(binary), *options], folder / "log", answers(port)) as cadvisor:
            made = Running(name, port)
            wait_until(made.at_least("container_last_seen", 1), "a look at the container", lambda: cadvisor.log)
            yield made
    finally:
        docker("rm", "--force", name)


def test_it_is_ready(running: Running) -> None:
    assert get(f"http://127.0.0.1:{running.port}/healthz")[0] == 200


def test_the_container_has_what_the_alerts_read(running: Running) -> None:
    """Each metric of each alert on a container."""
    alerts = [alert for alert in load_catalogue(ROOT / "files" / "alerts") if alert.group == "docker"]
    metrics = {metric for alert in alerts for metric in metrics_read(alert.expr, "container")}
    assert len(metrics) >= 7
    page = running.page()
    series = [line for line in page.splitlines() if f'name="{running.name}"' in line]
    assert metrics <= {line.partition("{")[0] for line in series}


def test_the_numbers_are_those_of_the_container(running: Running) -> None:
    wait_until(running.at_least("container_memory_working_set_bytes", 40 << 20), "the need of memory")
    assert running.value("container_spec_memory_limit_bytes") == 64 << 20
    wait_until(running.at_least("container_cpu_cfs_throttled_periods_total", 5), "too little processor time")
    assert (running.value("container_cpu_cfs_periods_total") or 0) >= 5


def test_a_health_check_that_fails_shows(running: Running) -> None:
    assert running.value("container_health_state") == 0


def test_labels_are_only_those_asked_for(running: Running) -> None:
    [seen] = [line for line in running.page().splitlines() if re.match(rf"container_last_seen.*{running.name}", line)]
    assert 'container_label_team="shop"' in seen
    assert "geheim" not in running.page()
    assert set(re.findall(r'(\w+)="', seen)) == {"container_label_team", "id", "image", "name"}


def test_nothing_but_containers_is_reported(running: Running) -> None:
    series = [line for line in running.page().splitlines() if line.startswith("container_last_seen{")]
    assert series
    assert all(re.search(r'name="[^"]+"', line) for line in series)


def test_a_restart_changes_the_start_time(running: Running) -> None:
    """And nothing else that names the container: the alert counts changes of one series."""
    before = running.value("container_start_time_seconds")
    assert before
    assert docker("restart", "--time", "0", running.name)
    wait_until(running.at_least("container_start_time_seconds", before + 1), "a new start time")
