"""What the role nginx_exporter declares, and the status page it sets up, against a real nginx.

Needs nginx (Debian's package nginx) and a release archive of the exporter in the mirror; without them these tests are
skipped by name.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.watchkeeper.alerts import load_catalogue

from tests.unit.live import Program, answers, declared, free_port, get, lacking, metrics_read, sample, wait_until
from tests.unit.runs import ROOT, Run, inventory, run_site

LACKING = lacking("nginx_exporter", "nginx")
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)

# Runs the module as a process of its own, with this project's code under the name that Ansible gives it.
MODULE = f"""
import json, runpy, sys
import ansible.module_utils
from ansible.module_utils.testing import patch_module_args
ansible.module_utils.__path__.append({str(ROOT / "plugins" / "module_utils")!r})
with patch_module_args(json.loads(sys.argv[1])):
    runpy.run_path({str(ROOT / "library" / "nginx_stub_status.py")!r}, run_name="__main__")
"""
CONFIGURATION = """
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{
    worker_connections 16;
}}
http {{
    access_log off;
    include {folder}/conf.d/*.conf;
    server {{
        # A connection that has said nothing yet would make room for the next.
        listen 127.0.0.1:{port} deferred;
        return 200 "the site";
    }}
}}
"""


class Nginx:
    """An nginx of the test's own, and the module that gives it its status page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = free_port()
        self.page = free_port()
        self.file = folder / "conf.d" / "watchkeeper_stub_status.conf"
        self.file.parent.mkdir()
        self.options = ["-p", str(folder), "-c", str(folder / "nginx.conf")]
        (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, port=self.site))
        # Before its configuration is read, nginx writes to the log that it was built with.
        self.command = ["nginx", "-e", str(folder / "error.log"), *self.options]

    def running(self) -> Program:
        """Return it as a process; its workers are ready when it answers."""
        return Program([*self.command, "-g", "daemon off;"], self.folder / "log", answers(self.site))

    def converge(self, check: bool = False, **arguments: Any) -> dict[str, Any]:
        """Run the module and return its answer."""
        given = {"port": self.page, "path": str(self.file), "program": self.command, **arguments}
        given.update(_ansible_check_mode=check, _ansible_diff=True)
        done = subprocess.run(
            [sys.executable, "-c", MODULE, json.dumps(given)], capture_output=True, text=True, check=False, timeout=60
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        assert bool(answer.get("failed")) == (done.returncode != 0), done.stderr
        return answer

    def status(self) -> tuple[int, str]:
        """Return status and body of the status page; 0 when nobody answers there.

        A connection that a worker had not accepted when it ended is refused, reset or closed, as the moment has it.
        """
        try:
            return get(f"http://127.0.0.1:{self.page}/stub_status")
        except (OSError, HTTPException):
            return 0, ""

    def serves_the_site(self) -> bool:
        """Tell whether it goes on with its real work."""
        return get(f"http://127.0.0.1:{self.site}/") == (200, "the site")


@pytest.fixture
def nginx(tmp_path: Path) -> Nginx:
    """Return an nginx that does not run yet."""
    return Nginx(tmp_path)


@pytest.fixture
def running(nginx: Nginx) -> Iterator[Nginx]:
    """Return an nginx that runs."""
    with nginx.running():
        yield nginx


# The status page


def test_the_page_is_set_up_once(running: Nginx) -> None:
    first = running.converge()
    assert (first["changed"], first["running"]) == (True, True)
    assert first["diff"]["before"] == ""
    assert f"listen 127.0.0.1:{running.page};" in first["diff"]["after"]
    code, body = running.status()
    assert code == 200
    assert body.startswith("Active connections:")
    assert running.serves_the_site()
    assert not running.converge()["changed"]
    assert running.file.stat().st_mode & 0o777 == 0o644


def test_the_page_moves_to_another_port(running: Nginx) -> None:
    old = running.page
    running.converge()
    running.page = free_port()
    assert running.converge()["changed"]
    assert running.status()[0] == 200
    wait_until(lambda: not answers(old)(), "the end of the old page")


def test_the_page_is_taken_away(running: Nginx) -> None:
    running.converge()
    assert running.converge(state="absent", check=True)["changed"]
    assert running.status()[0] == 200
    assert running.converge(state="absent")["changed"]
    assert not running.file.exists()
    wait_until(lambda: running.status() == (0, ""), "the end of the page")
    assert running.serves_the_site()
    assert not running.converge(state="absent")["changed"]


def test_a_file_of_somebody_else_stays(running: Nginx) -> None:
    running.file.write_text("# my own\n")
    assert not running.converge(state="absent")["changed"]
    assert running.file.read_text() == "# my own\n"


def test_a_refused_configuration_leaves_everything_as_it_was(running: Nginx) -> None:
    running.converge()
    before, port = running.file.read_text(), running.page
    (running.file.parent / "broken.conf").write_text("nonsense on;\n")
    running.page = free_port()
    answer = running.converge()
    assert 'unknown directive "nonsense"' in answer["msg"]
    assert running.file.read_text() == before
    running.page = port
    assert running.status()[0] == 200
    assert running.serves_the_site()


def test_a_refused_first_page_leaves_no_file(running: Nginx) -> None:
    (running.file.parent / "broken.conf").write_text("nonsense on;\n")
    assert 'unknown directive "nonsense"' in running.converge()["msg"]
    assert not running.file.exists()
    assert running.serves_the_site()


def test_a_taken_port_is_told_before_anything_is_written(running: Nginx) -> None:
    with closing(socket.create_server(("127.0.0.1", running.page))):
        message = running.converge()["msg"]
    assert f"port {running.page} is taken by " in message
    assert "nginx_exporter_stub_status_port" in message
    assert not running.file.exists()


def test_a_page_that_does_not_come_is_taken_back(running: Nginx) -> None:
    """A rule for the whole of nginx, which its test has nothing against, shuts the page."""
    (running.file.parent / "rule.conf").write_text("auth_basic closed;\nauth_basic_user_file /dev/null;\n")
    assert "did not serve" in running.converge()["msg"]
    assert not running.file.exists()
    wait_until(lambda: running.status() == (0, ""), "the end of the page")


def test_a_run_that_was_killed_is_finished_by_the_next(running: Nginx) -> None:
    content = running.converge(check=True)["diff"]["after"]
    running.file.write_text(content)
    answer = running.converge()
    assert (answer["changed"], answer["running"]) == (True, True)
    assert running.status()[0] == 200


def test_an_nginx_that_is_stopped_stays_stopped(nginx: Nginx) -> None:
    answer = nginx.converge()
    assert (answer["changed"], answer["running"]) == (True, False)
    assert not nginx.converge()["changed"]
    assert not answers(nginx.site)()
    with nginx.running():
        assert nginx.status()[0] == 200


def test_a_folder_that_nginx_does_not_include(running: Nginx) -> None:
    other = running.folder / "other" / running.file.name
    other.parent.mkdir()
    assert f"does not include {other.parent}/*.conf" in running.converge(path=str(other))["msg"]
    assert not other.exists()


def test_a_bare_host(nginx: Nginx) -> None:
    bare: dict[str, Any] = {"program": ["no-such-nginx"], "path": str(nginx.folder / "none" / "page.conf")}
    told = nginx.converge(check=True, **bare)
    assert told["changed"]
    assert "stub_status;" in told["diff"]["after"]
    message = nginx.converge(**bare)["msg"]
    assert "nginx is not installed" in message
    assert "nginx_exporter_stub_status" in message
    assert not nginx.converge(state="absent", **bare)["changed"]


def test_check_mode_changes_nothing(running: Nginx) -> None:
    assert running.converge(check=True)["changed"]
    assert not running.file.exists()
    assert running.status() == (0, "")


# The exporter


@dataclass(frozen=True)
class Rollout:
    """A running nginx with its status page, a URL at which nobody is, and what hosts that measure it are sent."""

    nginx: Nginx
    nobody: str
    run: Run
    folder: Path

    @contextmanager
    def exporter(self, host: str) -> Iterator[Callable[[], str]]:
        """Run a host's exporter as it is declared; give what reads its metrics."""
        sent = self.run.component("nginx_exporter", host)
        port = sent.arguments["declaration"]["manifest"]["listen"][0]["port"]

        def metrics() -> str:
            status, page = get(f"http://127.0.0.1:{port}/metrics")
            assert status == 200
            return page

        with declared(sent, self.folder / host, port):
            yield metrics


@pytest.fixture(scope="module")
def rollout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollout]:
    """Run nginx, and site.yml for hosts that measure it in different ways."""
    folder = tmp_path_factory.mktemp("nginx")
    nginx = Nginx(folder)
    status = folder / "status.sock"
    own = f"server {{ listen unix:{status}; location = /status {{ stub_status; }} }}\n"
    (nginx.file.parent / "own.conf").write_text(own)
    nginx.converge()
    here, nobody = (f"http://127.0.0.1:{port}/stub_status" for port in (nginx.page, free_port()))
    hosts: dict[str, dict[str, Any]] = {
        "plain": {"nginx_exporter_stub_status_port": nginx.page},
        "several": {"nginx_exporter_scrape_urls": [here, nobody]},
        "socket": {"nginx_exporter_scrape_urls": [f"unix:{status}:/status"]},
        "careless": {"nginx_exporter_tls_verify": False},
    }
    # The page of the machine's own nginx, if it has one, is nothing to this test.
    common = {"nginx_exporter_listen_address": "127.0.0.1", "nginx_exporter_stub_status": "unmanaged"}
    for variables in hosts.values():
        variables.update(common, nginx_exporter_port=free_port())
    run = run_site(folder / "site", inventory({"mon1": {}}, hosts, {"nginx": list(hosts)}))
    assert run.code == 0, run.output
    with nginx.running():
        yield Rollout(nginx, nobody, run, folder)


def test_the_page_is_measured_and_every_metric_of_an_alert_exposed(rollout: Rollout) -> None:
    with rollout.exporter("plain") as metrics:
        page = metrics()
    assert sample(page, "nginx_up") == [1]
    alerts = [alert for alert in load_catalogue(ROOT / "files" / "alerts") if alert.group == "nginx"]
    read = {metric for alert in alerts for metric in metrics_read(alert.expr, "nginx")}
    assert read
    assert {metric for metric in read if not sample(page, metric)} == set()


def test_a_page_that_is_not_there_is_down_and_carries_its_address(rollout: Rollout) -> None:
    """The scrape works, NginxDown can fire, and names the page."""
    with rollout.exporter("several") as metrics:
        page = metrics()
    assert f'nginx_up{{addr="{rollout.nobody}"}} 0' in page
    assert f'nginx_up{{addr="http://127.0.0.1:{rollout.nginx.page}/stub_status"}} 1' in page


def test_a_page_on_a_socket(rollout: Rollout) -> None:
    with rollout.exporter("socket") as metrics:
        assert sample(metrics(), "nginx_up") == [1]


def test_dropped_connections_are_seen(rollout: Rollout) -> None:
    """More requests at a time than the worker has connections for: accepted and handled part."""
    log = rollout.nginx.folder / "error.log"
    with rollout.exporter("plain") as metrics:
        with ExitStack() as clients:
            for _ in range(40):
                client = clients.enter_context(socket.create_connection(("127.0.0.1", rollout.nginx.site)))
                with suppress(ConnectionError):
                    client.sendall(b"GET / HTTP/1.1\r\n")
            wait_until(lambda: "not enough" in log.read_text(), "a full worker")
        wait_until(lambda: sample(metrics(), "nginx_up") == [1], "room for the exporter")
        page = metrics()
    assert sample(page, "nginx_connections_accepted") > sample(page, "nginx_connections_handled")


def test_certificates_are_verified_unless_the_user_says_otherwise(rollout: Rollout) -> None:
    """The program by itself trusts everybody."""
    assert "--nginx.ssl-verify" in rollout.run.component("nginx_exporter", "plain").command()
    assert "--no-nginx.ssl-verify" in rollout.run.component("nginx_exporter", "careless").command()
