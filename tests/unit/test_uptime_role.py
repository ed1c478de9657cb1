"""The role `uptime`: what it declares at UptimeRobot, by a real ansible-playbook against the emulator."""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper import uptime

from tests.emulators.uptimerobot import UptimeRobotEmulator
from tests.unit.runs import ROOT, Run, inventory, run_site
from tests.unit.uptimerobot_fixture import API_KEY, valid, writes

# The role where site.yml has it, without the components.
PLAYBOOK = """
- name: Converge
  hosts: all
  gather_facts: false
  become: true
  tasks:
    - name: Watch from outside
      ansible.builtin.include_role:
        name: uptime
        rolespec_validate: false
"""
ALERTMANAGER = PLAYBOOK.replace("name: uptime", "name: alertmanager")
SHOP = {
    "name": "Shop",
    "url": "https://shop.example.com",
    "health_url": "https://api.shop.example.com/health",
}
BLOG = {
    "name": "Blog",
    "url": "http://blog.example.com/",
    "health_url": "http://blog.example.com/health",
    "status_json_path": "$.state.summary",
    "status_value": "fine",
}
APPLICATIONS: dict[str, Any] = {"uptime_applications": [SHOP, BLOG]}
GROUP = grp.getgrgid(os.getgid()).gr_name
SLACK = "https://hooks.slack.com/services/T0/B0/planted-target"
PAGE_PASSWORD = "planted-page-password"  # noqa: S105
FULL: dict[str, Any] = {
    **APPLICATIONS,
    "uptime_monitors": [
        {"name": "Mail", "type": "PORT", "url": "mail.example.com", "port": 25},
        {
            "name": "Intranet",
            "type": "HTTP",
            "url": "https://intranet.example.com",
            "auth_type": "HTTP_BASIC",
            "http_username": "uptime",
            "http_password": "planted-http-password",
            "interval": 600,
        },
    ],
    "uptime_contacts": [{"contact": "ops@example.com"}, {"contact": "On call", "threshold": 5, "recurrence": 30}],
    "uptime_integrations": [{"name": "Team channel", "type": "slack", "target": SLACK}],
    "uptime_status_page": {"name": "Status", "password": PAGE_PASSWORD, "no_index": True},
    "uptime_gather_probe_addresses": True,
    "watchkeeper_external_labels": {"cluster": "north", "environment": "production"},
}
DEFAULTS: dict[str, Any] = {
    **yaml.safe_load((ROOT / "roles" / "uptime" / "defaults" / "main.yml").read_text(encoding="utf-8")),
    "uptime_api_key": API_KEY,
    "uptime_url": "",
}


class Site:
    """An inventory with monitoring hosts, and an account at UptimeRobot."""

    def __init__(self, folder: Path, emulator: UptimeRobotEmulator) -> None:
        self.folder, self.emulator = folder, emulator
        self.secrets = folder / "hosts-etc"

    def __call__(
        self,
        *arguments: str,
        hosts: tuple[str, ...] = ("m1", "m2"),
        ci: str = "",
        **variables: Any,
    ) -> Run:
        """Run the role with variables of all hosts; return what came of it."""
        own = {
            "__uptime_folder": str(self.secrets),
            "__uptime_group": GROUP,
        }
        return run_site(
            self.folder,
            inventory({name: {} for name in hosts}, **variables),
            *(f"--extra-vars={key}={value}" for key, value in own.items()),
            *arguments,
            playbook=PLAYBOOK,
            UPTIMEROBOT_API_KEY=API_KEY,
            UPTIMEROBOT_API_URL=self.emulator.url,
            CI=ci,
        )

    def good(self, *arguments: str, changed: bool, **variables: Any) -> Run:
        """Run the role, and insist on success and on whether something was changed."""
        run = self(*arguments, **variables)
        assert run.code == 0, run.output
        assert bool([one for one in run.results if one["result"].get("changed")]) is changed, run.output
        return run

    def monitor(self, name: str) -> dict[str, Any]:
        """Return a monitor of the account by its name."""
        [found] = [one for one in self.emulator.monitors.values() if one["friendlyName"] == name]
        return found

    @property
    def names(self) -> list[str]:
        """The names of all monitors of the account."""
        return sorted(one["friendlyName"] for one in self.emulator.monitors.values())


@pytest.fixture
def uptimerobot() -> Iterator[UptimeRobotEmulator]:
    """An account without anything in it; at the end each request was one that UptimeRobot describes."""
    with valid(UptimeRobotEmulator()) as emulator:
        yield emulator


@pytest.fixture
def site(tmp_path: Path, uptimerobot: UptimeRobotEmulator) -> Site:
    """A site of its own."""
    return Site(tmp_path, uptimerobot)


def settings(**changes: Any) -> dict[str, Any]:
    """Return the role's variables, with some of them set."""
    return {**DEFAULTS, **changes}


def declared(plan: str = "Team", **changes: Any) -> dict[str, dict[str, Any]]:
    """Return the monitors that the role declares, by name."""
    return {one["name"]: one for one in uptime.monitors(settings(**changes), plan)}


# --- what is declared ---------------------------------------------------------------------------------------------


def test_an_application_has_three_monitors() -> None:
    """All of them ask with GET: to HEAD, UptimeRobot's own choice, many an application answers 404 or 405."""
    found = declared(uptime_applications=[SHOP], uptime_interval=60, uptime_timeout=7)
    assert list(found) == ["Shop - Homepage", "Shop - API Health", "Shop - API Status"]
    assert {(one["method"], one["interval"], one["timeout"]) for one in found.values()} == {("GET", 60, 7)}
    home, health, status = found.values()
    assert (home["type"], home["url"]) == ("HTTP", "https://shop.example.com")
    assert (health["type"], health["url"]) == ("HTTP", "https://api.shop.example.com/health")
    assert (status["type"], status["url"]) == ("API", "https://api.shop.example.com/health")
    [check] = status["config"]["apiAssertions"]["checks"]
    assert check == {"property": "$.status", "comparison": "equals", "target": "ok"}
    assert status["fallback"] == {
        "type": "KEYWORD",
        "keyword_type": "ALERT_NOT_EXISTS",
        "keyword_value": '"status":"ok"',
    }


def test_how_the_status_is_read_can_be_chosen() -> None:
    api = declared(uptime_applications=[{**BLOG, "status_check": "api"}])["Blog - API Status"]
    assert "fallback" not in api
    assert api["config"]["apiAssertions"]["checks"][0]["target"] == "fine"
    keyword = declared(uptime_applications=[{**BLOG, "status_check": "keyword"}])["Blog - API Status"]
    assert (keyword["type"], keyword["keyword_type"]) == ("KEYWORD", "ALERT_NOT_EXISTS")
    assert keyword["keyword_value"] == '"summary":"fine"'
    own = {**BLOG, "status_check": "keyword", "status_keyword": '"summary": "fine"'}
    assert declared(uptime_applications=[own])["Blog - API Status"]["keyword_value"] == '"summary": "fine"'


def test_a_certificate_is_told_of_once_for_each_host_and_where_the_plan_has_that() -> None:
    reminder = {"ssl_expiration_reminder": True, "config": {"sslExpirationPeriodDays": [30, 14, 7, 1]}}

    def told(plan: str = "Team", **changes: Any) -> list[str]:
        """The monitors that tell of a certificate."""
        found = declared(plan, **changes)
        return [name for name, one in found.items() if reminder.items() <= one.items()]

    assert told(**APPLICATIONS) == ["Shop - Homepage", "Shop - API Health"]
    one_host = {**SHOP, "health_url": "https://shop.example.com/health"}
    assert told(uptime_applications=[one_host]) == ["Shop - Homepage"]
    assert told("Free", **APPLICATIONS) == []
    assert not [one for one in declared("Free", **APPLICATIONS).values() if "ssl_expiration_reminder" in one]
    off = declared(uptime_applications=[SHOP], uptime_certificate_days=[])
    assert off["Shop - Homepage"]["ssl_expiration_reminder"] is False


def test_monitors_of_yours_have_what_they_leave_out_from_the_role() -> None:
    found = declared(**FULL)
    people = [
        {"contact": "ops@example.com"},
        {"contact": "On call", "threshold": 5, "recurrence": 30},
        {"contact": "Team channel"},
    ]
    assert found["Mail"] == {**FULL["uptime_monitors"][0], "interval": 300, "alert_contacts": people}
    assert found["Intranet"]["interval"] == 600
    gone = {"name": "Old", "type": "HTTP", "state": "absent"}
    assert declared(uptime_monitors=[gone])["Old"] == gone


def test_an_integration_that_goes_is_told_nothing() -> None:
    gone = [{**FULL["uptime_integrations"][0], "state": "absent"}]
    assert uptime.contacts(settings(uptime_integrations=gone)) == []


def test_a_maintenance_is_about_the_applications_on_its_hosts() -> None:
    groups = {"all": ["web-1", "web-2", "db-1"], "web": ["web-1", "web-2"]}
    applications: list[dict[str, Any]] = [
        {"name": "a", "hosts": ["web"]},
        {"name": "b", "hosts": ["db-1"]},
        {"name": "c"},
    ]

    def names(*hosts: str) -> list[str]:
        return [one["name"] for one in uptime.affected(applications, hosts, groups)]

    assert names("web-2") == ["a", "c"]
    assert names("db-1", "web-1") == ["a", "b", "c"]
    assert names("elsewhere") == ["c"]


def test_the_start_of_a_window_is_told_in_the_accounts_time_zone() -> None:
    assert uptime.start_of("2026-11-24T23:30:59.123Z", "UTC") == {"date": "2026-11-24", "time": "23:30"}
    assert uptime.start_of("2026-11-24T23:30:59Z", "Europe/Berlin") == {"date": "2026-11-25", "time": "00:30"}


# --- what is refused before any change ----------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no-key": ({"uptime_api_key": "", **APPLICATIONS}, "uptime_api_key is empty"),
    "no-key-to-remove-with": ({"uptime_api_key": "", "uptime_state": "absent"}, "uptime_api_key is empty"),
    "read-only-key": ({"uptime_api_key": "ur1-planted", **APPLICATIONS}, "uptime_api_key is a read-only key"),
    "name-twice": ({"uptime_applications": [SHOP, {**SHOP, "name": "SHOP"}]}, "uptime_applications[1].name is 'SHOP'"),
    "url": ({"uptime_applications": [{**SHOP, "url": "shop.example.com"}]}, "uptime_applications[0].url is"),
    "empty-url": ({"uptime_applications": [{**SHOP, "health_url": ""}]}, "uptime_applications[0].health_url is"),
    "password-in-url": (
        {"uptime_applications": [{**SHOP, "url": "https://a:planted@shop.example.com"}]},
        "uptime_applications[0].url is (hidden), but must be without user and password",
    ),
    "path": ({"uptime_applications": [{**SHOP, "status_json_path": "status"}]}, "status_json_path is 'status'"),
    "days": ({"uptime_certificate_days": [400]}, "uptime_certificate_days is [400]"),
    "tag": ({"uptime_tag": "Two words"}, "uptime_tag is 'Two words'"),
    "zone": ({"uptime_timezone": "Mars/Olympus"}, "uptime_timezone is 'Mars/Olympus'"),
    "monitor": ({"uptime_monitors": [{"name": "x", "http_password": "planted"}]}, "uptime_monitors[0] is (hidden)"),
    "integration": (
        {"uptime_integrations": [{"type": "slack", "target": "planted"}]},
        "uptime_integrations[0] is (hidden)",
    ),
    "answer": ({"uptime_probe_addresses": {"v4": []}}, "uptime_probe_addresses is {'v4': []}, but must be left out"),
    "page": ({"uptime_status_page": {"password": "planted"}}, "uptime_status_page.name is (hidden)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_named(case: str) -> None:
    """One sentence, which tells the variable and no secret."""
    changed, said = REFUSED[case]
    [message] = uptime.check_uptime(settings(**changed), {})
    assert said in message
    assert "planted" not in message


def test_good_input_is_not_refused() -> None:
    assert uptime.check_uptime(settings(**FULL), {}) == []
    # Who watches nothing needs no key.
    assert uptime.check_uptime(settings(uptime_api_key=""), {}) == []


# --- in real runs -------------------------------------------------------------------------------------------------


def test_nothing_is_asked_as_long_as_nothing_is_declared(site: Site) -> None:
    site.good(changed=False)
    assert site.emulator.requests == []
    assert not site.secrets.exists()


def test_everything_is_declared_once_and_no_secret_is_shown(site: Site) -> None:
    """The second run finds nothing to do. The address of the heartbeat is in one file, the key is in none."""
    mail = site.emulator.add_contact("Email", "Operations", "ops@example.com")
    call = site.emulator.add_contact("Email", "On call", "call@example.com")
    run = site.good("-vvv", "--diff", changed=True, **FULL)
    own = ["Homepage", "API Health", "API Status"]
    expected = [f"{name} - {part}" for name in ("Blog", "Shop") for part in own]
    assert site.names == sorted([*expected, "Intranet", "Mail", "north - Alerting"])

    [channel] = site.emulator.integrations
    for monitor in site.emulator.monitors.values():
        assigned = {int(one["alertContactId"]): one["threshold"] for one in monitor["assignedAlertContacts"]}
        assert assigned == {mail: 0, call: 5, channel: 0}, monitor["friendlyName"]
        beats = monitor["type"] == "HEARTBEAT"
        assert monitor["tagNames"] == ["watchkeeper-heartbeat" if beats else "watchkeeper"]
        if monitor["type"] in ("HTTP", "API"):
            assert monitor["httpMethodType"] == "GET"
    assert site.monitor("Shop - API Status")["type"] == "API"
    assert site.monitor("Shop - Homepage")["config"]["sslExpirationPeriodDays"] == [30, 14, 7, 1]
    heartbeat = site.monitor("north - Alerting")
    assert (heartbeat["interval"], heartbeat["gracePeriod"]) == (300, 600)

    [page] = site.emulator.psps.values()
    shown = [site.emulator.monitors[number]["friendlyName"] for number in page["monitorIds"]]
    assert sorted(shown) == sorted(expected)
    assert f"The status page is at https://stats.uptimerobot.com/{page['urlKey']}" in run.output
    [addresses] = [one["result"] for one in run.results if one["action"] == "ansible.builtin.set_fact"]
    assert set(addresses["ansible_facts"]["uptime_probe_addresses"]) == {"ipv4", "ipv6"}

    file = site.secrets / "heartbeat_url"
    assert file.read_text(encoding="utf-8") == heartbeat["url"]
    status = file.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, os.getuid(), os.getgid())

    before = len(site.emulator.requests)
    again = site.good("-vvv", "--diff", changed=False, ci="true", **FULL)
    assert writes(site.emulator.requests[before:]) == []
    # A minute of the free plan takes ten; here one is for the addresses, one for the integration, two for the contacts.
    assert len(site.emulator.requests) - before <= 11, site.emulator.requests[before:]
    secrets = [API_KEY, heartbeat["url"], heartbeat["url"].rsplit("/", 1)[1], SLACK, PAGE_PASSWORD]
    for secret in (*secrets, "planted"):
        assert secret not in run.output + again.output, secret
    results = (site.folder / "results").read_text(encoding="utf-8")
    assert API_KEY not in results
    kept = [
        path
        for path in site.folder.rglob("*")
        if path.is_file() and heartbeat["url"] in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert kept == [file]
    assert not [path for path in site.folder.rglob("*") if path.is_file() and API_KEY.encode() in path.read_bytes()]


def test_a_plan_without_api_monitors_gets_keyword_monitors_of_the_right_sense(tmp_path: Path) -> None:
    """And none of what else the plan lacks; the second run does not try again."""
    with valid(UptimeRobotEmulator(plan="Free")) as emulator:
        site = Site(tmp_path, emulator)
        refused = site(**APPLICATIONS)
        assert refused.code != 0
        assert "uptime_heartbeat is true, but the account's plan Free has no heartbeats" in refused.output
        assert writes(emulator.requests) == []

        site.good(changed=True, **APPLICATIONS, uptime_heartbeat=False)
        status = site.monitor("Blog - API Status")
        assert (status["type"], status["keywordType"]) == ("KEYWORD", "ALERT_NOT_EXISTS")
        assert (status["keywordValue"], status["httpMethodType"]) == ('"summary":"fine"', "GET")
        assert len(site.names) == 6
        assert not site.secrets.exists()
        before = len(emulator.requests)
        site.good(changed=False, **APPLICATIONS, uptime_heartbeat=False)
        assert writes(emulator.requests[before:]) == []


def test_only_what_is_ours_is_removed(site: Site) -> None:
    """Purged is what carries the tag; with `absent` all of that goes, and the file with the address, too."""
    site.emulator.add_monitor(friendlyName="Theirs", type="HTTP", url="https://theirs.example.com")
    page = {"uptime_status_page": {"name": "Status"}}
    site.good(changed=True, **APPLICATIONS, **page)
    checked = site.good("--check", changed=True, uptime_applications=[SHOP], uptime_purge=True, **page)
    would = [action for one in checked.results for action in one["result"].get("actions", [])]
    assert len([action for action in would if "Blog" in action]) == 3
    assert len(site.names) == 8

    site.good(changed=True, uptime_applications=[SHOP], uptime_purge=True, **page)
    own = ["Shop - API Health", "Shop - API Status", "Shop - Homepage"]
    assert site.names == [*own, "Theirs", "production - Alerting"]

    site.good(changed=True, uptime_applications=[SHOP], uptime_state="absent", **page)
    assert site.names == ["Theirs"]
    assert site.emulator.psps == {}
    assert not (site.secrets / "heartbeat_url").exists()
    site.good(changed=False, uptime_applications=[SHOP], uptime_state="absent", **page)


def test_a_first_run_in_check_mode_writes_nothing(site: Site) -> None:
    run = site.good("--check", changed=True, **APPLICATIONS, uptime_status_page={"name": "Status"})
    assert "Shop - API Status" in run.output
    assert writes(site.emulator.requests) == []
    assert not site.secrets.exists()


def test_an_own_dead_mans_switch_comes_before_the_heartbeat(site: Site) -> None:
    """The address of the switch is a secret, too, and the heartbeat would wait for calls that nobody makes."""
    run = site.good(
        "-vvv", changed=True, **APPLICATIONS, alertmanager_watchdog_url="https://switch.example.com/planted"
    )
    assert "Alerting" not in run.output
    assert not [one for one in run.results if "heartbeat" in one.get("task", "") and one["result"].get("changed")]
    assert "planted" not in run.output


def test_an_unknown_contact_is_named_and_nothing_is_written(site: Site) -> None:
    run = site(**APPLICATIONS, uptime_contacts=[{"contact": "nobody@example.com"}])
    assert run.code != 0
    assert "nobody@example.com" in " ".join(run.errors.values())
    assert writes(site.emulator.requests) == []


# --- what Alertmanager makes of it ----------------------------------------------------------------------------------


FILE = "/etc/watchkeeper/uptime/heartbeat_url"
SWITCHES: dict[str, tuple[dict[str, Any], str]] = {
    "unused": ({}, ""),
    "applications": (APPLICATIONS, FILE),
    "monitors": ({"uptime_monitors": FULL["uptime_monitors"]}, FILE),
    "no-heartbeat": ({**APPLICATIONS, "uptime_heartbeat": False}, ""),
    "absent": ({**APPLICATIONS, "uptime_state": "absent"}, ""),
    "own-switch": (
        {**APPLICATIONS, "alertmanager_watchdog_url": "https://switch.example.com/planted"},
        "secrets/watchdog_url",
    ),
    "own-file": ({"alertmanager_watchdog_url_file": "/etc/switch"}, "/etc/switch"),
}


def test_alertmanager_reads_the_address_from_the_file(tmp_path: Path) -> None:
    """Where the role makes a heartbeat and there is no other switch."""
    hosts = {name: variables for name, (variables, _file) in SWITCHES.items()}
    run = run_site(tmp_path, inventory(hosts), playbook=ALERTMANAGER)
    assert run.code == 0, run.output
    for name, (_variables, file) in SWITCHES.items():
        config = run.component("alertmanager", name).data("alertmanager.yml")
        [watchdog] = [one for one in config["receivers"] if one["name"] == "watchdog"]
        found = [one["url_file"] for one in watchdog.get("webhook_configs", [])]
        assert len(found) == bool(file), name
        assert all(path.endswith(file) for path in found), name
