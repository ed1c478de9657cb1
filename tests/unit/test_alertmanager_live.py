"""The rendered configuration in a real Alertmanager: who is told what, and what is silenced.

Needs Alertmanager's release archive in the mirror (`make` builds one from Debian's packages, WATCHKEEPER_MIRROR points
to another folder); without it these tests are skipped by name.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper.receivers import Rendered, render

from tests.emulators.base import Record
from tests.emulators.pagerduty import PagerDutySink
from tests.emulators.slack import SlackSink
from tests.emulators.smtp import SmtpSink, make_certificate
from tests.emulators.webhook import WebhookSink

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "alertmanager"
DEFAULTS: dict[str, Any] = {
    **yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()),
    # A template, which is empty as long as the role `uptime` has nothing to do.
    "alertmanager_watchdog_url_file": "",
}
MIRROR = Path(os.environ.get("WATCHKEEPER_MIRROR", ROOT / ".cache" / "mirror"))
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
ARCHIVES = sorted(
    MIRROR.glob(f"alertmanager/*/alertmanager-*.linux-{ARCH}.tar.gz"),
    key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.name)],
)
# Debian's builds read their own templates from /usr/share, upstream's carry them inside.
TEMPLATES = MIRROR / "extra" / "alertmanager-templates.tar.gz"
WITH_TEMPLATES = 'mount -t overlay overlay -o "lowerdir=$0:/usr/share" /usr/share && exec "$@"'

pytestmark = pytest.mark.skipif(not ARCHIVES, reason=f"no Alertmanager release archive in the mirror {MIRROR}")

USER, PASSWORD = "apikey", "planted-mail-password"
KEY = "0123456789abcdef0123456789abcdef"
RUNBOOK = "https://runbooks.example.org/"


@dataclass(frozen=True)
class Release:
    """An unpacked release and how to start its programs."""

    folder: Path
    prefix: list[str]

    def run(self, check: list[str], config: Path) -> subprocess.CompletedProcess[str]:
        """Runs a check the way the engine does."""
        words = [word.replace("{release}", str(self.folder)).replace("{config}", str(config)) for word in check]
        return subprocess.run([*self.prefix, *words], capture_output=True, text=True, timeout=30, check=False)


def unpack(archive: Path, folder: Path) -> Release:
    """Unpacks a release; Debian's gets its templates in a mount namespace of its own, the machine stays as it is."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "--extract", "--file", archive, "--directory", folder], check=True)
    (release,) = folder.iterdir()
    if b"/usr/share/prometheus/alertmanager" not in (release / "alertmanager").read_bytes():
        return Release(release, [])
    if not TEMPLATES.exists():
        pytest.skip(f"Debian's Alertmanager needs its templates, and {TEMPLATES} is missing")
    templates = folder / "share" / "prometheus" / "alertmanager"
    templates.mkdir(parents=True)
    subprocess.run(["tar", "--extract", "--file", TEMPLATES, "--directory", templates], check=True)
    prefix = ["unshare", "--mount", "sh", "-c", WITH_TEMPLATES, str(folder / "share")]
    probe = subprocess.run([*prefix, "true"], capture_output=True, text=True, timeout=30, check=False)
    if probe.returncode != 0:
        pytest.skip(f"Debian's Alertmanager needs its templates, and they cannot be mounted: {probe.stderr.strip()}")
    return Release(release, prefix)


def install(rendered: Rendered, config: Path) -> None:
    """Puts the configuration where the engine would."""
    text = yaml.safe_dump(rendered.config, sort_keys=False)
    contents = {"alertmanager.yml": text.replace("{config}/", f"{config}/"), **rendered.secrets}
    contents["templates/watchkeeper.tmpl"] = (ROLE / "files" / "watchkeeper.tmpl").read_text()
    for path, content in contents.items():
        (config / path).parent.mkdir(parents=True, exist_ok=True)
        (config / path).write_text(content)


class Alertmanager:
    """A running Alertmanager."""

    def __init__(self, release: Release, config: Path, data: Path, trusted: Path, arguments: tuple[str, ...]) -> None:
        self._log = data.with_suffix(".log")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    *release.prefix,
                    str(release.folder / "alertmanager"),
                    f"--config.file={config / 'alertmanager.yml'}",
                    f"--storage.path={data}",
                    "--web.listen-address=127.0.0.1:0",
                    "--web.external-url=http://alerts.example.org",
                    "--cluster.listen-address=",
                    "--enable-feature=utf8-strict-mode",
                    *arguments,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SSL_CERT_FILE": str(trusted)},
            )
        self._url = ""

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text()

    def __enter__(self) -> Alertmanager:
        end = time.monotonic() + 30
        while not self._url:
            if self._process.poll() is not None or time.monotonic() > end:
                self._end()
                raise AssertionError(f"Alertmanager did not start:\n{self.log}")
            found = re.search(r"Listening on.*address=127\.0\.0\.1:(\d+)", self.log)
            if found:
                self._url = f"http://127.0.0.1:{found[1]}"
            else:
                time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def call(self, path: str, body: Any = None) -> Any:
        """Asks the API; `body` is posted."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def post(self, *alerts: dict[str, Any]) -> None:
        """Sends alerts, as Prometheus does."""
        self.call("/api/v2/alerts", list(alerts))

    def silenced(self, host: str) -> set[tuple[str, str]]:
        """Name and mount point of the alerts of a host that another one silences."""
        query = f"/api/v2/alerts?filter=host%3D%22{host}%22"
        return {
            (alert["labels"]["alertname"], alert["labels"].get("mountpoint", ""))
            for alert in self.call(query)
            if alert["status"]["inhibitedBy"]
        }


def alert(name: str, severity: str = "", description: str = "", **labels: str) -> dict[str, Any]:
    """An alert as our rules make it, firing for the next minutes."""
    now = datetime.now(UTC)
    all_labels = {"alertname": name, "cluster": "test", **labels}
    if severity:
        all_labels["severity"] = severity
    if "host" in labels:
        all_labels.setdefault("instance", labels["host"])
    return {
        "labels": all_labels,
        "annotations": {
            "summary": f"{name} is true.",
            "description": description or f"{name} on {labels.get('host', 'nothing')} is true.",
            "runbook_url": RUNBOOK + name,
        },
        # Now, as from Prometheus: an older alert would not wait for its group.
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(minutes=10)).isoformat(),
        "generatorURL": "http://prometheus.example.org/graph",
    }


def ended(firing: dict[str, Any]) -> dict[str, Any]:
    """The same alert, over."""
    return {**firing, "endsAt": datetime.now(UTC).isoformat()}


@dataclass(frozen=True)
class Stack:
    """A running Alertmanager and everything that it talks to."""

    release: Release
    config: Path
    alertmanager: Alertmanager
    mail: SmtpSink
    slack: SlackSink
    pagerduty: PagerDutySink
    switch: WebhookSink

    def heard(self) -> str:
        """Everything that any person was told so far."""
        return json.dumps([sink.records for sink in (self.mail, self.slack, self.pagerduty)])


@contextmanager
def running(release: Release, folder: Path, *arguments: str, **changes: Any) -> Iterator[Stack]:
    """A stack whose groups are quick; the sinks speak TLS and ask for secrets as the real ones do."""
    certificate = make_certificate(folder)
    with ExitStack() as stack:
        mail = stack.enter_context(SmtpSink(user=USER, password=PASSWORD, certificate=certificate))
        slack = stack.enter_context(SlackSink(channels=["#alerts-critical", "#alerts-warning"]))
        pagerduty = stack.enter_context(PagerDutySink())
        switch = stack.enter_context(WebhookSink())
        settings = {
            **copy.deepcopy(DEFAULTS),
            "alertmanager_smtp_smarthost": f"localhost:{mail.address[1]}",
            "alertmanager_smtp_from": "Alerts <alerts@example.org>",
            "alertmanager_smtp_auth_username": USER,
            "alertmanager_smtp_auth_password": PASSWORD,
            "alertmanager_slack_api_url": slack.url,
            "alertmanager_pagerduty_routing_key": KEY,
            "alertmanager_pagerduty_url": pagerduty.url,
            "alertmanager_watchdog_url": switch.url,
            "alertmanager_receivers": [
                {"name": "default", "email": [{"to": "ops@example.org"}]},
                {
                    "name": "critical",
                    "email": [{"to": "ops@example.org, cto@example.org"}],
                    "slack": [{"channel": "#alerts-critical"}],
                    "pagerduty": [{}],
                },
                {"name": "warning", "email": [{"to": "ops@example.org"}], "slack": [{"channel": "#alerts-warning"}]},
                {"name": "database-team", "email": [{"to": "dba@example.org"}]},
            ],
            "alertmanager_group_wait": "1s",
            "alertmanager_group_interval": "2s",
            "alertmanager_routes": [{"name": "watchdog", "group_interval": "1s", "repeat_interval": "1s"}],
            **changes,
        }
        rendered = render(settings)
        assert rendered.warnings == []
        config = folder / "config"
        install(rendered, config)
        for check in rendered.checks:
            done = release.run(check, config)
            assert done.returncode == 0, (check, done.stdout, done.stderr)
        alertmanager = Alertmanager(release, config, folder / "data", certificate[0], arguments)
        stack.enter_context(alertmanager)
        yield Stack(release, config, alertmanager, mail, slack, pagerduty, switch)


@pytest.fixture(scope="module", name="release")
def newest_release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The newest release of the mirror."""
    return unpack(ARCHIVES[-1], tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module", name="stack")
def one_stack(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests of this file; each test has hosts and alert names of its own.

    In the end no message was refused, but for those that were told to come back, and no secret was logged.
    """
    with running(release, tmp_path_factory.mktemp("stack")) as stack:
        yield stack
        sinks = (stack.mail, stack.slack, stack.pagerduty, stack.switch)
        assert [record for sink in sinks for record in sink.refused if record.get("status") != 429] == []
        log = stack.alertmanager.log
        assert [line for line in log.splitlines() if "level=ERROR" in line and "rate_limited" not in line] == []
        assert not [secret for secret in (PASSWORD, KEY, stack.slack.url) if secret in log]


def attachment(record: Record) -> dict[str, Any]:
    """The one attachment of a Slack message."""
    (found,) = record["body"]["attachments"]
    result: dict[str, Any] = found
    return result


def title(record: Record) -> str:
    """The title of a Slack message."""
    return str(attachment(record)["title"])


def test_critical_reaches_mail_slack_and_pagerduty_and_so_does_its_end(stack: Stack) -> None:
    description = "CPU > 95 % & rising on <web-1>\nsince noon."
    labels = {"host": "web-1", "component": "system", "pair": "cpu_usage"}
    firing = alert("CriticalCPU", "critical", description, **labels)
    stack.alertmanager.post(firing)
    subject = "[FIRING:1] [CRITICAL] CriticalCPU - web-1"

    mail = stack.mail.wait(lambda record: record["subject"] == subject)
    assert mail["recipients"] == ["ops@example.org", "cto@example.org"]
    assert (mail["tls"], mail["authenticated"], mail["sender"]) == (True, True, "alerts@example.org")
    text = mail["bodies"]["text/plain"]
    assert "FIRING web-1: CPU > 95 % & rising on <web-1> since noon.\n  since 2" in text
    assert f"runbook: {RUNBOOK}CriticalCPU\n" in text
    assert "http://alerts.example.org" in text
    assert "CriticalCPU" in mail["bodies"]["text/html"]

    message = stack.slack.wait(lambda record: title(record) == subject)
    assert message["body"]["channel"] == "#alerts-critical"
    assert attachment(message)["color"] == "danger"
    assert attachment(message)["title_link"].startswith("http://alerts.example.org/#/alerts")
    assert attachment(message)["text"] == (
        ":rotating_light: *web-1*: CPU &gt; 95 % &amp; rising on &lt;web-1&gt; since noon. "
        f"(<{RUNBOOK}CriticalCPU|runbook>)"
    )

    event = stack.pagerduty.wait(lambda record: "CriticalCPU" in record["body"]["payload"]["summary"])["body"]
    assert (event["event_action"], event["routing_key"]) == ("trigger", KEY)
    assert event["payload"]["summary"] == "CriticalCPU - web-1: CriticalCPU is true."
    details = {key: event["payload"][key] for key in ("severity", "source", "class", "component", "group")}
    assert details == {
        "severity": "critical",
        "source": "web-1",
        "class": "CriticalCPU",
        "component": "system",
        "group": "test",
    }
    assert event["links"] == [{"href": f"{RUNBOOK}CriticalCPU", "text": "Runbook"}]

    stack.alertmanager.post(ended(firing))
    over = "[RESOLVED] [CRITICAL] CriticalCPU - web-1"
    assert "RESOLVED web-1" in stack.mail.wait(lambda record: record["subject"] == over)["bodies"]["text/plain"]
    assert attachment(stack.slack.wait(lambda record: title(record) == over))["color"] == "good"
    end = stack.pagerduty.wait(
        lambda record: record["body"]["event_action"] == "resolve" and record["body"]["dedup_key"] == event["dedup_key"]
    )
    assert end["answer"]


def test_critical_silences_the_warning_of_its_pair_and_nothing_else(stack: Stack) -> None:
    disk = {"pair": "disk_usage", "component": "system", "device": "/dev/sda"}
    stack.alertmanager.post(
        alert("CriticalDisk", "critical", host="web-2", mountpoint="/", **disk),
        alert("HighDisk", "warning", host="web-2", mountpoint="/", **disk),
        alert("HighDisk", "warning", host="web-2", mountpoint="/data", **disk),
        alert("HighDisk", "warning", host="web-3", mountpoint="/", **disk),
        alert("HighMemory", "warning", host="web-2", pair="memory_usage", component="system"),
        alert("ClockSkew", "warning", host="web-2", component="system"),
        alert("Pairless", "critical", host="web-2", component="system"),
    )
    message = stack.slack.wait(lambda record: "HighDisk" in title(record))
    assert message["body"]["channel"] == "#alerts-warning"
    assert title(message) == "[FIRING:2] [WARNING] HighDisk"
    assert attachment(message)["color"] == "warning"
    lines = attachment(message)["text"].splitlines()
    assert [re.findall(r"\*(.*?)\*", line) for line in lines] == [["web-2"], ["web-3"]]
    for name in ("HighMemory", "ClockSkew", "CriticalDisk", "Pairless"):
        stack.slack.wait(lambda record, name=name: name in title(record))  # type: ignore[misc]
    assert stack.alertmanager.silenced("web-2") == {("HighDisk", "/")}
    assert stack.alertmanager.silenced("web-3") == set()
    # The next notification of the group would bring it, were it only late.
    stack.alertmanager.post(alert("HighDisk", "warning", host="web-9", mountpoint="/", **disk))
    message = stack.slack.wait(lambda record: title(record).startswith("[FIRING:3] [WARNING] HighDisk"))
    assert "FIRING:4" not in stack.heard()


def test_routes_and_objectives_of_one_service_do_not_silence_each_other(stack: Stack) -> None:
    service = {"host": "web-8", "component": "application", "job": "backend", "service": "shop"}
    times, burn = {"pair": "response_time", **service}, {"pair": "error_budget_burn", **service}
    stack.alertmanager.post(
        alert("CriticalTime", "critical", route="/a", **times),
        alert("HighTimeSame", "warning", route="/a", **times),
        alert("HighTimeOther", "warning", route="/b", **times),
        alert("CriticalBurn", "critical", slo="availability", **burn),
        alert("HighBurnSame", "warning", slo="availability", **burn),
        alert("HighBurnOther", "warning", slo="latency", **burn),
    )
    for name in ("CriticalTime", "HighTimeOther", "CriticalBurn", "HighBurnOther"):
        stack.slack.wait(lambda record, name=name: name in title(record))  # type: ignore[misc]
    assert stack.alertmanager.silenced("web-8") == {("HighTimeSame", ""), ("HighBurnSame", "")}


def test_a_dead_host_silences_what_it_carries(stack: Stack) -> None:
    stack.alertmanager.post(
        alert("HostDown", "critical", host="web-4", component="system"),
        alert("ServiceDown", "critical", host="web-4", component="service"),
        alert("DeadHighLoad", "warning", host="web-4", component="system"),
        alert("ServiceDown", "critical", host="web-5", component="service"),
        alert("Homeless", "warning", component="application"),
        alert("Watchdog", "none", host="web-4"),
    )
    stack.slack.wait(lambda record: title(record) == "[FIRING:1] [CRITICAL] HostDown - web-4")
    stack.slack.wait(lambda record: title(record) == "[FIRING:1] [CRITICAL] ServiceDown - web-5")
    stack.slack.wait(lambda record: "Homeless" in title(record))
    assert stack.alertmanager.silenced("web-4") == {("ServiceDown", ""), ("DeadHighLoad", "")}
    time.sleep(2)
    assert "DeadHighLoad" not in stack.heard()


@pytest.mark.parametrize(("severity", "channel"), [("critical", "#alerts-critical"), ("warning", "#alerts-warning")])
def test_database_alerts_reach_the_database_team_and_their_severity(stack: Stack, severity: str, channel: str) -> None:
    name = f"Database{severity.title()}"
    stack.alertmanager.post(alert(name, severity, host="db-1", component="database"))
    stack.mail.wait(lambda record: name in record["subject"] and record["recipients"] == ["dba@example.org"])
    stack.mail.wait(lambda record: name in record["subject"] and "ops@example.org" in record["recipients"])
    stack.slack.wait(lambda record: name in title(record) and record["body"]["channel"] == channel)


def test_the_rest_goes_to_the_default_and_severity_none_to_nobody(stack: Stack) -> None:
    stack.alertmanager.post(
        alert("NoteOne", "info", host="web-6"), alert("NoteTwo", host="web-6"), alert("NoteNone", "none", host="web-6")
    )
    for name, mark in (("NoteOne", " [INFO]"), ("NoteTwo", "")):
        mail = stack.mail.wait(lambda record, name=name: name in record["subject"])  # type: ignore[misc]
        assert mail["subject"] == f"[FIRING:1]{mark} {name} - web-6"
        assert mail["recipients"] == ["ops@example.org"]
    time.sleep(2)
    heard = stack.heard()
    assert "NoteNone" not in heard
    assert not [record for record in stack.slack.records if "Note" in title(record)]


def test_the_watchdog_calls_its_switch_again_and_again_and_nobody_else(stack: Stack) -> None:
    stack.alertmanager.post(alert("Watchdog", "none"))

    def calls() -> int:
        return sum("Watchdog" in json.dumps(record["body"]) for record in stack.switch.accepted)

    stack.switch.wait(lambda record: record["body"]["receiver"] == "watchdog")
    before, end = calls(), time.monotonic() + 15
    while calls() < before + 2:
        assert time.monotonic() < end, "the switch was not called again"
        time.sleep(0.1)
    assert "Watchdog" not in stack.heard()
    assert {record["body"]["status"] for record in stack.switch.accepted} == {"firing"}


def test_a_message_refused_for_now_is_sent_again(stack: Stack) -> None:
    """PagerDuty's is repeated at once; Slack's comes with the next beat of the group."""
    stack.slack.fail_next()
    stack.pagerduty.fail_next()
    stack.alertmanager.post(alert("Patience", "critical", host="web-7", component="system"))
    stack.slack.wait(lambda record: "Patience" in title(record))
    stack.pagerduty.wait(lambda record: "Patience" in record["body"]["payload"]["summary"])
    for sink in (stack.slack, stack.pagerduty):
        assert [record["status"] for record in sink.refused] == [429]


def test_a_long_slack_message_says_how_much_is_missing(stack: Stack) -> None:
    stack.alertmanager.post(*(alert("Flood", "warning", host=f"node-{number}") for number in range(25)))
    lines = attachment(stack.slack.wait(lambda record: "[FIRING:25] [WARNING] Flood" in title(record)))["text"].split(
        "\n"
    )
    assert (len(lines), lines[-1]) == (21, "20 of 25 alerts shown")


def test_maintenance_silences_everything_but_the_watchdog(release: Release, tmp_path: Path) -> None:
    always = {"name": "always", "time_intervals": [{"times": [{"start_time": "00:00", "end_time": "24:00"}]}]}
    changes = {"alertmanager_time_intervals": [always], "alertmanager_maintenance_windows": ["always"]}
    with running(release, tmp_path, **changes) as stack:
        stack.alertmanager.post(
            alert("Watchdog", "none"),
            alert("Quiet", "critical", host="web-1", component="database"),
            alert("Quiet", host="web-1"),
        )
        stack.switch.wait(lambda record: record["body"]["receiver"] == "watchdog")
        time.sleep(3)
        assert stack.heard() == "[[], [], []]"


def test_after_a_start_what_silences_is_waited_for(release: Release, tmp_path: Path) -> None:
    """Without the delay an alert that fires for long is sent at once, before the one that silences it is back."""
    labels = {"host": "web-1", "component": "system", "pair": "cpu_usage"}
    with running(release, tmp_path, "--dispatch.start-delay=3s") as stack:
        long_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        stack.alertmanager.post({**alert("HighCPU", "warning", **labels), "startsAt": long_ago})
        time.sleep(1)
        stack.alertmanager.post({**alert("CriticalCPU", "critical", **labels), "startsAt": long_ago})
        stack.slack.wait(lambda record: "CriticalCPU" in title(record))
        time.sleep(1)
        assert "HighCPU" not in stack.heard()


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.parent.name)
def test_every_release_of_the_mirror_accepts_the_configuration(archive: Path, tmp_path: Path) -> None:
    release = unpack(archive, tmp_path / "release")
    config = tmp_path / "config"
    settings = {**copy.deepcopy(DEFAULTS), "alertmanager_watchdog_url": "http://127.0.0.1:1/"}
    rendered = render(settings)
    install(rendered, config)
    results = [release.run(check, config) for check in rendered.checks]
    assert [done.returncode for done in results] == [0] * (1 + len(DEFAULTS["alertmanager_route_tests_default"]))
    assert "2 inhibit rules" in results[0].stdout
    assert "1 templates" in results[0].stdout


def test_a_broken_promise_or_template_is_refused(release: Release, tmp_path: Path) -> None:
    wrong = {"name": "wrong", "labels": {"severity": "critical"}, "receivers": ["warning"]}
    rendered = render({**copy.deepcopy(DEFAULTS), "alertmanager_route_tests": [wrong]})
    install(rendered, tmp_path)
    results = [release.run(check, tmp_path) for check in rendered.checks]
    assert [done.returncode for done in results] == [0] * (len(results) - 1) + [1]
    assert "Expected receivers did not match" in results[-1].stdout
    (tmp_path / "templates" / "broken.tmpl").write_text('{{ define "x" }}{{ nonsense }}{{ end }}')
    done = release.run(rendered.checks[0], tmp_path)
    assert done.returncode == 1
    assert 'function "nonsense" not defined' in done.stdout + done.stderr
