"""The emulator answers as UptimeRobot's description says and as its clients have met it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.emulators.uptimerobot import HANDLERS, PLANS, QUIRKS, SCHEMA, TYPES, UptimeRobotEmulator, operations

ROOT = Path(__file__).resolve().parents[2]
OPENAPI = "WATCHKEEPER_UPTIMEROBOT_OPENAPI"
KEY, READ_KEY = "u1-main-key", "ur1-read-key"
HTTP = {"friendlyName": "Shop", "type": "HTTP", "url": "https://shop.example.com/", "interval": 300, "timeout": 30}
ASSERTION = {"property": "$.status", "comparison": "equals", "target": "ok"}
# The least that a monitor of each type needs.
LEAST: dict[str, dict[str, Any]] = {
    "HTTP": HTTP,
    "KEYWORD": {
        **HTTP,
        "type": "KEYWORD",
        "keywordType": "ALERT_NOT_EXISTS",
        "keywordCaseType": "CaseInsensitive",
        "keywordValue": " ok ",
    },
    "API": {**HTTP, "type": "API", "config": {"apiAssertions": {"logic": "AND", "checks": [ASSERTION]}}},
    "PING": {**HTTP, "type": "PING", "url": "shop.example.com"},
    "PORT": {**HTTP, "type": "PORT", "url": "shop.example.com", "port": 25},
    "HEARTBEAT": {"friendlyName": "Alerts", "type": "HEARTBEAT", "interval": 300},
    "DNS": {
        "friendlyName": "Zone",
        "type": "DNS",
        "url": "example.com",
        "interval": 300,
        "config": {"dnsRecords": {"A": ["192.0.2.1"]}},
    },
    "UDP": {
        **HTTP,
        "type": "UDP",
        "url": "shop.example.com",
        "port": 53,
        "config": {"udp": {"packetLossThreshold": 50}},
    },
    "VISUAL_COMPARISON": {
        "friendlyName": "Look",
        "type": "VISUAL_COMPARISON",
        "url": "https://shop.example.com/",
        "interval": 300,
        "config": {"visualComparison": {"sensitivityThreshold": 10, "viewport": "desktop"}},
    },
}
WINDOW = {"name": "Release", "interval": "once", "date": "2030-01-31", "time": "22:00:00", "duration": 60}
SLACK = {
    "type": "Slack",
    "data": {"friendlyName": "Ops", "webhookURL": "https://hooks.example.com/1", "customValue": ""},
}


@dataclass
class Client:
    """Somebody who talks to an emulator."""

    emulator: UptimeRobotEmulator
    key: str = KEY

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any, dict[str, str]]:
        """Status, data (text where it is not JSON) and headers of an answer; `path` may be a whole URL."""
        url = path if path.startswith("http") else self.emulator.url + path
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key or self.key}"}
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                status, text, told = answer.status, answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                status, text, told = error.code, error.read().decode(), dict(error.headers)
        try:
            return status, json.loads(text) if text else None, told
        except ValueError:
            return status, text, told

    def __call__(self, method: str, path: str, body: Any = None, status: int = 0) -> Any:
        """The data of an answer with this status, by default of a success."""
        got, data, _ = self.ask(method, path, body)
        assert got == status if status else 200 <= got < 300, (method, path, got, data)
        return data

    def all(self, path: str) -> tuple[list[Any], int]:
        """All items of a list, and how many requests that took."""
        items: list[Any] = []
        link: str | None = path
        count = 0
        while link:
            page = self("GET", link)
            items += page["data"]
            link = page["nextLink"]
            count += 1
        return items, count


@pytest.fixture
def service() -> Iterator[UptimeRobotEmulator]:
    with UptimeRobotEmulator() as emulator:
        yield emulator


@pytest.fixture
def ask(service: UptimeRobotEmulator) -> Client:
    return Client(service)


# The description


def plainly(schema: Any, parts: dict[str, Any]) -> Any:
    """A schema of either form without words and references, so that the two can be compared."""
    if isinstance(schema, list):
        return [plainly(item, parts) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return plainly(parts[schema["$ref"].rsplit("/", 1)[1]], parts)
    kept = {"type", "enum", "items", "required", "oneOf", "format", "minimum", "maximum"}
    kept |= {"minLength", "maxLength", "minItems", "maxItems"}
    result = {key: plainly(value, parts) for key, value in schema.items() if key in kept}
    for one in schema.get("allOf", []):
        result.update(plainly(one, parts))
    if "properties" in schema:
        result["properties"] = {name: plainly(item, parts) for name, item in schema["properties"].items()}
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = plainly(schema["additionalProperties"], parts)
    if "pattern" in schema:
        result["pattern"] = schema["pattern"].strip("/")
    if schema.get("nullable"):
        result["type"] = [result["type"], "null"]
        if "enum" in result:
            result["enum"] = [*result["enum"], None]
    for key in ("enum", "required"):
        if key in result:
            result[key] = sorted(result[key], key=str)
    return result


def described(document: dict[str, Any]) -> dict[str, Any]:
    """The requests of the vendor's description: `METHOD /path` (and the type) to query and body."""
    parts = document["components"]["schemas"]
    result: dict[str, Any] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path}"
            query = {
                item["name"]: plainly(item["schema"], {})
                for item in operation.get("parameters", [])
                if item["in"] == "query"
            }
            content = operation.get("requestBody", {}).get("content", {})
            body = next((item["schema"] for item in content.values()), None)
            for schema in body.get("oneOf", [body]) if body else [None]:
                plain = plainly(schema, parts) if schema else None
                several = body is not None and "oneOf" in body
                kind = f" {plain['properties']['type']['enum'][0]}" if several and plain else ""
                result[name + kind] = {"query": query, "body": plain}
    return result


def ours() -> dict[str, Any]:
    """The same of the emulator's schema."""
    result: dict[str, Any] = {}
    nothing: dict[str, Any] = {"": None}
    for name, operation in operations().items():
        for kind, schema in (operation.bodies or nothing).items():
            body = plainly(schema, {}) if schema else None
            if body == {"type": "object", "properties": {}}:
                body = {"type": "object"}
            query = plainly({"properties": operation.query}, {})["properties"]
            result[f"{name} {kind}".strip()] = {"query": query, "body": body}
    return result


def taken(schema: Any, pointer: str) -> Any:
    """Take what a pointer names out of a schema."""
    *way, last = pointer.strip("/").split("/")
    for step in way:
        schema = schema[step]
    return schema.pop(last, None)


def test_the_schema_has_the_facts_of_the_vendors_description() -> None:
    place = os.environ.get(OPENAPI)
    if not place:
        pytest.skip(f"{OPENAPI} does not name the vendor's description")
    theirs = described(yaml.safe_load(Path(place).read_text(encoding="utf-8")))
    mine = ours()
    left_out = {name.split(" ")[1] for name in set(theirs) - set(mine)}
    assert {path for path in left_out if not path.startswith(("/incidents", "/monitors/bulk/"))} == {
        "/monitors/uptime-stats",
        "/monitors/{id}/stats/uptime",
        "/monitors/{id}/stats/response-time",
        "/monitors/{id}/stats/response-time/all",
    }
    assert set(mine) <= set(theirs)
    for rule, pointers in yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))["differs"].items():
        # A request with a body for each type is meant with all of them.
        names = [name for name in mine if name == rule or " ".join(name.split()[:2]) == rule]
        for pointer in pointers:
            apart = [taken(mine[name], pointer) != taken(theirs[name], pointer) for name in names]
            assert any(apart), f"{rule}: {pointer} does not differ"
    for name, request in mine.items():
        assert request == theirs[name], name


def test_each_request_of_the_schema_is_served() -> None:
    assert set(HANDLERS) == set(operations())
    assert set(operations()["POST /monitors"].bodies) == set(TYPES) == set(LEAST)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"foo": 1}, "property foo should not exist"),
        ({"status": "PAUSED"}, "property status should not exist"),
        ({"timeout": None}, "timeout must not be greater than 60, timeout must not be less than 0"),
        ({"friendlyName": None}, "friendlyName should not be null or undefined"),
        ({"type": "TELNET"}, "type must be one of the following values: HTTP"),
        ({"interval": "300"}, "interval must be a number"),
        ({"interval": 29}, "interval must not be less than 30"),
        ({"timeout": 61}, "timeout must not be greater than 60"),
        ({"friendlyName": "x" * 251}, "friendlyName must be shorter than or equal to 250 characters"),
        ({"tagNames": "web"}, "tagNames must be an array"),
        ({"followRedirections": 1}, "followRedirections must be a boolean"),
        ({"httpMethodType": "get"}, "httpMethodType must be one of the following values: HEAD, GET"),
        ({"port": 80}, "property port should not exist"),
        ({"keywordCaseType": 1}, "property keywordCaseType should not exist"),
        ({"config": {"apiAssertions": {}}}, "property config.apiAssertions should not exist"),
        (
            {"config": {"sslExpirationPeriodDays": [400]}},
            "config.sslExpirationPeriodDays.0 must not be greater than 365",
        ),
        ({"assignedAlertContacts": [{"alertContactId": 1}]}, "assignedAlertContacts.0.threshold should not be null"),
        ({"customHttpHeaders": {"X-A": 1}}, "customHttpHeaders.X-A must be a string"),
    ],
)
def test_a_body_against_the_description_is_refused_and_remembered(
    service: UptimeRobotEmulator, ask: Client, body: dict[str, Any], said: str
) -> None:
    given = {name: value for name, value in {**HTTP, **body}.items() if value is not None}
    status, answer, _ = ask.ask("POST", "/monitors", given)
    assert (status, said in answer["message"]) == (400, True), answer
    assert len(service.invalid) == 1
    assert "POST /v3/monitors: " in service.invalid[0]
    assert not service.monitors
    assert [(record["accepted"], record["status"]) for record in service.records] == [(False, 400)]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/monitors?limit=201", None, 400, "limit must not be greater than 200"),
        ("GET", "/monitors?limit=all", None, 400, "limit must be a number"),
        ("GET", "/psps?limit=50", None, 400, "property limit should not exist"),
        ("GET", "/monitors/abc", None, 400, "abc must be a number"),
        ("DELETE", "/monitors/1", {"force": True}, 400, "a body is not taken"),
        ("PUT", "/monitors/1", {}, 404, "Cannot PUT /v3/monitors/1"),
        ("GET", "/nothing", None, 404, "Cannot GET /v3/nothing"),
        ("POST", "/monitors", b"{", 400, "the body is not JSON"),
        ("POST", "/monitors", [], 400, "body must be an object"),
        ("POST", "/psps", {"friendlyName": "x", "sort": "up"}, 400, "sort must be one of"),
        ("POST", "/maintenance-windows", {**WINDOW, "time": "24:00:00"}, 400, "time must match"),
        ("POST", "/integrations", {**SLACK, "data": {"friendlyName": "x"}}, 400, "data.webhookURL should not be null"),
        ("POST", "/integrations", {**SLACK, "type": "slack"}, 400, "type must be one of"),
        ("PATCH", "/integrations/1", {"data": {}}, 400, "type must be one of"),
        ("POST", "/alert-contacts", {"type": "Email", "enableNotificationsFor": "Down"}, 400, "must be one of"),
        ("POST", "/monitor-groups", {}, 400, "name should not be null"),
    ],
)
def test_a_request_against_the_description_is_refused_and_remembered(
    service: UptimeRobotEmulator, ask: Client, method: str, path: str, body: Any, status: int, said: str
) -> None:
    got, answer, _ = ask.ask(method, path, body)
    assert (got, said in answer["message"]) == (status, True), answer
    assert len(service.invalid) == 1
    service.forget()
    assert service.requests == []
    assert len(service.invalid) == 1


# Keys, plans and limits


def test_keys(service: UptimeRobotEmulator, ask: Client) -> None:
    number, other = service.seed(2)
    service.monitor_keys = {"m1-key": number}
    assert ask.ask("GET", "/user/me", key="wrong")[:2] == (401, {"message": "Invalid API key", "code": "003-005"})
    assert ask.ask("GET", "/monitors", key=READ_KEY)[0] == 200
    assert ask.ask("DELETE", f"/monitors/{number}", key=READ_KEY)[0] == 403
    assert ask.ask("POST", "/monitors", HTTP, key=READ_KEY)[0] == 403
    assert [item["id"] for item in ask.ask("GET", "/monitors", key="m1-key")[1]["data"]] == [number]
    assert ask.ask("GET", f"/monitors/{other}", key="m1-key")[0] == 403
    assert ask.ask("POST", f"/monitors/{number}/pause", key="m1-key")[0] == 201
    assert ask.ask("POST", "/monitors", HTTP, key="m1-key")[0] == 403
    assert ask.ask("GET", "/user/me", key="m1-key")[0] == 403
    assert len(service.monitors) == 2
    assert service.invalid == []


def test_what_is_another_accounts_is_not_shown(service: UptimeRobotEmulator, ask: Client) -> None:
    number = service.add_foreign()
    for path in ("monitors", "psps", "maintenance-windows", "integrations"):
        status, answer, _ = ask.ask("GET", f"/{path}/{number}")
        assert (status, answer["code"]) == (403, "000-006"), path
    assert ask.ask("POST", "/psps", {"friendlyName": "x", "monitorIds": [number]})[1]["code"] == "000-006"


@pytest.mark.parametrize(
    "body",
    [
        LEAST["HEARTBEAT"],
        LEAST["API"],
        {**HTTP, "interval": 60},
        {**HTTP, "sslExpirationReminder": True},
        {**HTTP, "customFields": {"a": "b"}},
        {**HTTP, "config": {"sslExpirationPeriodDays": [7]}},
    ],
)
def test_the_free_plan_lacks_much(body: dict[str, Any]) -> None:
    with UptimeRobotEmulator(plan="Free") as service:
        status, answer, _ = Client(service).ask("POST", "/monitors", body)
        assert (status, answer["code"]) == (403, "000-003")
        assert Client(service).ask("POST", "/monitors", HTTP)[0] == 201
        assert service.invalid == []


def test_the_free_plan_has_one_page_and_no_waits_of_contacts() -> None:
    with UptimeRobotEmulator(plan="Free") as service:
        ask = Client(service)
        contact = service.add_contact("Email", "Ops", "ops@example.com")
        wait = {"alertContactId": contact, "threshold": 5, "recurrence": 0}
        assert ask.ask("POST", "/monitors", {**HTTP, "assignedAlertContacts": [wait]})[0] == 403
        assert ask.ask("POST", "/monitors", {**HTTP, "assignedAlertContacts": [{**wait, "threshold": 0}]})[0] == 201
        assert ask.ask("POST", "/psps", {"friendlyName": "x", "customDomain": "status.example.com"})[0] == 403
        assert ask.ask("POST", "/psps", {"friendlyName": "x"})[0] == 201
        assert ask.ask("POST", "/psps", {"friendlyName": "y"})[1]["code"] == "000-003"
        assert ask.ask("POST", "/monitor-groups", {"name": "x"})[0] == 403


def test_plans_differ_in_types_integrations_and_the_number_of_monitors() -> None:
    pager = {"type": "Pagerduty", "data": {"integrationKey": "k" * 32}}
    with UptimeRobotEmulator(plan="Solo", refused_types={"API"}, monitor_limit=1) as service:
        ask = Client(service)
        assert ask.ask("POST", "/integrations", pager)[1]["code"] == "021-003"
        assert ask.ask("POST", "/monitors", LEAST["API"])[1]["code"] == "000-003"
        assert ask.ask("POST", "/monitors", LEAST["HEARTBEAT"])[0] == 201
        status, answer, _ = ask.ask("POST", "/monitors", HTTP)
        assert (status, "monitor limit" in answer["message"]) == (403, True)
        account = ask("GET", "/user/me")
        assert (account["monitorsCount"], account["monitorLimit"]) == (1, 1)
        assert account["activeSubscription"] == {"plan": "Solo", "monitorLimit": 1}
    assert set(PLANS) == {"Free", "Solo", "Team", "Enterprise"}


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("HTTP", "https://10.1.2.3/"),
        ("HTTP", "http://localhost:3000/health"),
        ("HTTP", "http://[::1]/"),
        ("HTTP", "http://printer.local/"),
        ("KEYWORD", "http://192.168.0.1/"),
        ("PING", "127.0.0.1"),
        ("PORT", "fe80::1"),
        ("HTTP", "shop.example.com"),
        ("HTTP", "ftp://shop.example.com/"),
        ("PING", "https://shop.example.com/"),
        ("HEARTBEAT", "https://shop.example.com/"),
    ],
)
def test_an_address_that_cannot_be_watched_is_refused(
    service: UptimeRobotEmulator, ask: Client, kind: str, url: str
) -> None:
    assert ask.ask("POST", "/monitors", {**LEAST[kind], "url": url})[0] == 400
    number = ask("POST", "/monitors", LEAST[kind])["id"]
    before = json.dumps(service.monitors[number])
    assert ask.ask("PATCH", f"/monitors/{number}", {"url": url})[0] == 400
    assert json.dumps(service.monitors[number]) == before


def test_contacts_windows_and_groups_of_a_monitor_have_to_be_there(ask: Client) -> None:
    missing = {"alertContactId": 5, "threshold": 0, "recurrence": 0}
    for field, value in (("assignedAlertContacts", [missing]), ("maintenanceWindowsIds", [5]), ("groupId", 5)):
        assert ask.ask("POST", "/monitors", {**HTTP, field: value})[0] == 400, field


# Requests in a minute


def test_the_limit_of_requests_is_told_and_kept() -> None:
    with UptimeRobotEmulator(rate_limit=2, window=1.0) as service:
        ask = Client(service)
        assert "X-RateLimit-Limit" not in ask.ask("GET", "/user/me", key="wrong")[2]
        assert "X-RateLimit-Limit" not in ask.ask("POST", "/monitors", b"{")[2]
        headers = [ask.ask("GET", "/user/me")[2] for _ in range(2)]
        assert [one["X-RateLimit-Remaining"] for one in headers] == ["1", "0"]
        assert {one["X-RateLimit-Limit"] for one in headers} == {"2"}
        assert {one["X-RateLimit-Reset"] for one in headers} == {"1"}
        status, answer, told = ask.ask("POST", "/monitors", HTTP)
        assert (status, answer) == (429, "ThrottlerException: Too Many Requests")
        assert told["Retry-After"] == "1"
        assert not service.monitors
        time.sleep(1.05)
        assert ask.ask("GET", "/user/me")[0] == 200


def test_a_fault_on_demand_is_a_refusal_of_too_many_requests(service: UptimeRobotEmulator, ask: Client) -> None:
    service.fail_next()
    assert ask.ask("GET", "/user/me")[:2] == (429, "ThrottlerException: Too Many Requests")
    assert ask.ask("GET", "/user/me")[0] == 200


# Monitors


@pytest.mark.parametrize("kind", TYPES)
def test_the_life_of_a_monitor(service: UptimeRobotEmulator, ask: Client, kind: str) -> None:
    body = {**LEAST[kind], "tagNames": ["Web"], "type": kind.lower()}
    made = ask("POST", "/monitors", body, 201)
    number = made["id"]
    assert (made["type"], made["status"], made["friendlyName"]) == (kind, "STARTED", body["friendlyName"])
    assert [tag["name"] for tag in made["tags"]] == ["web"]
    if kind == "HEARTBEAT":
        assert made["url"].startswith("https://heartbeat.uptimerobot.com/")
    read = ask("GET", f"/monitors/{number}")
    assert {name: read[name] for name in ("type", "url", "config", "timeout")} == {
        name: made[name] for name in ("type", "url", "config", "timeout")
    }
    assert ask("POST", f"/monitors/{number}/pause", status=201)["status"] == "PAUSED"
    assert ask("POST", f"/monitors/{number}/pause", {}, 201)["status"] == "PAUSED"
    assert ask("POST", f"/monitors/{number}/start", status=201)["status"] == "STARTED"
    ask("POST", f"/monitors/{number}/reset", status=201)
    changed = ask("PATCH", f"/monitors/{number}", {"friendlyName": "New", "interval": 600}, 200)
    assert (changed["friendlyName"], changed["interval"], changed["url"]) == ("New", 600, made["url"])
    ask("DELETE", f"/monitors/{number}", status=200)
    status, answer, _ = ask.ask("DELETE", f"/monitors/{number}")
    assert (status, answer) == (404, {"message": "Monitor not found", "code": "000-004"})
    assert service.invalid == []


def test_what_a_monitor_is_without_saying_so(ask: Client) -> None:
    made = ask("POST", "/monitors", HTTP)
    assert (made["httpMethodType"], made["followRedirections"], made["groupId"]) == ("HEAD", True, 0)
    assert made["successHttpResponseCodes"] == ["2xx", "3xx"]
    assert ask("POST", "/monitors", LEAST["API"])["httpMethodType"] == "GET"


def test_a_keyword_is_trimmed_and_its_case_read_as_a_number(ask: Client) -> None:
    made = ask("POST", "/monitors", LEAST["KEYWORD"])
    assert (made["keywordValue"], made["keywordCaseType"], made["keywordType"]) == ("ok", 1, "ALERT_NOT_EXISTS")
    assert ask("PATCH", f"/monitors/{made['id']}", {"keywordCaseType": 0})["keywordCaseType"] == 0
    assert ask.ask("PATCH", f"/monitors/{made['id']}", {"keywordCaseType": "CaseSensitive"})[0] == 400


def test_a_change_of_the_configuration_is_merged(ask: Client, service: UptimeRobotEmulator) -> None:
    first = {"sslExpirationPeriodDays": [30, 7], "ipVersion": "ipv4Only"}
    number = ask("POST", "/monitors", {**HTTP, "config": first})["id"]
    path = f"/monitors/{number}"
    assert ask("PATCH", path, {"config": {"applicationErrorRetries": 2}})["config"] == {
        **first,
        "applicationErrorRetries": 2,
    }
    assert ask("PATCH", path, {"config": {"ipVersion": None, "sslExpirationPeriodDays": [1]}})["config"] == {
        "sslExpirationPeriodDays": [1],
        "applicationErrorRetries": 2,
    }
    assert ask("PATCH", path, {"config": None})["config"] is None
    assert ask("PATCH", path, {"successHttpResponseCodes": ["200"]})["successHttpResponseCodes"] == ["200"]
    assert ask("PATCH", path, {"successHttpResponseCodes": []})["successHttpResponseCodes"] == ["2xx", "3xx"]
    assert service.invalid == []
    assert ask.ask("PATCH", path, {"config": {"udp": {"packetLossThreshold": 1}}})[0] == 400
    assert service.invalid[0].endswith("property config.udp should not exist")


def test_the_type_of_a_monitor_stays(ask: Client) -> None:
    number = ask("POST", "/monitors", LEAST["API"])["id"]
    assert ask.ask("PATCH", f"/monitors/{number}", {"type": "API"})[0] == 200
    assert ask.ask("PATCH", f"/monitors/{number}", {"type": "HTTP"})[0] == 400
    assert ask.ask("PATCH", f"/monitors/{number}", {"httpMethodType": "HEAD"})[0] == 400


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 120])
@pytest.mark.parametrize("quirks", [(), ("empty_last_page",)])
def test_pages(count: int, quirks: tuple[str, ...]) -> None:
    with UptimeRobotEmulator(quirks=quirks) as service:
        ids = service.seed(count)
        items, requests = Client(service).all("/monitors")
        assert [item["id"] for item in items] == ids
        assert requests == (count // 50 + 1 if quirks else max(-(-count // 50), 1))


def test_a_page_may_have_200_and_its_link_keeps_the_filters(service: UptimeRobotEmulator, ask: Client) -> None:
    service.seed(201, tagNames=["a"])
    service.seed(9, friendlyName="Other {n}", url="https://other.example.com/{n}", tagNames=["b"])
    assert len(service.monitors) == 210
    page = ask("GET", "/monitors?limit=200&tags=A")
    assert (len(page["data"]), "tags=A" in page["nextLink"], "limit=200" in page["nextLink"]) == (200, True, True)
    assert len(ask.all("/monitors?limit=200&tags=A")[0]) == 201
    assert len(ask.all("/monitors?tags=a,b")[0]) == 210
    assert len(ask.all("/monitors?name=other")[0]) == 9
    assert len(ask.all("/monitors?url=OTHER.example&name=1")[0]) == 1
    assert ask.all("/monitors?status=PAUSED")[0] == []


def test_requests_at_the_same_time_are_carried_out_one_by_one(
    service: UptimeRobotEmulator, ask: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = service._store_monitor
    inside: list[int] = []
    most = 0

    def slowly(number: int, body: dict[str, Any]) -> None:
        nonlocal most
        inside.append(number)
        most = max(most, len(inside))
        time.sleep(0.2)
        store(number, body)
        inside.remove(number)

    monkeypatch.setattr(service, "_store_monitor", slowly)
    service.monitor_limit = 3
    made: list[int] = []
    threads = [threading.Thread(target=lambda: made.append(ask.ask("POST", "/monitors", HTTP)[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert sorted(made) == [201, 201, 201, 403]
    assert len(service.monitors) == 3


# Other objects


def test_the_life_of_a_status_page(service: UptimeRobotEmulator, ask: Client) -> None:
    one, two = service.seed(2)
    look = {"page": {"layout": "LogoOnLeft", "theme": "Dark"}, "features": {"showBars": False}}
    body = {"friendlyName": "Status", "monitorIds": [one], "password": "hush", "customSettings": look}
    made = ask("POST", "/psps", body, 201)
    path = f"/psps/{made['id']}"
    assert (made["isPasswordSet"], made["monitorIds"], made["monitorsCount"]) == (True, [one], 1)
    assert not {"password", "sort", "autoAddMonitors"} & set(made)
    assert made["customSettings"]["page"] == {"layout": "logo_on_left", "theme": "dark"}
    assert made["customSettings"]["features"] == {"showUptimePercentage": "true", "showBars": "false"}
    assert [page["id"] for page in ask("GET", f"/monitors/{one}")["psps"]] == [made["id"]]
    assert ask("PATCH", path, {"monitorIds": [one, two], "status": "PAUSED"})["monitorIds"] == [one, two]
    every = ask("PATCH", path, {"autoAddMonitors": True})
    assert (every["monitorIds"], every["monitorsCount"]) == ([0], 2)
    assert ask("PATCH", path, {"monitorIds": [two], "autoAddMonitors": False})["monitorIds"] == [two]
    assert ask("PATCH", path, {"monitorIds": [0]})["monitorIds"] == [0]
    assert ask.ask("PATCH", path, {"monitorIds": [0, two]})[0] == 400
    assert ask.ask("PATCH", path, {"monitorIds": [5]})[0] == 400
    assert [page["urlKey"] for page in ask.all("/psps")[0]] == [made["urlKey"]]
    ask("DELETE", path, status=200)
    assert ask.ask("GET", path)[:2] == (404, {"message": "PSP not found", "code": "000-004"})
    assert service.invalid == []


def test_the_life_of_an_announcement(service: UptimeRobotEmulator, ask: Client) -> None:
    page, other = service.add_psp("Status"), service.add_psp("Other")
    path = f"/psps/{page}/announcements"
    made = ask("POST", path, {"title": "Work", "content": "Tonight", "status": "Published", "type": "Maintenance"}, 201)
    one = f"{path}/{made['id']}"
    assert ask.all(f"{path}?status=PUBLISHED")[0] == [made]
    assert ask.all(f"{path}?status=ARCHIVED")[0] == []
    assert ask.ask("GET", f"{path}?status=Published")[0] == 400
    ask("POST", f"{one}/pin", status=200)
    assert ask("GET", f"/psps/{page}")["pinnedAnnouncementId"] == made["id"]
    ask("POST", f"{one}/unpin", status=200)
    assert ask("GET", f"/psps/{page}")["pinnedAnnouncementId"] is None
    assert ask("PATCH", one, {"status": "Archived", "endDate": None})["status"] == "Archived"
    assert ask.ask("GET", f"/psps/{other}/announcements/{made['id']}")[0] == 404
    assert ask.ask("GET", "/psps/5/announcements")[0] == 404


def test_the_life_of_a_maintenance_window(service: UptimeRobotEmulator, ask: Client) -> None:
    one, two = service.seed(2)
    made = ask("POST", "/maintenance-windows", {**WINDOW, "monitorIds": [one]}, 201)
    path = f"/maintenance-windows/{made['id']}"
    assert (made["status"], made["days"], made["monitorIds"]) == ("active", [], [one])
    assert [window["id"] for window in ask("GET", f"/monitors/{one}")["maintenanceWindows"]] == [made["id"]]
    ask("PATCH", f"/monitors/{two}", {"maintenanceWindowsIds": [made["id"]]})
    assert ask("GET", path)["monitorIds"] == [one, two]
    assert ask("PATCH", path, {"interval": "weekly", "days": [1, 7]})["days"] == [1, 7]
    assert ask.ask("PATCH", path, {"days": [0]})[0] == 400
    assert ask.ask("PATCH", path, {"days": []})[0] == 400
    assert ask("PATCH", path, {"interval": "monthly", "days": [-1]})["interval"] == "monthly"
    assert ask("PATCH", path, {"status": "paused"})["status"] == "paused"
    assert ask.ask("PATCH", path, {"autoAddMonitors": True})[0] == 400
    assert ask.ask("POST", "/maintenance-windows", {**WINDOW, "date": "31.01.2030"})[0] == 400
    assert ask("POST", "/maintenance-windows", {**WINDOW, "autoAddMonitors": True})["monitorIds"] == [one, two]
    assert ask.ask("DELETE", path)[:2] == (204, None)
    assert ask.ask("DELETE", path)[0] == 404
    assert ask("GET", f"/monitors/{one}")["maintenanceWindows"] == []


def test_the_life_of_an_integration(ask: Client) -> None:
    made = ask("POST", "/integrations", SLACK, 201)
    path = f"/integrations/{made['id']}"
    assert (made["value"], made["customValue"], made["type"]) == ("https://hooks.example.com/1", "", "Slack")
    assert ask.ask("POST", "/integrations", SLACK)[0] == 409
    assert ask("PATCH", path, {"type": "Slack", "data": {"enableNotificationsFor": "Down"}}) == {
        **made,
        "enableNotificationsFor": "Down",
    }
    assert ask.ask("PATCH", path, {"type": "Discord", "data": {}})[0] == 400
    contact = {"alertContactId": made["id"], "threshold": 0, "recurrence": 0}
    number = ask("POST", "/monitors", {**HTTP, "assignedAlertContacts": [contact]})["id"]
    ask("DELETE", path, status=200)
    assert ask("GET", f"/monitors/{number}")["assignedAlertContacts"] == []
    assert ask.ask("GET", path)[:2] == (404, {"message": "Integration not found", "code": "021-005"})


def test_what_is_read_of_an_integration(ask: Client) -> None:
    hook = {"urlToNotify": "https://hook.example.com/", "postValue": '{"a":1}', "sendAsJSON": True}
    made = ask("POST", "/integrations", {"type": "Webhook", "data": hook})
    assert made["value"] == "https://hook.example.com/"
    assert json.loads(made["customValue"]) == {"postValue": '{"a":1}', "sendJSON": True}
    pager = {"integrationKey": "k" * 32, "location": "eu", "autoResolve": True}
    made = ask("POST", "/integrations", {"type": "Pagerduty", "data": pager})
    assert (made["value"], made["customValue"], made["customValue2"]) == (None, "1", "eu")


def test_the_life_of_a_contact(service: UptimeRobotEmulator, ask: Client) -> None:
    known = service.add_contact("Email", "Ops", "ops@example.com")
    made = ask(
        "POST", "/alert-contacts", {"type": "Email", "value": "new@example.com", "enableNotificationsFor": 1}, 201
    )
    path = f"/alert-contacts/{made['id']}"
    assert (made["status"], made["enableNotificationsFor"]) == ("NotActivated", "Down")
    assert ask.ask("POST", "/alert-contacts", {"type": "Email", "value": "NEW@example.com"})[0] == 409
    assert ask.ask("POST", "/alert-contacts", {"type": "Email", "value": "new"})[0] == 400
    assert ask.ask("POST", "/alert-contacts", {"type": "Voice", "value": "+15550100"})[0] == 400
    assert ask("PATCH", path, {"friendlyName": "New", "enableNotificationsFor": 3})["enableNotificationsFor"] == "None"
    assert ask("PATCH", f"/alert-contacts/{known}", {"isActive": False})["status"] == "Paused"
    listed = [contact["id"] for contact in ask.all("/alert-contacts")[0]]
    assert listed == [contact["id"] for contact in ask("GET", "/user/alert-contacts")] == [known, made["id"]]
    groups = ask("GET", "/user/all-alert-contacts")
    assert [item["id"] for item in groups[0]["alertContacts"]] == listed
    ask("DELETE", path, status=200)
    assert ask.ask("GET", path)[0] == 404


def test_groups_and_tags(service: UptimeRobotEmulator, ask: Client) -> None:
    one, two = service.seed(2, tagNames=["web", "shop"])
    made = ask("POST", "/monitor-groups", {"name": "Shop", "monitorIds": [one]}, 201)
    assert ask("GET", f"/monitors/{one}")["groupId"] == made["id"]
    assert [item["id"] for item in ask.all(f"/monitors?groupId={made['id']}")[0]] == [one]
    assert ask("PATCH", f"/monitor-groups/{made['id']}", {"name": "Web"})["name"] == "Web"
    assert [group["name"] for group in ask.all("/monitor-groups")[0]] == ["Web"]
    assert ask.ask("DELETE", f"/monitor-groups/{made['id']}")[0] == 204
    assert ask("GET", f"/monitors/{one}")["groupId"] == 0
    tags = ask("GET", "/tags")
    assert sorted(tag["name"] for tag in tags["data"]) == ["shop", "web"]
    assert tags["nextCursorId"] is None
    shop = next(tag["id"] for tag in tags["data"] if tag["name"] == "shop")
    assert ask.ask("DELETE", f"/tags/{shop}")[0] == 204
    assert [tag["name"] for tag in ask("GET", f"/monitors/{two}")["tags"]] == ["web"]


def test_tags_have_pages_of_their_own_kind() -> None:
    with UptimeRobotEmulator(page_size=2) as service:
        service.add_monitor(tagNames=["a", "b", "c"])
        ask = Client(service)
        first = ask("GET", "/tags")
        second = ask("GET", f"/tags?cursor={first['nextCursorId']}")
        assert [tag["name"] for tag in first["data"] + second["data"]] == ["a", "b", "c"]
        assert second["nextCursorId"] is None


def test_the_addresses_of_the_probes_are_outside_the_version(service: UptimeRobotEmulator, ask: Client) -> None:
    prefixes = ask("GET", f"{service.base_url}/meta/ips")["prefixes"]
    assert {"ip_prefix", "ipv6_prefix"} == {key for prefix in prefixes for key in prefix if key.startswith("ip")}
    assert service.requests == [("GET", "/meta/ips")]


# Peculiarities


def eventual(ask: Client) -> None:
    number = ask("POST", "/monitors", HTTP)["id"]
    path = f"/monitors/{number}"
    assert [ask.ask("GET", path)[0] for _ in range(4)] == [404, 404, 404, 200]
    assert ask("PATCH", path, {"interval": 600})["interval"] == 600
    assert ask("GET", path)["interval"] == 300
    assert [item["interval"] for _ in range(3) for item in ask("GET", "/monitors")["data"]] == [300, 300, 600]
    ask("DELETE", path)
    assert [len(ask("GET", "/monitors")["data"]) for _ in range(4)] == [1, 1, 1, 0]
    window = ask("POST", "/maintenance-windows", WINDOW)["id"]
    assert [len(ask("GET", "/maintenance-windows")["data"]) for _ in range(4)] == [0, 0, 0, 1]
    assert ask.emulator.windows[window]["name"] == "Release"


def lying_create(ask: Client) -> None:
    status, answer, _ = ask.ask("POST", "/monitors", HTTP)
    assert (status, answer) == (404, {"message": "Monitor not found", "code": "000-004"})
    assert [item["friendlyName"] for item in ask("GET", "/monitors")["data"]] == ["Shop"]


def timeout_create(ask: Client) -> None:
    with pytest.raises((RemoteDisconnected, ConnectionResetError)):
        ask.ask("POST", "/monitors", HTTP)
    assert len(ask.emulator.monitors) == 1
    assert ask.emulator.writes == ["POST /monitors"]


def failing_create(ask: Client) -> None:
    assert ask.ask("POST", "/monitors", HTTP)[0] == 500
    (monitor,) = ask.emulator.monitors.values()
    assert (monitor["friendlyName"], monitor["interval"] == HTTP["interval"]) == ("Shop", False)


def html_escaped(ask: Client) -> None:
    made = ask("POST", "/monitors", {**HTTP, "friendlyName": 'A & "B"', "url": "https://a.example.com/?x=1&y=2"})
    assert (made["friendlyName"], made["url"]) == ("A &amp; &quot;B&quot;", "https://a.example.com/?x=1&amp;y=2")
    assert ask.emulator.monitors[made["id"]]["friendlyName"] == 'A & "B"'
    assert ask("POST", "/psps", {"friendlyName": "A & B"})["friendlyName"] == "A &amp; B"
    assert ask("POST", "/maintenance-windows", {**WINDOW, "name": "A & B"})["name"] == "A &amp; B"


def plain_429(ask: Client) -> None:
    ask.emulator.rate_limit = 0
    assert ask.ask("GET", "/user/me")[:2] == (429, "ThrottlerException: Too Many Requests")


def reset_epoch(ask: Client) -> None:
    ask.emulator.rate_limit = 5
    assert 0 <= int(ask.ask("GET", "/user/me")[2]["X-RateLimit-Reset"]) - time.time() <= 61


def reset_delta(ask: Client) -> None:
    ask.emulator.rate_limit = 5
    assert 58 <= int(ask.ask("GET", "/user/me")[2]["X-RateLimit-Reset"]) <= 60


def no_retry_after(ask: Client) -> None:
    ask.emulator.rate_limit = 0
    assert "Retry-After" not in ask.ask("GET", "/user/me")[2]


def empty_last_page(ask: Client) -> None:
    ask.emulator.seed(50)
    link = ask("GET", "/monitors")["nextLink"]
    assert link is not None
    assert ask("GET", link) == {"data": [], "nextLink": None}


def assigned(ask: Client) -> list[Any]:
    """The ids of contacts as several reads show them."""
    contacts = [ask.emulator.add_contact("Email", name, f"{name}@example.com") for name in ("a", "b")]
    assignments = [{"alertContactId": contact, "threshold": 0, "recurrence": 0} for contact in contacts]
    number = ask("POST", "/monitors", {**HTTP, "assignedAlertContacts": assignments})["id"]
    reads = [ask("GET", f"/monitors/{number}")["assignedAlertContacts"] for _ in range(2)]
    return [[contact["alertContactId"] for contact in read] for read in reads]


def string_ids(ask: Client) -> None:
    assert all(isinstance(number, str) for read in assigned(ask) for number in read)
    assert all(isinstance(contact["id"], str) for contact in ask("GET", "/alert-contacts")["data"])


def number_ids(ask: Client) -> None:
    assert all(isinstance(number, int) for read in assigned(ask) for number in read)


def unordered_contacts(ask: Client) -> None:
    first, second = assigned(ask)
    assert first == second[::-1]


def case_folded_headers(ask: Client) -> None:
    assert ask("POST", "/monitors", {**HTTP, "customHttpHeaders": {"X-Key": "V"}})["customHttpHeaders"] == {
        "x-key": "V"
    }


def host_only_url(ask: Client) -> None:
    made = ask("POST", "/monitors", {**LEAST["PORT"], "url": "https://shop.example.com:25/x"})
    assert made["url"] == "shop.example.com"
    assert ask("POST", "/monitors", HTTP)["url"] == HTTP["url"]


def get_500(ask: Client) -> None:
    (number,) = ask.emulator.seed(1)
    assert ask.ask("GET", f"/monitors/{number}")[0] == 500
    assert ask("GET", "/monitors")["data"][0]["id"] == number


def null_method(ask: Client) -> None:
    made = ask("POST", "/monitors", {**HTTP, "httpMethodType": "GET", "authType": "NONE"})
    assert (made["httpMethodType"], made["authType"]) == (None, "HTTP_BASIC")
    assert ask.emulator.monitors[made["id"]]["httpMethodType"] == "GET"


def threshold_zero(ask: Client) -> None:
    made = ask("POST", "/monitors", {**HTTP, "responseTimeThreshold": 900})
    assert (made["responseTimeThreshold"], made["regionalData"]["THRESHOLD"]) == (0, {"na": 900})


def upper_tags(ask: Client) -> None:
    assert ask("POST", "/monitors", {**HTTP, "tagNames": ["web"]})["tags"][0]["name"] == "WEB"
    assert ask("GET", "/tags")["data"][0]["name"] == "WEB"


def list_messages(ask: Client) -> None:
    answer = ask("POST", "/monitors", {**HTTP, "foo": 1}, 400)
    assert answer["message"] == ["property foo should not exist"]


def number_enums(ask: Client) -> None:
    ask.emulator.add_contact("Email", "Ops", "ops@example.com")
    contact = ask("GET", "/alert-contacts")["data"][0]
    assert [contact[name] for name in ("type", "status", "enableNotificationsFor")] == [2, 2, 0]
    made = ask("POST", "/integrations", SLACK)
    assert (made["type"], made["enableNotificationsFor"]) == (11, 0)


def null_psp_monitors(ask: Client) -> None:
    assert ask("POST", "/psps", {"friendlyName": "x", "autoAddMonitors": True})["monitorIds"] is None


CHECKS: list[Callable[[Client], None]] = [
    eventual,
    lying_create,
    timeout_create,
    failing_create,
    html_escaped,
    plain_429,
    reset_epoch,
    reset_delta,
    no_retry_after,
    empty_last_page,
    string_ids,
    number_ids,
    unordered_contacts,
    case_folded_headers,
    host_only_url,
    get_500,
    null_method,
    threshold_zero,
    upper_tags,
    list_messages,
    number_enums,
    null_psp_monitors,
]
# So it is without the quirk too: the name says which of two ways a test is about.
ANYWAY = {"plain_429", "reset_delta", "number_ids"}


def test_each_quirk_has_a_check() -> None:
    assert {check.__name__ for check in CHECKS} == QUIRKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_quirk_is_there_when_it_is_asked_for(ask: Client, check: Callable[[Client], None]) -> None:
    ask.emulator.quirks = frozenset({check.__name__})
    check(ask)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_quirk_is_not_there_unasked(ask: Client, check: Callable[[Client], None]) -> None:
    if check.__name__ in ANYWAY:
        check(ask)
        return
    with pytest.raises((AssertionError, KeyError, pytest.fail.Exception)):
        check(ask)


def test_an_unknown_quirk_is_named(service: UptimeRobotEmulator) -> None:
    with pytest.raises(ValueError, match="no such quirk: lazy"):
        service.quirks = frozenset({"lazy", "eventual"})


# The program


def test_the_program(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    words = ["--listen", "127.0.0.1:0", "--log", str(log), "--plan", "Free", "--quirk", "upper_tags"]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.emulators.uptimerobot", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout
        try:
            host = program.stdout.readline().split()[-1]
            headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
            body = json.dumps({**HTTP, "tagNames": ["web"]}).encode()
            request = urllib.request.Request(f"http://{host}/v3/monitors", body, headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert json.load(answer)["tags"][0]["name"] == "WEB"
            request = urllib.request.Request(f"http://{host}/v3/user/me", headers=headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert json.load(answer)["activeSubscription"]["plan"] == "Free"
        finally:
            program.send_signal(signal.SIGTERM)
        assert program.wait(10) == 0
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [(record["method"], record["path"], record["status"]) for record in records] == [
        ("POST", "/v3/monitors", 201),
        ("GET", "/v3/user/me", 200),
    ]


def test_heartbeats_can_be_taken_here() -> None:
    """Then a dead man's switch can be followed to its end."""
    with UptimeRobotEmulator(own_heartbeats=True) as service:
        number = service.add_monitor(friendlyName="Alerts", type="HEARTBEAT", interval=300)
        address = service.monitors[number]["url"]
        assert address.startswith(service.base_url)
        with urllib.request.urlopen(urllib.request.Request(address, b"{}")) as answer:
            assert answer.status == 200
        assert service.monitors[number]["status"] == "UP"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + "x")
