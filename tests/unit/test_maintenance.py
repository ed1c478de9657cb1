"""Maintenance: a real Alertmanager is silent about the hosts, UptimeRobot's emulator announces a window, and both end.

Needs Alertmanager's release archive in the mirror; without it these tests are skipped by name.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.emulators.uptimerobot import UptimeRobotEmulator
from tests.emulators.webhook import WebhookSink
from tests.unit.runs import ROOT, Run, inventory, run_site
from tests.unit.test_alertmanager_live import ARCHIVES, MIRROR, Release, Stack, alert, running, title, unpack
from tests.unit.uptimerobot_fixture import API_KEY, valid

pytestmark = pytest.mark.skipif(not ARCHIVES, reason=f"no Alertmanager release archive in the mirror {MIRROR}")

# Runs the module as a process of its own, with this project's code under the name that Ansible gives it.
MODULE = f"""
import json, runpy, sys
import ansible.module_utils
from ansible.module_utils.testing import patch_module_args
ansible.module_utils.__path__.append({str(ROOT / "plugins" / "module_utils")!r})
with patch_module_args(json.loads(sys.argv[1])):
    runpy.run_path({str(ROOT / "library" / "alertmanager_silence.py")!r}, run_name="__main__")
"""
# Of no host that the playbook's tests wait for.
HOSTS = [{"name": "host", "value": r"own\.1|own-2", "regex": True}]
SHOP = {
    "name": "Shop",
    "url": "https://shop.example.com",
    "health_url": "https://api.shop.example.com/health",
    "hosts": ["application"],
}
BLOG = {
    "name": "Blog",
    "url": "https://blog.example.com",
    "health_url": "https://blog.example.com/health",
    "hosts": ["b1"],
}
ZONE = zoneinfo.ZoneInfo("Europe/Berlin")


@pytest.fixture(scope="module", name="release")
def newest_release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The newest release of the mirror."""
    return unpack(ARCHIVES[-1], tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module", name="stack")
def one_stack(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One Alertmanager for all tests of this file; each test has hosts of its own."""
    with running(release, tmp_path_factory.mktemp("stack")) as stack:
        yield stack


def url_of(stack: Stack) -> str:
    """Return where an Alertmanager answers."""
    return stack.alertmanager._url


def silences(stack: Stack, state: str = "active") -> list[dict[str, Any]]:
    """Return the silences that are in force."""
    return [one for one in stack.alertmanager.call("/api/v2/silences") if one["status"]["state"] == state]


def amtool(stack: Stack, *words: str) -> str:
    """Return what amtool says."""
    command = [str(stack.release.folder / "amtool"), f"--alertmanager.url={url_of(stack)}", *words]
    done = subprocess.run([*stack.release.prefix, *command], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def length(silence: dict[str, Any]) -> timedelta:
    """Return how long a silence lasts, to the minute."""
    start, end = (datetime.fromisoformat(silence[key]) for key in ("startsAt", "endsAt"))
    return timedelta(minutes=round((end - start).total_seconds() / 60))


# --- the module ---------------------------------------------------------------------------------------------------


def silence(stack: Stack, changed: bool | None = None, check: bool = False, **given: Any) -> dict[str, Any]:
    """Run the module and return its answer; insist on whether it changed something, or on a failure for None."""
    arguments = {"url": url_of(stack), "_ansible_check_mode": check, "_ansible_diff": True, **given}
    command = [sys.executable, "-c", MODULE, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.lstrip().startswith("{"), done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    if changed is None:
        assert answer.get("failed"), answer
    else:
        assert not answer.get("failed"), answer
        assert answer["changed"] is changed, answer
        assert bool(answer["actions"]) is changed
    return answer


def named(stack: Stack, name: str) -> list[dict[str, Any]]:
    """Return the silences of a name that are in force."""
    return [one for one in silences(stack) if one["comment"].endswith(f"[{name}]")]


def test_a_silence_is_made_once_and_ended_once(stack: Stack) -> None:
    want: dict[str, Any] = {"name": "once", "matchers": HOSTS, "duration": "2h", "reason": "Upgrade"}
    assert silence(stack, True, True, **want)["silence"]["id"] == ""
    assert named(stack, "once") == []
    made = silence(stack, True, **want)
    [live] = named(stack, "once")
    assert (live["id"], length(live)) == (made["silence"]["id"], timedelta(hours=2))
    assert (live["comment"], live["createdBy"]) == ("Upgrade [once]", "watchkeeper")
    assert made["diff"]["before"] == "[]\n"
    assert r"host=~\"own\\.1|own-2\"" in made["diff"]["after"]
    again = silence(stack, False, **want)
    assert again["silence"] == {"id": live["id"], "starts_at": live["startsAt"], "ends_at": live["endsAt"]}

    silence(stack, True, True, name="once", state="absent")
    assert len(named(stack, "once")) == 1
    silence(stack, True, name="once", state="absent")
    assert named(stack, "once") == []
    silence(stack, False, name="once", state="absent")


def test_what_is_changed_keeps_its_start_unless_it_is_about_other_alerts(stack: Stack) -> None:
    want: dict[str, Any] = {"name": "changed", "matchers": HOSTS, "duration": "1h"}
    first = silence(stack, True, **want)["silence"]
    longer = silence(stack, True, **{**want, "duration": "3h"})["silence"]
    assert (longer["id"], longer["starts_at"]) == (first["id"], first["starts_at"])
    silence(stack, True, **{**want, "duration": "3h", "reason": "Something else"})
    [live] = named(stack, "changed")
    assert (live["id"], length(live), live["comment"]) == (first["id"], timedelta(hours=3), "Something else [changed]")

    other = [{"name": "host", "value": "db-1"}]
    moved = silence(stack, True, **{**want, "matchers": other})["silence"]
    assert moved["id"] != first["id"]
    [live] = named(stack, "changed")
    assert live["matchers"] == [{"name": "host", "value": "db-1", "isRegex": False, "isEqual": True}]
    silence(stack, False, **{**want, "matchers": other})


def test_silences_of_people_and_of_other_names_are_left_alone(stack: Stack) -> None:
    end = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    by_hand = {
        "matchers": [{"name": "host", "value": "web-9", "isRegex": False, "isEqual": True}],
        "startsAt": datetime.now(UTC).isoformat(),
        "endsAt": end,
        "createdBy": "somebody",
        "comment": "mine [theirs]",
    }
    stack.alertmanager.call("/api/v2/silences", by_hand)
    silence(stack, False, name="theirs", state="absent")
    silence(stack, True, name="not theirs", matchers=HOSTS)
    silence(stack, False, name="heirs", state="absent")
    assert len(named(stack, "theirs")) == 1
    assert len(named(stack, "not theirs")) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"duration": "0s"}, "duration is '0s'; it must be longer than 0"),
        ({"duration": "2 hours"}, "duration is '2 hours'; it must be longer than 0 and like 90m, 2h or 1d"),
        ({"matchers": []}, "matchers is empty, which would silence everything"),
        ({"matchers": [{"name": "host", "value": "(", "regex": True}]}, "HTTP 400"),
        ({"url": "http://127.0.0.1:9"}, "no answer"),
        ({"url": "127.0.0.1:9093"}, "it must be like http://127.0.0.1:9093"),
    ],
)
def test_what_cannot_be_is_said(stack: Stack, given: dict[str, Any], said: str) -> None:
    answer = silence(stack, None, **{"name": "wrong", "matchers": HOSTS, **given})
    assert said in answer["msg"]
    assert answer["changed"] is False
    assert named(stack, "wrong") == []


# --- the dead man's switch by a file ------------------------------------------------------------------------------


def test_the_heartbeat_arrives_at_the_address_in_the_file(release: Release, tmp_path: Path) -> None:
    """Alertmanager reads the file at each call: another address needs no reload, and a missing file no restart."""
    file = tmp_path / "etc" / "heartbeat_url"
    changes = {"alertmanager_watchdog_url": "", "alertmanager_watchdog_url_file": str(file)}
    with (
        WebhookSink(path="/planted-first") as first,
        WebhookSink(path="/planted-second") as second,
        running(release, tmp_path, **changes) as stack,
    ):
        stack.alertmanager.post(alert("Watchdog", "none"))
        wait(lambda: "heartbeat_url: no such file" in stack.alertmanager.log, "a call without an address")
        file.parent.mkdir()
        file.write_text(first.url, encoding="utf-8")
        assert first.wait(lambda record: record["accepted"])["body"]["receiver"] == "watchdog"
        file.write_text(second.url, encoding="utf-8")
        second.wait(lambda record: record["body"]["status"] == "firing")
        assert "planted" not in stack.alertmanager.log
        assert "planted" not in (stack.config / "alertmanager.yml").read_text(encoding="utf-8")


def wait(check: Callable[[], bool], what: str) -> None:
    """Wait for something that is bound to happen."""
    end = time.monotonic() + 30
    while not check():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.1)


# --- the playbook -------------------------------------------------------------------------------------------------


class Site:
    """The playbook, with the monitoring hosts' Alertmanager and an account at UptimeRobot."""

    def __init__(self, folder: Path, stack: Stack, emulator: UptimeRobotEmulator) -> None:
        self.folder, self.stack, self.emulator = folder, stack, emulator

    def __call__(self, *arguments: str, **given: str) -> Run:
        """Run the playbook with extra variables."""
        hosts = inventory(
            {"m1": {}, "m2": {}},
            {"web.1": {}, "web-2": {}, "b1": {}},
            {"application": ["web.1", "web-2"]},
            alertmanager_port=int(url_of(self.stack).rsplit(":", 1)[1]),
            uptime_applications=[SHOP, BLOG],
            uptime_timezone="Europe/Berlin",
        )
        return run_site(
            self.folder,
            hosts,
            *(f"--extra-vars={json.dumps({key: value})}" for key, value in given.items()),
            *arguments,
            playbook=(ROOT / "playbooks" / "maintenance.yml").read_text(encoding="utf-8"),
            UPTIMEROBOT_API_KEY=API_KEY,
            UPTIMEROBOT_API_URL=self.emulator.url,
        )

    def good(self, *arguments: str, changed: bool, **given: str) -> Run:
        """Run it, and insist on success and on whether something was changed."""
        run = self(*arguments, **given)
        assert run.code == 0, run.output
        assert bool([one for one in run.results if one["result"].get("changed")]) is changed, run.output
        return run


@pytest.fixture
def site(stack: Stack, tmp_path: Path) -> Iterator[Site]:
    """A site whose applications have their monitors."""
    with valid(UptimeRobotEmulator()) as emulator:
        for application in (SHOP, BLOG):
            for part in ("Homepage", "API Health", "API Status"):
                name = f"{application['name']} - {part}"
                emulator.add_monitor(friendlyName=name, type="HTTP", url=application["url"])
        yield Site(tmp_path, stack, emulator)


def test_maintenance_silences_and_announces_and_ends(site: Site) -> None:
    """The same hosts for the same time; what others break meanwhile is told, and so is all when it is over."""
    stack = site.stack
    asked: dict[str, Any] = {
        "maintenance_hosts": "application",
        "maintenance_duration": "2h",
        "maintenance_reason": "New kernel",
    }
    checked = site.good("--check", changed=True, **asked)
    assert "would change" in checked.output
    assert (named(stack, "application"), site.emulator.windows) == ([], {})

    run = site.good("-vvv", changed=True, **asked)
    [live] = named(stack, "application")
    assert (live["comment"], length(live)) == ("New kernel [application]", timedelta(hours=2))
    assert [(one["name"], one["value"], one["isRegex"]) for one in live["matchers"]] == [
        ("host", r"web\-2|web\.1", True)
    ]
    told = amtool(stack, "silence", "query", "--output=extended")
    assert "New kernel [application]" in told
    [window] = site.emulator.windows.values()
    names = [site.emulator.monitors[number]["friendlyName"] for number in window["monitorIds"]]
    assert sorted(names) == ["Shop - API Health", "Shop - API Status", "Shop - Homepage"]
    assert (window["name"], window["interval"]) == ("Maintenance of application (watchkeeper)", "once")
    start = datetime.fromisoformat(live["startsAt"]).astimezone(ZONE)
    assert (window["date"][:10], window["time"][:5]) == (f"{start:%Y-%m-%d}", f"{start:%H:%M}")
    assert window["duration"] == 120
    assert API_KEY not in run.output

    shop = "https://api.shop.example.com/health"
    stack.alertmanager.post(
        alert("MaintQuiet", "critical", host="web.1"),
        alert("MaintQuiet", "critical", host="web-2"),
        {
            **alert("MaintProbe", "critical"),
            "labels": {"alertname": "MaintProbe", "severity": "critical", "instance": shop},
        },
        # A dot in a name stands for itself.
        alert("MaintLoudOther", "critical", host="webx1"),
        alert("MaintLoudMonitor", "critical", host="m1"),
    )
    for loud in ("MaintLoudOther", "MaintLoudMonitor"):
        stack.slack.wait(lambda record, loud=loud: loud in title(record))  # type: ignore[misc]
    time.sleep(2)
    assert "MaintQuiet" not in stack.heard()
    assert "MaintProbe" not in stack.heard()

    before = len(site.emulator.requests)
    site.good(changed=False, **asked)
    assert {method for method, _path in site.emulator.requests[before:]} == {"GET"}
    site.good(changed=True, **{**asked, "maintenance_duration": "3h"})
    assert [one["duration"] for one in site.emulator.windows.values()] == [180]
    assert [length(one) for one in named(stack, "application")] == [timedelta(hours=3)]

    ended: dict[str, Any] = {"maintenance_hosts": "application", "maintenance_state": "absent"}
    site.good(changed=True, **ended)
    assert (named(stack, "application"), site.emulator.windows) == ([], {})
    assert not [one for one in silences(stack) if one["comment"].endswith("[application, applications]")]
    for quiet in ("MaintQuiet", "MaintProbe"):
        stack.slack.wait(lambda record, quiet=quiet: quiet in title(record))  # type: ignore[misc]
    site.good(changed=False, **ended)


def test_a_host_without_an_application_is_silenced_and_nothing_is_announced(site: Site) -> None:
    site.good(changed=True, maintenance_hosts="m2", maintenance_name="rack 7")
    assert len(named(site.stack, "rack 7")) == 1
    assert site.emulator.windows == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Say which hosts: -e maintenance_hosts=PATTERN"),
        ({"maintenance_hosts": "b1,typo"}, "maintenance_hosts is b1,typo, but no host of the inventory matches typo"),
        ({"maintenance_hosts": "b1", "maintenance_state": "gone"}, "maintenance_state is gone; it must be present"),
    ],
)
def test_what_is_asked_for_is_checked(site: Site, given: dict[str, str], said: str) -> None:
    before = silences(site.stack)
    run = site(**given)
    assert run.code != 0
    assert said in run.output
    assert silences(site.stack) == before
    assert site.emulator.requests == []
