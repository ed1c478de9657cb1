"""The module of UptimeRobot's monitors as a process of its own and in ansible-playbook, against the emulator."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.emulators import uptimerobot as emulated
from tests.emulators.base import Answer
from tests.emulators.uptimerobot import QUIRKS, UptimeRobotEmulator
from tests.unit.runs import ROOT
from tests.unit.test_grafana_modules import compare
from tests.unit.uptimerobot_fixture import (
    API_KEY,
    READ_ONLY_KEY,
    Runner,
    Start,
    good,
    play,
    refused,
    run,
    start,
    uptimerobot,
    valid,
    writes,
)

__all__ = ["run", "start", "uptimerobot"]

MODULE = "uptimerobot_monitor"
ALWAYS = {"update_password": "always"}
PASSWORD, TOKEN = "planted-password", "planted-token"
SHOP: dict[str, Any] = {"name": "Shop", "type": "HTTP", "url": "https://shop.example.com/"}
ASSERTIONS = {"logic": "AND", "checks": [{"property": "$.status", "comparison": "equals", "target": "ok"}]}
STATUS: dict[str, Any] = {
    "name": "Shop status",
    "type": "API",
    "url": "https://shop.example.com/health",
    "config": {"apiAssertions": ASSERTIONS},
}
KEYWORD: dict[str, Any] = {
    "type": "KEYWORD",
    "keyword_type": "ALERT_NOT_EXISTS",
    "keyword_value": '"status":"ok"',
}
# One of each type, with much in it, and what is changed of it afterwards.
EVERY_TYPE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {
            "name": 'Tom & "Jerry"',
            "type": "HTTP",
            "url": "https://www.example.com/?a=1&b=2",
            "interval": 300,
            "timeout": 20,
            "method": "POST",
            "auth_type": "HTTP_BASIC",
            "http_username": "uptime",
            "http_password": PASSWORD,
            "post_value_type": "RAW_JSON",
            "post_value_data": {"a": 1},
            "http_headers": {"X-Plain": "yes"},
            "secret_http_headers": {"X-Token": TOKEN},
            "success_codes": ["200", "2XX"],
            "check_ssl_errors": True,
            "ssl_expiration_reminder": True,
            "domain_expiration_reminder": True,
            "follow_redirections": False,
            "regions": ["eu", "na"],
            "response_time_threshold": 2000,
            "custom_fields": {"team": "shop"},
            "tags": ["Shop", "web"],
            "config": {"sslExpirationPeriodDays": [30, 7], "ipVersion": "ipv4Only", "applicationErrorRetries": 2},
        },
        {"config": {"sslExpirationPeriodDays": [14, 1], "ipVersion": None}},
    ),
    (
        {
            "name": "Keyword",
            "type": "keyword",
            "url": "https://www.example.com/",
            "keyword_type": "ALERT_NOT_EXISTS",
            "keyword_case_type": "CaseInsensitive",
            "keyword_value": " <b>ok</b> & well ",
            "auth_type": "NONE",
            "response_time_threshold": 900,
        },
        {"keyword_case_type": "CaseSensitive"},
    ),
    (
        {"name": "Ping", "type": "PING", "url": "https://WWW.example.com/x", "config": {"ipVersion": "ipv6Only"}},
        {"timeout": 5},
    ),
    ({"name": "Port", "type": "PORT", "url": "db.example.com", "port": 5432}, {"port": 5433}),
    ({"name": "Beat", "type": "HEARTBEAT", "interval": 60, "grace_period": 30}, {"grace_period": 90}),
    (
        {
            "name": "Names",
            "type": "DNS",
            "url": "example.com",
            "config": {"dnsRecords": {"A": ["192.0.2.1", "192.0.2.2"], "TXT": ["v=spf1 -all"]}},
        },
        {"config": {"dnsRecords": {"A": ["192.0.2.3"]}}},
    ),
    (
        {
            "name": "API",
            "type": "API",
            "url": "https://www.example.com/health",
            "config": {
                "apiAssertions": {
                    "logic": "OR",
                    "checks": [
                        {"property": "$.n", "comparison": "greater_than", "target": 3},
                        {"property": "$.error", "comparison": "is_null"},
                    ],
                }
            },
        },
        {"config": {"apiAssertions": ASSERTIONS}},
    ),
    (
        {
            "name": "UDP",
            "type": "UDP",
            "url": "ns.example.com",
            "port": 53,
            "config": {"udp": {"payload": "x", "packetLossThreshold": 50}},
        },
        {"config": {"udp": {"payload": "y", "packetLossThreshold": 40}}},
    ),
    (
        {
            "name": "Look",
            "type": "VISUAL_COMPARISON",
            "url": "https://www.example.com/",
            "config": {"visualComparison": {"sensitivityThreshold": 10, "viewport": "desktop"}},
        },
        {"interval": 600},
    ),
]
# Quirks that break a creation have tests of their own.
BREAKING = {"lying_create", "timeout_create", "failing_create"}


def monitors(run: Runner, *items: dict[str, Any], **given: Any) -> dict[str, Any]:
    """Run the module with a list, without the look back that costs time."""
    return run(MODULE, **{"monitors": list(items), "settle": 0, **given})


def stored(emulator: UptimeRobotEmulator, name: str) -> dict[str, Any]:
    """Return a monitor as UptimeRobot has it; there is exactly one of the name."""
    found = [one for one in emulator.monitors.values() if one["friendlyName"] == name]
    assert len(found) == 1
    return found[0]


# Types and fields


@pytest.mark.parametrize(("item", "change"), EVERY_TYPE, ids=[item["type"].upper() for item, _ in EVERY_TYPE])
def test_each_type_is_made_kept_and_changed(
    run: Runner, uptimerobot: UptimeRobotEmulator, item: dict[str, Any], change: dict[str, Any]
) -> None:
    made = good(monitors(run, item), True)
    assert made["actions"] == [f"created monitor {item['name']}"]
    kind = made["monitors"][0]["type"]
    assert kind == item["type"].upper()
    assert bool(made["monitors"][0]["heartbeat_url"]) is (kind == "HEARTBEAT")
    good(monitors(run, item), False)
    good(monitors(run, {**item, **change}), True)
    good(monitors(run, {**item, **change}), False)
    # What the task does not say stays.
    few = {key: item[key] for key in ("name", "type")}
    good(monitors(run, few), False)
    assert len(uptimerobot.monitors) == 1


def test_a_new_monitor_asks_with_get(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    """Left to itself UptimeRobot sends HEAD."""
    good(monitors(run, SHOP, {**SHOP, **KEYWORD, "name": "Word"}, STATUS), True)
    assert {one["httpMethodType"] for one in uptimerobot.monitors.values()} == {"GET"}
    good(monitors(run, {**SHOP, "interval": 600}), True)
    assert stored(uptimerobot, "Shop")["httpMethodType"] == "GET"


def test_a_change_of_one_setting_leaves_the_others(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    item, _ = EVERY_TYPE[0]
    good(monitors(run, item), True)
    changed = {**item, "config": {"applicationErrorRetries": 0, "ipVersion": None}}
    good(monitors(run, changed), True)
    assert stored(uptimerobot, item["name"])["config"] == {
        "sslExpirationPeriodDays": [30, 7],
        "applicationErrorRetries": 0,
    }
    patches = uptimerobot.bodies("PATCH", r"/monitors/\d+")
    assert patches == [{"config": {"applicationErrorRetries": 0, "ipVersion": None}, "httpMethodType": "POST"}]


def test_a_keyword_is_changed_in_the_form_that_changes_take(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    item = {**SHOP, **KEYWORD}
    good(monitors(run, item), True)
    assert uptimerobot.bodies("POST", "/monitors")[0]["keywordCaseType"] == "CaseSensitive"
    good(monitors(run, {**item, "keyword_case_type": "CaseInsensitive"}), True)
    assert uptimerobot.bodies("PATCH", r"/monitors/\d+")[0]["keywordCaseType"] == 1
    good(monitors(run, {**item, "keyword_type": "ALERT_EXISTS"}), True)
    # The case goes along as it is.
    assert stored(uptimerobot, "Shop")["keywordCaseType"] == 1


def test_success_codes_go_back_to_the_default(run: Runner) -> None:
    good(monitors(run, {**SHOP, "success_codes": ["204"]}), True)
    good(monitors(run, {**SHOP, "success_codes": []}), True)
    good(monitors(run, {**SHOP, "success_codes": []}), False)
    good(monitors(run, {**SHOP, "success_codes": ["3xx", "2xx"]}), False)


def test_regions_keep_their_threshold(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    good(monitors(run, {**SHOP, "response_time_threshold": 700}), True)
    good(monitors(run, {**SHOP, "regions": ["na", "eu"]}), True)
    assert uptimerobot.bodies("PATCH", r"/monitors/\d+")[0]["regionData"] == {
        "REGION": ["eu", "na"],
        "THRESHOLD": {"na": 700},
    }


@pytest.mark.parametrize("value", ['{"a": 1}', {"a": 1}, "a=1&b=2"])
def test_a_body_is_the_same_as_text_or_object(run: Runner, uptimerobot: UptimeRobotEmulator, value: Any) -> None:
    item = {**SHOP, "method": "POST", "post_value_type": "RAW_JSON", "post_value_data": value}
    good(monitors(run, item), True)
    one = stored(uptimerobot, "Shop")
    if value != "a=1&b=2":
        one["postValueData"] = {"a": 1} if isinstance(value, str) else '{"a":1}'
    good(monitors(run, item), False)


def test_a_name_is_changed_by_the_id(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    number = uptimerobot.add_monitor(friendlyName="Old")
    answer = good(monitors(run, {"id": number, "name": "New"}), True)
    assert answer["actions"] == ["changed friendlyName of monitor New"]
    assert stored(uptimerobot, "New")["id"] == number
    good(monitors(run, {"id": number, "name": "New", "type": "HTTP"}), False)


# Quirks


@pytest.mark.parametrize("quirk", sorted(QUIRKS - BREAKING - {"eventual"}))
def test_a_second_run_changes_nothing_with_any_quirk(run: Runner, uptimerobot: UptimeRobotEmulator, quirk: str) -> None:
    contacts = [
        uptimerobot.add_contact("Email", "On call", "oncall@example.com"),
        uptimerobot.add_integration("Slack", "Team & all"),
        uptimerobot.add_integration("Webhook", "Log"),
    ]
    uptimerobot.quirks = frozenset({quirk})
    told = [{"contact": name, "threshold": 0} for name in ("On call", "Team & all", str(contacts[2]))]
    items = [{**item, "alert_contacts": told} for item, _ in EVERY_TYPE]
    given: dict[str, Any] = {"owner_tag": "ours", "purge": True}
    good(monitors(run, *items, **given), True)
    for _ in range(2):
        answer = good(monitors(run, *items, **given), False)
        assert {one["state"] for one in answer["monitors"]} == {"unchanged"}
    changed = [{**item, **change, "alert_contacts": told[:2]} for item, change in EVERY_TYPE]
    assert len(good(monitors(run, *changed, **given), True)["actions"]) == len(items)
    good(monitors(run, *changed, **given), False)
    assert len(uptimerobot.monitors) == len(items)


@pytest.mark.parametrize("quirk", ["", "host_only_url"])
def test_a_host_with_a_scheme_is_the_same_host(run: Runner, uptimerobot: UptimeRobotEmulator, quirk: str) -> None:
    uptimerobot.add_monitor(friendlyName="Ping", type="PING", url="https://WWW.example.com/x")
    uptimerobot.quirks = frozenset({quirk} - {""})
    for url in ("https://www.example.com/", "www.example.com"):
        good(monitors(run, {"name": "Ping", "type": "PING", "url": url}), False)
    good(monitors(run, {"name": "Ping", "type": "PING", "url": "other.example.com"}), True)


def test_a_second_run_changes_nothing_with_all_quirks_of_reading(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    uptimerobot.quirks = QUIRKS - BREAKING - {"eventual", "number_ids", "reset_epoch", "reset_delta"}
    items = [item for item, _ in EVERY_TYPE]
    good(monitors(run, *items), True)
    good(monitors(run, *items), False)


def test_lists_that_lag_are_waited_for(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    """Otherwise the next run would make each monitor a second time."""
    uptimerobot.quirks = frozenset({"eventual"})
    uptimerobot.settle = 2
    gone = uptimerobot.add_monitor(friendlyName="Gone")
    items = [SHOP, {**STATUS, "state": "paused"}, {"id": gone, "state": "absent"}]
    good(monitors(run, *items, settle=30), True)
    good(monitors(run, *items, settle=30), False)
    items[0] = {**SHOP, "interval": 600}
    items[1] = {**STATUS, "state": "started"}
    good(monitors(run, *items, settle=30), True)
    answer = good(monitors(run, *items, settle=30), False)
    assert answer["requests"] == 1
    assert len(uptimerobot.monitors) == 2


def test_a_list_that_never_catches_up_is_warned_of(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    uptimerobot.quirks = frozenset({"eventual"})
    uptimerobot.settle = 99
    answer = good(monitors(run, SHOP, settle=1), True)
    assert "does not show after 1 s what was written: monitor Shop is missing" in json.dumps(answer["warnings"])


@pytest.mark.parametrize("quirk", ["lying_create", "timeout_create"])
def test_a_creation_that_is_not_admitted_makes_no_second_one(
    run: Runner, uptimerobot: UptimeRobotEmulator, quirk: str
) -> None:
    # A namesake of another address must not be taken for it.
    uptimerobot.add_monitor(friendlyName="Beat", type="HTTP")
    uptimerobot.quirks = frozenset({quirk})
    items = [item for item, _ in EVERY_TYPE]
    answer = good(monitors(run, *items), True)
    assert {one["state"] for one in answer["monitors"]} == {"created"}
    assert all(one["id"] for one in answer["monitors"])
    good(monitors(run, *items), False)
    assert len(uptimerobot.monitors) == len(items) + 1
    assert [one[0] for one in writes(uptimerobot.requests)] == ["POST"] * len(items)


def test_a_creation_that_was_not_carried_out_is_named(
    run: Runner, uptimerobot: UptimeRobotEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: Any) -> Any:
        raise emulated.not_found("Monitor")

    monkeypatch.setattr(emulated, "HANDLERS", {**emulated.HANDLERS, "POST /monitors": nothing})
    message = refused(monitors(run, SHOP))
    assert message.startswith("monitor Shop: POST ")
    assert "list does not show it either" in message
    assert len(writes(uptimerobot.requests)) == 1


def test_what_a_failing_creation_has_left_is_mended_by_the_next_run(
    run: Runner, uptimerobot: UptimeRobotEmulator
) -> None:
    uptimerobot.quirks = frozenset({"failing_create"})
    item = {**SHOP, "interval": 300, "timeout": 30, "tags": ["shop"]}
    message = refused(monitors(run, item))
    assert "HTTP 500" in message
    assert "the next run finds it by its name and mends it" in message
    assert good(monitors(run, item), True)["actions"] == ["changed interval, tagNames, timeout of monitor Shop"]
    good(monitors(run, item), False)
    assert len(uptimerobot.monitors) == 1


# States


@pytest.mark.parametrize("first", ["present", "paused", "started", "absent"])
@pytest.mark.parametrize("then", ["present", "paused", "started", "absent"])
def test_from_each_state_to_each_other(run: Runner, uptimerobot: UptimeRobotEmulator, first: str, then: str) -> None:
    good(monitors(run, {**SHOP, "state": first}), first != "absent")
    paused = first == "paused"
    same = first == then or (then == "present" and first != "absent") or (first, then) == ("present", "started")
    good(monitors(run, {**SHOP, "state": then}), not same)
    good(monitors(run, {**SHOP, "state": then}), False)
    assert len(uptimerobot.monitors) == (then != "absent")
    if then != "absent":
        wanted = then == "paused" or (then == "present" and paused)
        assert (stored(uptimerobot, "Shop")["status"] == "PAUSED") is wanted


def test_a_name_is_enough_to_pause_or_remove(run: Runner) -> None:
    good(monitors(run, SHOP), True)
    good(run(MODULE, monitor={"name": "Shop", "state": "paused"}), True)
    good(run(MODULE, monitor={"name": "Shop", "state": "absent"}), True)
    good(run(MODULE, monitor={"name": "Shop", "state": "absent"}), False)
    good(run(MODULE, monitor={"id": 5, "state": "absent"}), False)


def test_what_somebody_else_removes_meanwhile_is_no_error(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    uptimerobot.add_monitor(friendlyName="Shop")
    uptimerobot.quirks = frozenset({"eventual"})
    uptimerobot.settle = 9
    with uptimerobot.lock:
        number = next(iter(uptimerobot.monitors))
        uptimerobot._touch("monitors", number)
        del uptimerobot.monitors[number]
    good(monitors(run, {"name": "Shop", "state": "absent"}), True)


def test_check_mode_says_the_same_and_writes_nothing(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    gone = uptimerobot.add_monitor(friendlyName="Gone")
    uptimerobot.add_monitor(friendlyName="Turned", tagNames=["x"])
    uptimerobot.add_monitor(friendlyName="Stray", tagNames=["ours"])
    items = [
        SHOP,
        {**STATUS, "state": "paused"},
        {"name": "Turned", "state": "paused", "interval": 600},
        {"id": gone, "state": "absent"},
    ]
    given: dict[str, Any] = {"owner_tag": "ours", "purge": True}
    said = good(monitors(run, *items, check=True, **given), True)
    # A key that may only read is enough.
    assert monitors(run, *items, check=True, api_key=READ_ONLY_KEY, **given)["actions"] == said["actions"]
    assert writes(uptimerobot.requests) == []
    done = good(monitors(run, *items, **given), True)
    assert said["actions"] == done["actions"]
    assert said["diff"] == done["diff"]
    assert [one["state"] for one in said["monitors"]] == [one["state"] for one in done["monitors"]]
    assert {one["friendlyName"] for one in uptimerobot.monitors.values()} == {"Shop", "Shop status", "Turned"}
    good(monitors(run, *items, check=True, **given), False)


def test_the_diff_shows_what_the_task_names(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    uptimerobot.add_monitor(friendlyName="Shop", url=SHOP["url"], interval=900, tagNames=["old"])
    answer = good(monitors(run, {**SHOP, "interval": 600, "tags": ["new"]}), True)
    assert len(answer["diff"]) == 1
    diff = answer["diff"][0]
    assert diff["before_header"] == "monitor Shop"
    same = {"friendlyName": "Shop", "url": SHOP["url"]}
    assert json.loads(diff["before"]) == {**same, "interval": 900, "tagNames": ["old"]}
    assert json.loads(diff["after"]) == {**same, "interval": 600, "tagNames": ["new"]}
    assert "diff" not in monitors(run, SHOP, diff=False)


# How many requests


@pytest.mark.parametrize("count", [0, 1, 50, 201])
def test_a_list_costs_its_pages_and_its_writes(run: Runner, uptimerobot: UptimeRobotEmulator, count: int) -> None:
    uptimerobot.monitor_limit = 1000
    items = [{**SHOP, "name": f"n{number}", "url": f"https://www.example.com/{number}"} for number in range(count)]
    # Most of the long list is there already, each as the module makes it.
    there = max(count - 50, 0)
    for item in items[:there]:
        uptimerobot.add_monitor(friendlyName=item["name"], url=item["url"], httpMethodType="GET")
    answer, sent = run.counted(MODULE, monitors=items)
    good(answer, count > 0)
    pages = 1 if count <= 200 else 2
    # The list, the account, the writes, and twice the list with what has been written.
    assert len(sent) == answer["requests"] == (1 + 1 + count - there + 2 * pages if count else 1)
    answer, sent = run.counted(MODULE, monitors=items)
    good(answer, False)
    assert len(sent) == answer["requests"] == pages
    if count:
        items[0]["interval"] = 600
        answer, sent = run.counted(MODULE, monitors=items, settle=0)
        good(answer, True)
        assert len(writes(sent)) == 1


@pytest.mark.parametrize(("quirk", "requests"), [("", 5), ("empty_last_page", 6)])
def test_a_thousand_unchanged_monitors_cost_their_pages(start: Start, quirk: str, requests: int) -> None:
    with valid(UptimeRobotEmulator(plan="Enterprise", quirks={quirk} - {""})) as emulator:
        emulator.seed(1000, tagNames=["ours"])
        run = Runner(emulator, start)
        items = [
            {"name": f"monitor {number}", "type": "HTTP", "url": f"https://www.example.com/{number}"}
            for number in range(1, 1001)
        ]
        answer, sent = run.counted(MODULE, monitors=items, owner_tag="ours", purge=True)
        good(answer, False)
        assert len(sent) == answer["requests"] == requests


def test_names_cost_one_list_each_however_many_use_them(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    uptimerobot.add_contact("Email", "On call", "oncall@example.com")
    uptimerobot.add_window("Nightly")
    uptimerobot.add_group("Web")
    items = [
        {
            **SHOP,
            "name": f"n{number}",
            "alert_contacts": [{"contact": "On call"}],
            "maintenance_windows": ["Nightly"],
            "group": "Web",
        }
        for number in range(5)
    ]
    good(monitors(run, *items), True)
    answer, sent = run.counted(MODULE, monitors=items)
    good(answer, False)
    assert sorted(path for _, path in sent) == [
        "/alert-contacts",
        "/integrations",
        "/maintenance-windows",
        "/monitor-groups",
        "/monitors?limit=200",
    ]


@pytest.mark.parametrize("quirks", [set(), {"reset_epoch", "no_retry_after"}])
def test_the_accounts_limit_is_kept(start: Start, quirks: set[str]) -> None:
    with valid(UptimeRobotEmulator(rate_limit=4, window=1.0, quirks=quirks)) as emulator:
        items = [{**SHOP, "name": f"n{number}"} for number in range(6)]
        run = Runner(emulator, start)
        answer = good(run(MODULE, monitors=items), True)
        assert answer["waited"] >= 1
        assert len(emulator.monitors) == 6
        good(run(MODULE, monitors=items), False)


def test_a_limit_that_the_task_cannot_keep_is_named_before_anything_is_written(start: Start) -> None:
    with valid(UptimeRobotEmulator(rate_limit=10)) as emulator:
        answer = Runner(emulator, start)(
            MODULE, monitors=[{**SHOP, "name": f"n{number}"} for number in range(40)], rate_limit_wait=60
        )
        assert refused(answer) == (
            "40 changes at 10 requests a minute, which is the account's limit, take about 3 minutes, and "
            "rate_limit_wait is 60 s: set it to 240"
        )
        assert emulator.monitors == {}


# Contacts, windows, groups, tags


def test_contacts_are_a_set(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    mail = uptimerobot.add_contact("Email", "", "oncall@example.com")
    slack = uptimerobot.add_integration("Slack", "Team")
    one, two = {"contact": "oncall@example.com"}, {"contact": "Team", "threshold": 5, "recurrence": 60}
    good(monitors(run, {**SHOP, "alert_contacts": [one, two]}), True)
    assert stored(uptimerobot, "Shop")["assignedAlertContacts"] == [
        {"alertContactId": mail, "threshold": 0, "recurrence": 0},
        {"alertContactId": slack, "threshold": 5, "recurrence": 60},
    ]
    good(monitors(run, {**SHOP, "alert_contacts": [two, {"contact": str(mail)}]}), False)
    good(monitors(run, SHOP), False)
    good(monitors(run, {**SHOP, "alert_contacts": [{**two, "threshold": 6}, one]}), True)
    good(monitors(run, {**SHOP, "alert_contacts": []}), True)
    assert stored(uptimerobot, "Shop")["assignedAlertContacts"] == []


def test_windows_and_groups_by_name_and_number(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    nightly, weekly = uptimerobot.add_window("Nightly"), uptimerobot.add_window("Weekly")
    web = uptimerobot.add_group("Web")
    item = {**SHOP, "maintenance_windows": ["Nightly", str(weekly)], "group": "Web"}
    good(monitors(run, item), True)
    assert set(stored(uptimerobot, "Shop")["maintenanceWindowsIds"]) == {nightly, weekly}
    assert stored(uptimerobot, "Shop")["groupId"] == web
    good(monitors(run, {**item, "maintenance_windows": [str(nightly), "Weekly"], "group": str(web)}), False)
    good(monitors(run, {**item, "maintenance_windows": [], "group": ""}), True)
    assert stored(uptimerobot, "Shop")["groupId"] == 0


def test_only_what_has_the_owners_tag_is_purged(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    uptimerobot.add_monitor(friendlyName="Foreign", tagNames=["theirs"])
    uptimerobot.add_monitor(friendlyName="Untagged")
    given: dict[str, Any] = {"owner_tag": "Ours", "purge": True}
    good(monitors(run, SHOP, {**STATUS, "tags": ["web"]}, **given), True)
    assert stored(uptimerobot, "Shop")["tagNames"] == ["ours"]
    assert stored(uptimerobot, "Shop status")["tagNames"] == ["ours", "web"]
    good(monitors(run, SHOP, {**STATUS, "tags": ["web"]}, **given), False)
    assert good(monitors(run, SHOP, **given), True)["actions"] == ["purged monitor Shop status"]
    # Without purge, and with another owner, they stay.
    good(monitors(run, owner_tag="ours"), False)
    good(monitors(run, owner_tag="other", purge=True), False)
    good(monitors(run, **given), True)
    assert {one["friendlyName"] for one in uptimerobot.monitors.values()} == {"Foreign", "Untagged"}


def test_an_owner_is_added_to_what_is_there(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    uptimerobot.add_monitor(friendlyName="Shop", url=SHOP["url"], tagNames=["mine"])
    good(monitors(run, SHOP, owner_tag="ours"), True)
    assert stored(uptimerobot, "Shop")["tagNames"] == ["mine", "ours"]
    good(monitors(run, SHOP, owner_tag="ours"), False)


# Secrets


def test_a_password_is_sent_when_it_is_said_to_be(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    item = {**SHOP, "auth_type": "HTTP_BASIC", "http_username": "uptime", "http_password": PASSWORD}
    good(monitors(run, item), True)
    # UptimeRobot tells the password here, so that it is compared.
    good(monitors(run, item), False)
    good(monitors(run, {**item, "http_password": PASSWORD + "2"}), True)
    assert stored(uptimerobot, "Shop")["httpPassword"] == PASSWORD + "2"
    good(monitors(run, {**item, "http_password": PASSWORD + "2"}, **ALWAYS), True)
    assert PASSWORD not in run.output


def test_a_password_that_is_not_told_is_sent_once_or_always(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    item = {**SHOP, "auth_type": "HTTP_BASIC", "http_username": "uptime", "http_password": PASSWORD}
    good(monitors(run, item), True)
    one = stored(uptimerobot, "Shop")
    one.update(httpUsername="", httpPassword="", authType="HTTP_BASIC")
    answer = good(monitors(run, item), False)
    assert "does not tell how it logs in" in json.dumps(answer["warnings"])
    good(monitors(run, item, **ALWAYS), True)
    assert one["httpPassword"] == PASSWORD


def test_secrets_are_in_no_answer(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    item, _ = EVERY_TYPE[0]
    good(monitors(run, item), True)
    secret = {"X-Token": TOKEN + "2"}
    answer = good(monitors(run, {**item, "secret_http_headers": secret, "http_password": "planted-other"}), True)
    shown = json.loads(answer["diff"][0]["after"])
    assert shown["httpPassword"] == "(hidden, changed)"
    assert answer["diff"][0]["before"] != answer["diff"][0]["after"]
    good(monitors(run, {**item, "state": "absent"}), True)
    uptimerobot.fail_next(9, Answer(400, json.dumps({"message": f"bad {PASSWORD} {TOKEN} {API_KEY}"})))
    assert "********" in refused(monitors(run, item))
    assert "planted" not in run.output
    assert API_KEY not in run.output


def test_where_beats_go_is_in_the_result_alone(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    beat, change = EVERY_TYPE[4]
    made = good(monitors(run, beat), True)
    where = made["monitors"][0]["heartbeat_url"]
    assert where == stored(uptimerobot, "Beat")["url"]
    assert made["monitors"][0]["url"] == ""
    changed = good(monitors(run, {**beat, **change}), True)
    gone = good(monitors(run, {**beat, "state": "absent"}), True)
    for answer in (made, changed, gone):
        assert where.rsplit("/", 1)[-1] not in json.dumps([answer["diff"], answer["actions"]])
    assert gone["monitors"][0]["heartbeat_url"] == ""


# Plans


def with_fallback(**more: Any) -> dict[str, Any]:
    """Return the monitor of the status with a keyword as its fallback."""
    return {**STATUS, **more, "fallback": KEYWORD}


def test_a_fallback_takes_the_place_of_what_the_plan_lacks(start: Start) -> None:
    with valid(UptimeRobotEmulator(plan="Free")) as emulator:
        run = Runner(emulator, start)
        items = [with_fallback(), with_fallback(name="Other status")]
        answer = good(monitors(run, *items), True)
        assert [one["type"] for one in answer["monitors"]] == ["KEYWORD", "KEYWORD"]
        assert stored(emulator, "Shop status")["keywordType"] == "ALERT_NOT_EXISTS"
        # One refusal is enough to know.
        assert [one[0] for one in writes(emulator.requests)] == ["POST"] * 3
        good(monitors(run, *items), False)
        good(monitors(run, {**items[0], "state": "absent"}), True)
        assert [one["friendlyName"] for one in emulator.monitors.values()] == ["Other status"]


def test_a_fallback_rests_where_the_plan_has_the_type(run: Runner) -> None:
    assert good(monitors(run, with_fallback()), True)["monitors"][0]["type"] == "API"
    good(monitors(run, with_fallback()), False)


def test_what_the_free_plan_surely_lacks_is_not_tried(start: Start) -> None:
    with valid(UptimeRobotEmulator(plan="Free")) as emulator:
        run = Runner(emulator, start)
        beat = {"name": "Beat", "type": "HEARTBEAT", "fallback": {"type": "PING", "url": "www.example.com"}}
        assert good(monitors(run, beat), True)["monitors"][0]["type"] == "PING"
        assert len(writes(emulator.requests)) == 1


FREE_PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"interval": 60}, "interval is 60, and the plan Free allows 300 s at least"),
    ({"alert_contacts": [{"contact": "On call", "threshold": 5}]}, "alert_contacts has a threshold or a recurrence"),
    ({"alert_contacts": [{"contact": "On call", "recurrence": 5}]}, "alert_contacts has a threshold or a recurrence"),
    ({"custom_fields": {"a": "b"}}, "custom_fields is nothing that the plan Free has"),
    ({"ssl_expiration_reminder": True}, "ssl_expiration_reminder is nothing that the plan Free has"),
    ({"config": {"sslExpirationPeriodDays": [7]}}, "config.sslExpirationPeriodDays is nothing that the plan Free has"),
    ({"name": "Beat", "type": "HEARTBEAT", "url": None}, "the plan Free has no monitors of the type HEARTBEAT"),
]


@pytest.mark.parametrize(("item", "said"), FREE_PROBLEMS, ids=[str(number) for number in range(len(FREE_PROBLEMS))])
def test_what_the_plan_lacks_is_named_before_anything_is_written(start: Start, item: dict[str, Any], said: str) -> None:
    with valid(UptimeRobotEmulator(plan="Free")) as emulator:
        emulator.add_contact("Email", "On call", "oncall@example.com")
        emulator.add_monitor(friendlyName="Other", tagNames=["ours"])
        other = {**SHOP, "name": "Right"}
        run = Runner(emulator, start)
        for check in (True, False):
            answer = monitors(run, other, {**SHOP, **item}, owner_tag="ours", purge=True, check=check)
            assert said in refused(answer)
            assert answer["changed"] is False
            assert refused(answer).count("\n") == 0
        assert writes(emulator.requests) == []


def test_a_change_below_the_floor_is_named(start: Start) -> None:
    with valid(UptimeRobotEmulator(plan="Solo")) as emulator:
        emulator.add_monitor(friendlyName="Shop", url=SHOP["url"])
        message = refused(monitors(Runner(emulator, start), {**SHOP, "interval": 30}))
        assert "interval is 30, and the plan Solo allows 60 s at least" in message
        assert writes(emulator.requests) == []


def test_a_full_account_is_named_and_makes_room(start: Start) -> None:
    with valid(UptimeRobotEmulator(plan="Solo", monitor_limit=2)) as emulator:
        run = Runner(emulator, start)
        old = [emulator.add_monitor(friendlyName=f"Old {number}") for number in range(2)]
        message = refused(monitors(run, SHOP))
        assert message == (
            "1 monitors would be made, and the plan Solo has room for 0 more (paused ones count, too): remove some, or "
            "take another plan"
        )
        assert writes(emulator.requests) == []
        good(monitors(run, SHOP, {"id": old[0], "state": "absent"}), True)
        assert len(emulator.monitors) == 2


def test_what_may_be_refused_is_tried_first(start: Start) -> None:
    """A type that the plan turns out not to have must not be found out after half of the list."""
    with valid(UptimeRobotEmulator(refused_types={"API"})) as emulator:
        answer = monitors(Runner(emulator, start), SHOP, STATUS)
        message = refused(answer)
        assert message.startswith("monitor Shop status: POST ")
        assert "take another plan, or leave the setting out" in message
        assert (answer["changed"], emulator.monitors) == (False, {})


# Bad input


def test_a_wrong_key(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    message = refused(monitors(run, SHOP, api_key="u1-wrong"))
    assert "HTTP 401" in message
    assert "set api_key or UPTIMEROBOT_API_KEY to the account's main key" in message
    assert "u1-wrong" not in run.output
    assert len(uptimerobot.requests) == 1


def test_no_key(run: Runner) -> None:
    assert "api_key" in refused(monitors(run, SHOP, api_key=None))


def test_key_and_url_come_from_the_environment(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    environment = {"UPTIMEROBOT_API_KEY": API_KEY, "UPTIMEROBOT_API_URL": uptimerobot.url}
    good(monitors(run, SHOP, api_key=None, url=None, environment=environment), True)


def test_a_key_that_may_only_read(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    message = refused(monitors(run, SHOP, STATUS, api_key=READ_ONLY_KEY))
    assert message.startswith("2 changes would be needed, and the key may only read: set api_key")
    assert writes(uptimerobot.requests) == []
    good(monitors(run, SHOP), True)
    good(monitors(run, SHOP, api_key=READ_ONLY_KEY), False)


def test_a_read_only_key_of_another_look(start: Start) -> None:
    """Where the key does not say what it is, UptimeRobot does."""
    with valid(UptimeRobotEmulator(read_only_key="r-key")) as emulator:
        answer = monitors(Runner(emulator, start), SHOP, api_key="r-key")
        assert "is it the main key" in refused(answer)
        assert (answer["changed"], answer["actions"]) == (False, [])


def test_an_unknown_contact(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    uptimerobot.add_contact("Email", "On call", "oncall@example.com")
    items = [{**STATUS}, {**SHOP, "alert_contacts": [{"contact": "Nobody"}]}]
    message = refused(monitors(run, *items))
    assert message == "monitor Shop: the account has no contact Nobody; it has On call"
    items[1]["alert_contacts"] = [{"contact": "4711"}]
    assert "no contact with the id 4711" in refused(monitors(run, *items))
    items[1]["alert_contacts"] = [{"contact": "On call"}]
    uptimerobot.add_integration("Slack", "On call")
    assert "several of the kind contact have the name On call" in refused(monitors(run, *items))
    assert writes(uptimerobot.requests) == []


def test_two_monitors_of_one_name(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    ids = [uptimerobot.add_monitor(friendlyName="Shop", url=SHOP["url"]) for _ in range(2)]
    for state in ("present", "absent", "paused"):
        message = refused(monitors(run, {**SHOP, "state": state}, STATUS))
        assert "\n" not in message
        assert all(str(number) in message for number in ids)
        assert "set id to the right one" in message
    assert writes(uptimerobot.requests) == []
    good(monitors(run, {**SHOP, "id": ids[0], "state": "paused"}), True)


def test_one_name_and_two_types_are_two_monitors(run: Runner) -> None:
    good(monitors(run, SHOP, {**SHOP, **KEYWORD}), True)
    good(monitors(run, SHOP, {**SHOP, **KEYWORD}), False)
    assert "set id to the right one" in refused(monitors(run, {"name": "Shop", "state": "absent"}))


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "http://127.0.0.1:8080/x",
        "https://10.1.2.3/",
        "http://192.168.0.1/",
        "http://172.20.0.1/",
        "http://169.254.169.254/",
        "http://[::1]/",
        "http://[fd00::1]/",
        "http://db.internal/",
        "http://printer.local./",
    ],
)
def test_a_private_url(run: Runner, uptimerobot: UptimeRobotEmulator, url: str) -> None:
    message = refused(monitors(run, STATUS, {**SHOP, "url": url}))
    assert message.startswith(f"monitor Shop: url is {url!r}, which is private")
    assert uptimerobot.requests == []


BAD: list[tuple[dict[str, Any], str]] = [
    ({"type": "WEB"}, "type is 'WEB'; it must be one of HTTP, KEYWORD"),
    ({"name": ""}, "name is missing"),
    ({"url": "shop.example.com"}, "it starts with http:// or https://"),
    ({"url": "https://user:pw@shop.example.com/"}, "url holds a password"),
    ({"name": "Tom &amp; Jerry"}, "write 'Tom & Jerry'"),
    ({"interval": 10}, "interval is 10; it must be from 30 to 2678400"),
    ({"timeout": 61}, "timeout is 61; it must be from 0 to 60"),
    ({"port": 80}, "a monitor of the type HTTP has no port"),
    ({"post_value_data": "x"}, "needs a method that has a body"),
    ({"http_password": "x"}, "http_password needs auth_type"),
    ({"http_headers": {"A": "1"}, "secret_http_headers": {"a": "2"}}, "both have a"),
    ({"config": {"udp": {}}}, "config.udp is none of the type HTTP; it takes sslExpirationPeriodDays"),
    ({"config": {"sslExpirationPeriodDays": [400]}}, "up to 10 numbers of days from 0 to 365"),
    ({"config": {"ipVersion": "4"}}, "must be ipv4Only or ipv6Only"),
    ({"type": "API", "config": {}}, "config.apiAssertions is missing"),
    ({"type": "API", "config": {"apiAssertions": {"logic": "XOR", "checks": []}}}, "must be AND or OR"),
    (
        {"type": "API", "config": {"apiAssertions": {"logic": "AND", "checks": [{"property": "status"}]}}},
        "must start with $",
    ),
    ({"type": "API", "method": "HEAD", "config": {"apiAssertions": ASSERTIONS}}, "method is HEAD"),
    ({**KEYWORD, "method": "HEAD"}, "whose answer holds no keyword"),
    ({"type": "PORT", "url": "db.example.com"}, "to make it port must be given"),
    ({"type": "KEYWORD"}, "to make it keyword_type and keyword_value must be given"),
    ({"type": "HEARTBEAT"}, "a monitor of the type HEARTBEAT has no url"),
    ({"type": "DNS", "url": "example.com", "config": {"dnsRecords": {"B": []}}}, "config.dnsRecords has B"),
    ({"tags": ["a,b"]}, "a tag is a text without a comma"),
    ({"custom_fields": {"a b": "c"}}, "custom_fields.a b: a key is"),
    ({"fallback": {"type": "HTTP"}}, "fallback: type is HTTP again"),
    ({"fallback": {"type": "KEYWORD", "config": {"x": 1}}}, "fallback: config.x is none of the type KEYWORD"),
    ({"id": 4711}, "the account has no monitor with the id 4711"),
]


@pytest.mark.parametrize(("item", "said"), BAD, ids=[said[:30] for _, said in BAD])
def test_what_is_wrong_with_a_declaration_is_said_at_once(
    run: Runner, uptimerobot: UptimeRobotEmulator, item: dict[str, Any], said: str
) -> None:
    message = refused(monitors(run, {**SHOP, "name": "Right"}, {**SHOP, **item}))
    assert said in message
    assert writes(uptimerobot.requests) == []


def test_everything_that_is_wrong_is_said_in_one_message(run: Runner) -> None:
    message = refused(monitors(run, {**SHOP, "port": 1, "interval": 1}, SHOP, {**STATUS, "timeout": 99}, purge=True))
    assert len(message.splitlines()) == 5
    assert "2 monitors of the task of the type HTTP have the name Shop" in message
    assert "purge needs owner_tag" in message


def test_a_type_cannot_be_changed(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    number = uptimerobot.add_monitor(friendlyName="Shop")
    message = refused(monitors(run, {**SHOP, **KEYWORD, "id": number}))
    assert f"the monitor with the id {number} is of the type HTTP, and a type cannot be changed" in message


def test_one_monitor_by_name_and_by_id(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    number = uptimerobot.add_monitor(friendlyName="Shop")
    assert "are one monitor" in refused(monitors(run, SHOP, {"id": number, "name": "Other"}))


def test_a_type_that_is_left_out_is_that_of_the_monitor(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    uptimerobot.add_monitor(friendlyName="Shop", type="PING")
    assert "a monitor of the type PING has no method" in refused(monitors(run, {"name": "Shop", "method": "GET"}))
    assert "to make it type must be given" in refused(monitors(run, {"name": "New"}))


def test_a_refusal_on_the_way_says_what_was_done(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    uptimerobot.add_monitor(friendlyName="Old", tagNames=["ours"])
    refusing = "https://refused.localhost.example.com/"
    real = uptimerobot._check_url

    def check(kind: str, address: str) -> None:
        real(kind, "http://localhost/" if address == refusing else address)

    uptimerobot._check_url = check  # type: ignore[method-assign]
    answer = monitors(run, SHOP, {**SHOP, "name": "Bad", "url": refusing}, owner_tag="ours", purge=True)
    assert refused(answer).startswith("monitor Bad: POST ")
    assert "blacklisted" in refused(answer)
    assert (answer["changed"], answer["actions"]) == (True, ["created monitor Shop"])
    # What is there is removed last.
    assert stored(uptimerobot, "Old")


def test_a_place_without_the_api(run: Runner, uptimerobot: UptimeRobotEmulator) -> None:
    assert "must be like https://api.uptimerobot.com/v3" in refused(monitors(run, SHOP, url="api.uptimerobot.com"))
    assert "HTTP 404" in refused(monitors(run, SHOP, url=uptimerobot.base_url + "/v2"))
    uptimerobot.invalid.clear()


# Through ansible-playbook


def test_a_playbook_twice_with_check_and_diff(tmp_path: Path, uptimerobot: UptimeRobotEmulator) -> None:
    uptimerobot.quirks = QUIRKS - BREAKING - {"eventual", "number_ids", "reset_epoch", "reset_delta"}
    uptimerobot.add_contact("Email", "On call", "oncall@example.com")
    items = [{**item, "alert_contacts": [{"contact": "On call"}]} for item, _ in EVERY_TYPE]
    tasks = [{"name": "Watch", MODULE: {"monitors": items, "owner_tag": "ours", "purge": True}}]
    said = play(tmp_path, uptimerobot, tasks, "--check", "--diff", "-vvv")
    assert said.code == 0, said.output
    assert writes(uptimerobot.requests) == []
    assert "changed=1" in said.output
    first = play(tmp_path, uptimerobot, tasks, "--diff", "-vvv", CI="true")
    assert "changed=1" in first.output
    second = play(tmp_path, uptimerobot, tasks, "--diff", "-vvv")
    assert "changed=0" in second.output, second.output
    for done in (said, first, second):
        assert "planted" not in done.output
        assert API_KEY not in done.output


def test_waits_are_shown_while_they_last(tmp_path: Path, uptimerobot: UptimeRobotEmulator) -> None:
    uptimerobot.rate_limit, uptimerobot.window = 3, 1.0
    items = [{**SHOP, "name": f"n{number}"} for number in range(3)]
    done = play(tmp_path, uptimerobot, [{"name": "Watch", MODULE: {"monitors": items, "settle": 0}}])
    assert done.code == 0, done.output
    lines = done.output.splitlines()
    shown = [number for number, line in enumerate(lines) if line.startswith("Watch: UptimeRobot's limit of 3 requests")]
    assert shown
    assert max(shown) < next(number for number, line in enumerate(lines) if "changed" in line)


@pytest.mark.parametrize(
    ("item", "environment", "said"),
    [
        (SHOP, {"UPTIMEROBOT_API_KEY": "u1-wrong"}, "does not know the key"),
        (SHOP, {"UPTIMEROBOT_API_KEY": READ_ONLY_KEY}, "the key may only read"),
        ({**SHOP, "url": "http://10.0.0.1/"}, {}, "which is private"),
        ({**SHOP, "interval": 30}, {}, "the plan Team allows 60 s at least"),
        ({**SHOP, "alert_contacts": [{"contact": "Nobody"}]}, {}, "the account has no contact Nobody"),
    ],
)
def test_a_playbook_with_bad_input(
    tmp_path: Path, uptimerobot: UptimeRobotEmulator, item: dict[str, Any], environment: dict[str, str], said: str
) -> None:
    done = play(tmp_path, uptimerobot, [{MODULE: {"monitor": item}}], **environment)
    assert done.code == 2
    assert said in " ".join(done.output.split())
    assert "Traceback" not in done.output
    assert writes(uptimerobot.requests) == []


# Documentation


def documented() -> dict[str, Any]:
    """Return the names of the module, its argument spec among them."""
    names: dict[str, Any] = {}
    text = (ROOT / "library" / f"{MODULE}.py").read_text(encoding="utf-8")
    code = text.replace('if __name__ == "__main__"', "if False") + "\nimport ansible.module_utils.basic as b\n"
    catch = (
        "class Caught(Exception): pass\n"
        "def AnsibleModule(**given): raise Caught(given['argument_spec'])\n"
        "try: main()\nexcept Caught as caught: SPEC = caught.args[0]\n"
    )
    exec(compile(code + catch, MODULE, "exec"), names)  # noqa: S102 - the project's own module
    return names


def test_the_documentation_is_the_argument_spec() -> None:
    """Options, types, defaults, choices and what is required, on every level."""
    names = documented()
    fragment_text = (ROOT / "plugins" / "doc_fragments" / "uptimerobot.py").read_text(encoding="utf-8")
    fragment = yaml.safe_load(re.findall(r'r"""(.*?)"""', fragment_text, re.DOTALL)[0])
    about = yaml.safe_load(names["DOCUMENTATION"])
    assert about["module"] == MODULE
    assert about["extends_documentation_fragment"] == ["uptimerobot"]
    compare({**about["options"], **fragment["options"]}, names["SPEC"], MODULE)
    answer = yaml.safe_load(names["RETURN"])
    assert set(answer) == {"actions", "monitors", "requests", "waited"}


def test_ansible_doc_shows_it_all(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-doc"), "--type", "module", "--json", MODULE],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)[MODULE]
    assert {"api_key", "url", "monitors", "owner_tag"} <= set(shown["doc"]["options"])
    assert shown["return"]


def test_the_examples_run(tmp_path: Path, uptimerobot: UptimeRobotEmulator) -> None:
    examples = yaml.safe_load(documented()["EXAMPLES"])
    uptimerobot.add_contact("Email", "", "oncall@example.com")
    uptimerobot.add_integration("Slack", "Team channel")
    uptimerobot.add_monitor(friendlyName="Old shop")
    # The pause of what another example makes is undone by nothing: the second run finds it.
    values = "--extra-vars=vault_intranet_password=planted-intranet"
    first = play(tmp_path, uptimerobot, examples, values)
    assert first.code == 0, first.output
    assert f"changed={len(examples)}" in first.output
    second = play(tmp_path, uptimerobot, examples, values)
    assert second.code == 0, second.output
    assert "changed=0" in second.output
    assert "Old shop" not in {one["friendlyName"] for one in uptimerobot.monitors.values()}
