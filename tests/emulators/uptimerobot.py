"""A stand-in for UptimeRobot's API v3: its objects, its limits, and the peculiarities that its clients have met.

Every request is checked against uptimerobot_schema.yml, the facts of the vendor's description. It watches nothing:
a monitor's status changes only by pausing and starting it. What the description leaves open and nobody has reported is
chosen here on the strict side; where a plan refuses a type other than HEARTBEAT on the free one, that is an assumption.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import html
import ipaddress
import json
import math
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import yaml

from .base import Answer, HttpSink, Request, parser, serve

Json = dict[str, Any]

SCHEMA = Path(__file__).with_name("uptimerobot_schema.yml")
HEARTBEATS = "https://heartbeat.uptimerobot.com/"
BEATS = "/heartbeat/"
DEFAULT_CODES = ["2xx", "3xx"]
PAGE = 50
WEB = ("HTTP", "KEYWORD", "API")
# Addresses of the documentation count as public: tests use them.
PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
TYPES = (*WEB, "PING", "PORT", "HEARTBEAT", "DNS", "UDP", "VISUAL_COMPARISON")

QUIRKS = frozenset(
    {
        "eventual",  # the next reads of what was written still show it as it was before, `settle` of them
        "lying_create",  # a monitor is made and the answer says 404
        "timeout_create",  # a monitor is made and the connection ends without an answer
        "failing_create",  # a monitor is made with wrong settings and the answer says 500
        "html_escaped",  # names and URLs are read with HTML entities
        "plain_429",  # too many requests are refused in plain text; so they are without it
        "reset_epoch",  # X-RateLimit-Reset is a time
        "reset_delta",  # X-RateLimit-Reset is in seconds from now; so it is without it
        "no_retry_after",  # a refusal of too many requests does not say when to come again
        "empty_last_page",  # every full page names a next one, be it empty
        "string_ids",  # the ids of contacts are read as text
        "number_ids",  # the ids of contacts are read as numbers; so they are without it
        "case_folded_headers",  # the names of a monitor's headers are read in lower case
        "host_only_url",  # of the URL of a PING or PORT monitor only the host is read
        "get_500",  # a single monitor cannot be read, the list can
        "unordered_contacts",  # the contacts of a monitor are read in changing order
        "null_method",  # the method is read as null and the authentication as HTTP_BASIC, whatever they are
        "threshold_zero",  # the response time threshold is read as 0; its value is in regionalData
        "upper_tags",  # tags are read in upper case
        "list_messages",  # a refused body is answered with a list of messages
        "number_enums",  # types, states and notifications of contacts and integrations are read as numbers
        "null_psp_monitors",  # a status page of all monitors is read with null instead of [0]
    }
)


@dataclass(frozen=True)
class Plan:
    """What an account may do."""

    monitors: int
    floor: int
    psps: int
    requests: int
    types: frozenset[str] = frozenset(TYPES)
    integrations_refused: frozenset[str] = frozenset()
    # Thresholds and recurrences of contacts, reminders of certificates, custom fields, own domains, groups.
    extras: bool = True


PLANS: Mapping[str, Plan] = {
    "Free": Plan(50, 300, 1, 10, frozenset({"HTTP", "KEYWORD", "PING", "PORT"}), frozenset({"Pagerduty"}), False),
    "Solo": Plan(10, 60, 3, 20, integrations_refused=frozenset({"Pagerduty"})),
    "Team": Plan(100, 60, 100, 200),
    "Enterprise": Plan(1000, 30, 1000, 2000),
}


class RefusedError(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, message: str | list[str], code: str = "") -> None:
        super().__init__(str(message))
        self.status, self.said, self.code = status, message, code


def not_found(what: str, code: str = "000-004") -> RefusedError:
    """The refusal of what does not exist."""
    return RefusedError(404, f"{what} not found", code)


def by_plan(code: str = "000-003") -> RefusedError:
    """The refusal of what the account's plan lacks."""
    return RefusedError(403, "You are not allowed to use some settings with your current plan.", code)


# --------------------------------------------------------------------------------------------------------------------
# What a request may hold
# --------------------------------------------------------------------------------------------------------------------


def closed(schema: Any) -> Any:
    """A schema in which objects with listed properties take no others."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {
        key: {name: closed(item) for name, item in value.items()} if key == "properties" else closed(value)
        for key, value in schema.items()
    }
    if "properties" in result:
        result["additionalProperties"] = False
    return result


@dataclass(frozen=True)
class Operation:
    """One request of the API."""

    name: str
    pattern: re.Pattern[str]
    query: Json
    # The schema of the body, by type where there are several; nothing where none is taken.
    bodies: Mapping[str, Json] = field(default_factory=dict)
    typed: bool = False


@functools.cache
def operations() -> dict[str, Operation]:
    """The requests of the schema file by `METHOD /path`."""
    document = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    parts = {name: closed(part) for name, part in document["parts"].items()}
    data = {name: {"type": [name], "data": schema} for name, schema in parts.pop("integration_data").items()}
    for kind, required in (("create_integration", True), ("update_integration", False)):
        parts[kind] = {}
        for name, parts_of in data.items():
            settings = dict(parts_of["data"])
            if not required:
                settings.pop("required", None)
            parts[kind][name] = {
                "type": "object",
                "properties": {"type": {"type": "string", "enum": [name]}, "data": settings},
                "required": ["type", "data"],
                "additionalProperties": False,
            }
    result = {}
    for name, request in document["requests"].items():
        path = re.sub(r"\{\w+\}", "([^/]+)", name.split()[1])
        typed = "by_type" in request
        bodies = parts[request["by_type"]] if typed else {"": parts[request["body"]]} if "body" in request else {}
        result[name] = Operation(name, re.compile(path), request.get("query", {}), bodies, typed)
    return result


def config_schema(kind: str) -> Json:
    """The schema of a change of a monitor's configuration: as at its creation, and null removes a key."""
    schema = operations()["POST /monitors"].bodies[kind]["properties"].get("config", {"properties": {}})
    properties = {name: {"anyOf": [item, {"type": "null"}]} for name, item in schema["properties"].items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def complaints(schema: Json, value: Any, at: str = "") -> list[str]:
    """What the service would say about a value that its schema refuses."""
    found: list[str] = []
    for error in jsonschema.Draft202012Validator(schema).iter_errors(value):
        where = ".".join([at, *map(str, error.absolute_path)] if at else map(str, error.absolute_path))
        prefix = f"{where}." if where else ""
        limit, rule = error.validator_value, error.validator
        if rule == "additionalProperties":
            known = error.schema["properties"]
            found += [f"property {prefix}{name} should not exist" for name in error.instance if name not in known]
        elif rule == "required":
            for name in [name for name in limit if name not in error.instance]:
                if name == "timeout":
                    # As it is: of a missing number the limits are named.
                    found += [f"{prefix}timeout must not be {words}" for words in ("greater than 60", "less than 0")]
                else:
                    found.append(f"{prefix}{name} should not be null or undefined")
        elif rule == "enum":
            found.append(f"{where} must be one of the following values: {', '.join(map(str, limit))}")
        elif rule == "type":
            kind = limit if isinstance(limit, str) else limit[0]
            found.append(f"{where or 'body'} must be {'an' if kind in ('array', 'object') else 'a'} {kind}")
        else:
            words = {
                "maximum": "must not be greater than {}",
                "minimum": "must not be less than {}",
                "maxLength": "must be shorter than or equal to {} characters",
                "minLength": "must be longer than or equal to {} characters",
                "maxItems": "must contain no more than {} elements",
                "minItems": "must contain at least {} elements",
                "pattern": "must match {} regular expression",
            }
            found.append(f"{where} {words.get(str(rule), 'is not valid').format(limit)}")
    return found


def queried(operation: Operation, query: Mapping[str, list[str]]) -> list[str]:
    """What the service would say about a request's query."""
    found = []
    for name, values in query.items():
        schema = operation.query.get(name)
        if schema is None:
            found.append(f"property {name} should not exist")
            continue
        value: Any = values if schema["type"] == "array" else values[-1]
        if schema["type"] == "number":
            value = int(value) if re.fullmatch(r"-?\d+", value) else value
        elif schema["type"] == "boolean":
            value = {"true": True, "false": False}.get(value, value)
        found += complaints(schema, value, name)
    return found


def is_private(host: str) -> bool:
    """Whether a host is one that cannot be reached from outside."""
    host = host.strip("[]").lower().rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))
    private = any(address.version == network.version and address in network for network in PRIVATE)
    return private or address.is_loopback or address.is_link_local or address.is_unspecified


def host_of(address: str) -> str:
    """The host in a URL or in a bare address."""
    if "://" not in address and address.count(":") > 1 and not address.startswith("["):
        return address
    try:
        return urllib.parse.urlsplit(address if "://" in address else f"//{address}").hostname or ""
    except ValueError:
        return ""


# --------------------------------------------------------------------------------------------------------------------
# The service
# --------------------------------------------------------------------------------------------------------------------


@dataclass
class _Call:
    """A request that may be carried out."""

    request: Request
    query: Mapping[str, list[str]]
    body: Json
    ids: list[int]
    # The only monitor that the key gives access to; 0 for all.
    only: int = 0

    def one(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[-1]


class UptimeRobotEmulator(HttpSink):
    """UptimeRobot's API v3 with one account.

    `monitors`, `psps`, `windows`, `contacts`, `integrations` and `groups` hold what is stored, by id, in the words of
    the requests (`tagNames`, `maintenanceWindowsIds`; the case of a keyword as 0 or 1). A test may look and change.
    """

    def __init__(
        self,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        log: Path | None = None,
        *,
        api_key: str = "u1-main-key",
        read_only_key: str = "ur1-read-key",
        monitor_keys: Mapping[str, int] | None = None,
        plan: str = "Team",
        monitor_limit: int | None = None,
        refused_types: Iterable[str] = (),
        rate_limit: int | None = None,
        window: float = 60.0,
        quirks: Iterable[str] = (),
        settle: int = 3,
        page_size: int = PAGE,
        own_heartbeats: bool = False,
    ) -> None:
        """`plan` is one of PLANS and `quirks` are of QUIRKS.

        `monitor_limit` replaces the plan's; `refused_types` are lacking in addition. `rate_limit` is how many requests
        a `window` of seconds takes, by default any number; the plan's own is PLANS[plan].requests. `page_size` is the
        length of lists that take no limit. With `own_heartbeats` the addresses of heartbeats are this server's, below
        BEATS, and not the vendor's.
        """
        super().__init__(listen, log)
        self.own_heartbeats = own_heartbeats
        self.api_key, self.read_only_key = api_key, read_only_key
        self.monitor_keys = dict(monitor_keys or {})
        self.plan_name, self.plan = plan, PLANS[plan]
        self.monitor_limit = self.plan.monitors if monitor_limit is None else monitor_limit
        self.refused_types = frozenset(refused_types)
        self.rate_limit, self.window, self.settle, self.page_size = rate_limit, window, settle, page_size
        self.quirks = frozenset(quirks)
        self.monitors: dict[int, Json] = {}
        self.psps: dict[int, Json] = {}
        self.windows: dict[int, Json] = {}
        self.contacts: dict[int, Json] = {}
        self.integrations: dict[int, Json] = {}
        self.groups: dict[int, Json] = {}
        self.announcements: dict[int, Json] = {}
        self.tags: dict[int, str] = {}
        # Ids of objects that exist in another account.
        self.foreign: set[int] = set()
        # What was asked against the description.
        self.invalid: list[str] = []
        self.lock = threading.RLock()
        self._stale: dict[tuple[str, int], tuple[Json | None, int]] = {}
        self._next_id = 800000001
        self._window_end, self._left = 0.0, 0
        self._reads = 0
        self._forgotten = 0

    # For tests

    @property
    def url(self) -> str:
        """The API's address."""
        return f"{self.base_url}/v3"

    @property
    def quirks(self) -> frozenset[str]:
        """The peculiarities that are on."""
        return self._quirks

    @quirks.setter
    def quirks(self, names: Iterable[str]) -> None:
        wanted = frozenset(names)
        if wanted - QUIRKS:
            raise ValueError(f"no such quirk: {', '.join(sorted(wanted - QUIRKS))}")
        self._quirks = wanted

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and path (with the query, without /v3) of each request since the last `forget`."""
        return [(record["method"], record["path"].removeprefix("/v3")) for record in self.records[self._forgotten :]]

    @property
    def writes(self) -> list[str]:
        """`METHOD /path` of each request so far that may change something."""
        return [f"{method} {path}" for method, path in self.requests if method not in ("GET", "HEAD")]

    def bodies(self, method: str, path: str) -> list[Any]:
        """The bodies of the requests of a method whose path matches a pattern."""
        return [
            record["body"]
            for record in self.records[self._forgotten :]
            if record["method"] == method and re.fullmatch(path, record["path"].removeprefix("/v3"))
        ]

    def forget(self) -> None:
        """Empty the list of requests; what was asked against the description stays known."""
        with self.lock:
            self._forgotten = len(self.records)

    def add_monitor(self, **fields: Any) -> int:
        """Store a monitor in the words of a creation, with sensible values for what is not said; return its id."""
        with self.lock:
            number = self._new_id()
            kind = fields.get("type", "HTTP")
            body = {"friendlyName": f"monitor {number}", "type": kind, "interval": 300, **fields}
            if kind != "HEARTBEAT":
                body.setdefault("url", "https://www.example.com/" if kind in WEB else "www.example.com")
            if kind not in ("HEARTBEAT", "DNS", "VISUAL_COMPARISON"):
                body.setdefault("timeout", 30)
            self._store_monitor(number, body)
            self.monitors[number].update({name: fields[name] for name in ("status",) if name in fields})
            return number

    def seed(self, count: int, **fields: Any) -> list[int]:
        """Store `count` monitors; `{n}` in a text is the number of each, from 1. Return their ids."""

        def filled(value: Any, number: int) -> Any:
            return value.replace("{n}", str(number)) if isinstance(value, str) else copy.deepcopy(value)

        words = {"friendlyName": "monitor {n}", "url": "https://www.example.com/{n}", **fields}
        return [
            self.add_monitor(**{name: filled(value, number) for name, value in words.items()})
            for number in range(1, count + 1)
        ]

    def add_contact(self, kind: str = "Email", name: str = "", value: str = "") -> int:
        """Store a personal contact that is active; return its id."""
        with self.lock:
            number = self._new_id()
            self.contacts[number] = self._contact(
                number, {"type": kind, "friendlyName": name or value, "value": value or name}, "Active"
            )
            return number

    def add_integration(self, kind: str = "Slack", name: str = "", **data: Any) -> int:
        """Store an integration with settings in the words of its creation; return its id."""
        with self.lock:
            number = self._new_id()
            settings = {"friendlyName": name, "enableNotificationsFor": "UpAndDown", **data}
            self.integrations[number] = {"id": number, "type": kind, "data": settings}
            return number

    def add_window(self, name: str, **fields: Any) -> int:
        """Store a maintenance window; return its id."""
        with self.lock:
            number = self._new_id()
            once = {"interval": "once", "date": "2030-01-01", "time": "00:00:00", "duration": 60}
            self._store_window(number, {"name": name, **once, **fields})
            return number

    def add_psp(self, name: str, **fields: Any) -> int:
        """Store a status page; return its id."""
        with self.lock:
            number = self._new_id()
            self._store_psp(number, {"friendlyName": name, **fields})
            return number

    def add_group(self, name: str) -> int:
        """Store a group of monitors; return its id."""
        with self.lock:
            number = self._new_id()
            self.groups[number] = {"id": number, "name": name, "createdAt": _stamp(), "updatedAt": _stamp()}
            return number

    def add_foreign(self) -> int:
        """Return the id of an object, of whatever kind, in another account."""
        with self.lock:
            number = self._new_id()
            self.foreign.add(number)
            return number

    # One request

    def rate_limited(self) -> Answer:
        """How too many requests are refused."""
        headers = {} if "no_retry_after" in self.quirks else {"Retry-After": "1"}
        return Answer(429, "ThrottlerException: Too Many Requests", headers=headers)

    def answer(self, request: Request) -> Answer:
        """What the service says to a request."""
        with self.lock:
            if self.own_heartbeats and request.path.startswith(BEATS):
                return self._beat(self.base_url + request.path)
            headers: dict[str, str] = {}
            try:
                status, data = self._answer(request, headers)
            except RefusedError as error:
                return self._refusal(error, headers)
            except _DroppedError:
                return Answer(0, "", drop=True)
            except _LimitedError:
                return Answer(429, "ThrottlerException: Too Many Requests", headers=headers)
            body = "" if status == 204 or data is None else json.dumps(data)
            return Answer(status, body, True, "application/json; charset=utf-8", headers)

    def _refusal(self, error: RefusedError, headers: Mapping[str, str]) -> Answer:
        said = error.said
        if isinstance(said, list) and "list_messages" not in self.quirks:
            said = ", ".join(said)
        body: Json = {"message": said}
        if error.code:
            body["code"] = error.code
        return Answer(
            error.status, json.dumps(body), content_type="application/json; charset=utf-8", headers=dict(headers)
        )

    def _against(self, request: Request, said: str | list[str], status: int = 400) -> RefusedError:
        """The refusal of what the description does not have; tests can ask for it."""
        text = said if isinstance(said, str) else ", ".join(said)
        self.invalid.append(f"{request.method} {request.path}: {text}")
        return RefusedError(status, said)

    def _answer(self, request: Request, headers: dict[str, str]) -> tuple[int, Any]:
        address = urllib.parse.urlsplit(request.path)
        if (request.method, address.path) == ("GET", "/meta/ips"):
            return 200, PROBES
        body: Any = {}
        if request.body:
            try:
                body = json.loads(request.body)
            except ValueError as error:
                raise self._against(request, f"the body is not JSON: {error}") from None
            if not request.headers.get("content-type", "").startswith("application/json"):
                raise self._against(request, "the body is not called JSON", 415)
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if key not in (self.api_key, self.read_only_key, *self.monitor_keys) or not key:
            raise RefusedError(401, "Invalid API key", "003-005")
        self._throttle(headers)
        path = address.path.removeprefix("/v3")
        for operation in operations().values():
            match = operation.pattern.fullmatch(path)
            if match and operation.name.startswith(request.method + " ") and address.path.startswith("/v3/"):
                break
        else:
            raise self._against(request, f"Cannot {request.method} {address.path}", 404)
        only = self.monitor_keys.get(key, 0)
        if only and not (operation.name.split()[1].startswith("/monitors") and match.groups() in ((), (str(only),))):
            raise RefusedError(403, "Access denied")
        if request.method != "GET" and (key == self.read_only_key or (only and not match.groups())):
            raise RefusedError(403, "Access denied")
        query = urllib.parse.parse_qs(address.query, keep_blank_values=True)
        bad = [f"{part} must be a number" for part in match.groups() if not re.fullmatch(r"[1-9]\d*", part)]
        bad += queried(operation, query)
        if not bad:
            bad += self._body_complaints(operation, body, bool(request.body))
        if bad:
            raise self._against(request, bad)
        call = _Call(request, query, body, [int(part) for part in match.groups()], only)
        if call.ids and set(call.ids) & self.foreign:
            raise RefusedError(403, "Access to this resource is forbidden", "000-006")
        return HANDLERS[operation.name](self, call)

    def _body_complaints(self, operation: Operation, body: Any, sent: bool) -> list[str]:
        if not operation.bodies:
            return ["a body is not taken"] if sent and body != {} else []
        if not isinstance(body, dict):
            return ["body must be an object"]
        if not operation.typed:
            return complaints(operation.bodies[""], body)
        kind = body.get("type")
        if operation.name == "POST /monitors" and isinstance(kind, str):
            # The case of a type does not matter.
            kind = body["type"] = kind.upper()
        if not isinstance(kind, str) or kind not in operation.bodies:
            return [f"type must be one of the following values: {', '.join(operation.bodies)}"]
        return complaints(operation.bodies[kind], body)

    def _throttle(self, headers: dict[str, str]) -> None:
        if self.rate_limit is None:
            return
        now = time.time()
        if now >= self._window_end:
            self._window_end, self._left = now + self.window, self.rate_limit
        remaining = math.ceil(self._window_end - now)
        refused = self._left <= 0
        self._left = max(self._left - 1, 0)
        headers["X-RateLimit-Limit"] = str(self.rate_limit)
        headers["X-RateLimit-Remaining"] = str(self._left)
        headers["X-RateLimit-Reset"] = str(math.ceil(self._window_end) if "reset_epoch" in self.quirks else remaining)
        if refused:
            if "no_retry_after" not in self.quirks:
                headers["Retry-After"] = str(remaining)
            raise _LimitedError

    # What all kinds of objects share

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def _kept(self, kind: str) -> dict[int, Json]:
        stores = {
            "monitors": self.monitors,
            "psps": self.psps,
            "windows": self.windows,
            "contacts": self.contacts,
            "integrations": self.integrations,
            "groups": self.groups,
            "announcements": self.announcements,
        }
        return stores[kind]

    def _touch(self, kind: str, number: int) -> None:
        """Let the next reads show an object as it is before the write that follows."""
        if "eventual" in self.quirks:
            earlier = self._stale.get((kind, number))
            before = earlier[0] if earlier else copy.deepcopy(self._kept(kind).get(number))
            self._stale[kind, number] = (before, self.settle)

    def _seen(self, kind: str) -> dict[int, Json]:
        """The objects of a kind as a read shows them now."""
        shown = dict(self._kept(kind))
        for (of, number), (before, _) in self._stale.items():
            if of == kind:
                shown.pop(number, None)
                if before is not None:
                    shown[number] = before
        return shown

    def _read(self, kind: str, low: int, high: float) -> None:
        """Count a read of the objects with ids from `low` to `high`."""
        for (of, number), (before, left) in list(self._stale.items()):
            if of == kind and low <= number <= high:
                if left > 1:
                    self._stale[of, number] = (before, left - 1)
                else:
                    del self._stale[of, number]

    def _one(self, kind: str, number: int, what: str, code: str = "000-004") -> Json:
        """An object as a read shows it."""
        shown = self._seen(kind).get(number)
        self._read(kind, number, number)
        if shown is None:
            raise not_found(what, code)
        return shown

    def _stored(self, kind: str, number: int, what: str, code: str = "000-004") -> Json:
        """An object as it is, for a write."""
        try:
            return self._kept(kind)[number]
        except KeyError:
            raise not_found(what, code) from None

    def _page(
        self,
        call: _Call,
        kind: str,
        shown: Callable[[Json], Json],
        wanted: Callable[[Json], bool] = lambda _: True,
    ) -> Json:
        size = int(call.one("limit", str(self.page_size)))
        cursor = int(call.one("cursor", "0") or 0)
        seen = self._seen(kind)
        items = [seen[number] for number in sorted(seen) if number > cursor and wanted(seen[number])]
        page = items[:size]
        full = len(page) == size
        more = len(items) > size or ("empty_last_page" in self.quirks and full)
        self._read(kind, cursor + 1, page[-1]["id"] if more else math.inf)
        link = None
        if more:
            words = urllib.parse.urlencode({**call.query, "cursor": [page[-1]["id"]]}, doseq=True)
            link = f"{self.base_url}{urllib.parse.urlsplit(call.request.path).path}?{words}"
        return {"data": [shown(item) for item in page], "nextLink": link}

    def _escaped(self, text: str) -> str:
        return html.escape(text) if "html_escaped" in self.quirks else text

    def _contact_id(self, number: int) -> int | str:
        return str(number) if "string_ids" in self.quirks else number

    # Monitors

    def _check_monitor(self, kind: str, body: Json, number: int = 0) -> None:
        """Refuse what the description does not: addresses, contacts and windows that are not there, the plan."""
        address = body.get("url")
        if address is not None:
            self._check_url(kind, address)
        if not body.get("friendlyName", "x").strip():
            raise RefusedError(400, ["friendlyName should not be empty"])
        if kind == "HEARTBEAT" and body.get("interval", 300) > 2678400:
            raise RefusedError(400, ["interval must not be greater than 2678400"])
        fields = body.get("customFields") or {}
        if len(fields) > 20 or any(
            not re.fullmatch(r"[\w-]{1,64}", name) or len(value) > 255 for name, value in fields.items()
        ):
            raise RefusedError(400, ["customFields are not valid"])
        for check in ((body.get("config") or {}).get("apiAssertions") or {}).get("checks", []):
            if not check["property"].startswith("$"):
                raise RefusedError(400, ["config.apiAssertions.checks.property must start with $"])
        for contact in body.get("assignedAlertContacts", []):
            if contact["alertContactId"] not in (*self.contacts, *self.integrations):
                raise RefusedError(400, f"Alert contact {contact['alertContactId']} not found")
        for window in body.get("maintenanceWindowsIds", []):
            if window not in self.windows:
                raise RefusedError(400, f"Maintenance window {window} not found")
        if body.get("groupId") and body["groupId"] not in self.groups:
            raise RefusedError(400, "Monitor group not found")
        self._check_plan(kind, body, number)

    def _check_url(self, kind: str, address: str) -> None:
        if kind == "HEARTBEAT":
            raise RefusedError(400, ["property url should not exist"])
        scheme = re.match(r"[a-z][a-z0-9+.-]*://", address, re.IGNORECASE)
        if kind in (*WEB, "VISUAL_COMPARISON"):
            if not scheme or scheme[0].lower() not in ("http://", "https://"):
                raise RefusedError(400, ["url must be a URL address"])
        elif scheme and not ("host_only_url" in self.quirks and kind in ("PING", "PORT")):
            raise RefusedError(400, ["url must be a host or an IP address"])
        host = host_of(address)
        if not host:
            raise RefusedError(400, ["url must be a URL address"])
        if is_private(host):
            raise RefusedError(400, "The URL is blacklisted: private and local addresses cannot be monitored")

    def _check_plan(self, kind: str, body: Json, number: int) -> None:
        if not number and len(self.monitors) >= self.monitor_limit:
            raise RefusedError(403, "You have reached the monitor limit of your current plan.", "000-003")
        if not number and (kind not in self.plan.types or kind in self.refused_types):
            raise by_plan()
        if body.get("interval", self.plan.floor) < self.plan.floor:
            raise by_plan()
        if self.plan.extras:
            return
        if any(contact["threshold"] or contact["recurrence"] for contact in body.get("assignedAlertContacts", [])):
            raise by_plan()
        reminders = body.get("sslExpirationReminder") or body.get("domainExpirationReminder")
        if reminders or body.get("customFields") or (body.get("config") or {}).get("sslExpirationPeriodDays"):
            raise by_plan()

    def _heartbeats(self) -> str:
        return f"{self.base_url}{BEATS}" if self.own_heartbeats else HEARTBEATS

    def _beat(self, address: str) -> Answer:
        for monitor in self.monitors.values():
            if monitor["type"] == "HEARTBEAT" and monitor["url"] == address:
                monitor["status"] = "UP"
                return Answer(200, "OK", accepted=True)
        return Answer(404, "Heartbeat not found")

    def _store_monitor(self, number: int, body: Json) -> None:
        kind = body["type"]
        token = hashlib.sha256(f"{self.api_key}-{number}".encode()).hexdigest()
        monitor: Json = {
            "id": number,
            "friendlyName": "",
            "type": kind,
            "url": f"{self._heartbeats()}m{number}-{token[:32]}" if kind == "HEARTBEAT" else "",
            "interval": 300,
            "timeout": None,
            "status": "STARTED",
            "port": None,
            "gracePeriod": 0 if kind == "HEARTBEAT" else None,
            "keywordType": None,
            "keywordCaseType": None,
            "keywordValue": None,
            "httpMethodType": {"API": "GET", "HTTP": "HEAD", "KEYWORD": "HEAD"}.get(kind),
            "authType": "NONE" if kind in WEB else None,
            "httpUsername": "",
            "httpPassword": "",
            "postValueData": None,
            "postValueType": None,
            "customHttpHeaders": {} if kind in WEB else None,
            "successHttpResponseCodes": list(DEFAULT_CODES) if kind in WEB else [],
            "checkSSLErrors": False,
            "sslExpirationReminder": False,
            "domainExpirationReminder": False,
            "followRedirections": True,
            "responseTimeThreshold": 0,
            "regionData": {"REGION": ["na"]},
            "groupId": 0,
            "customFields": {},
            "config": None,
            "tagNames": [],
            "assignedAlertContacts": [],
            "maintenanceWindowsIds": [],
            "created": _stamp(),
        }
        self.monitors[number] = monitor
        self._apply(monitor, {name: value for name, value in body.items() if name != "status"})

    def _apply(self, monitor: Json, body: Json) -> None:
        """Take the fields of a request over."""
        taken = copy.deepcopy(body)
        taken.pop("type", None)
        if "keywordCaseType" in taken:
            case = taken["keywordCaseType"]
            taken["keywordCaseType"] = {"CaseSensitive": 0, "CaseInsensitive": 1}.get(case, case)
        if taken.get("keywordValue") is not None:
            taken["keywordValue"] = taken["keywordValue"].strip()
        if "successHttpResponseCodes" in taken:
            taken["successHttpResponseCodes"] = taken["successHttpResponseCodes"] or list(DEFAULT_CODES)
        if "tagNames" in taken:
            taken["tagNames"] = sorted({tag.lower() for tag in taken["tagNames"]})
        if "regionalData" in taken:
            region = taken.pop("regionalData")
            taken.setdefault("regionData", {"REGION": [region]})
        if taken.get("config") is not None:
            merged = {**(monitor["config"] or {}), **taken["config"]}
            taken["config"] = {key: item for key, item in merged.items() if item is not None} or None
        monitor.update(taken)
        if "maintenanceWindowsIds" in body:
            for number, window in self.windows.items():
                members = [item for item in window["monitorIds"] if item != monitor["id"]]
                window["monitorIds"] = [*members, monitor["id"]] if number in body["maintenanceWindowsIds"] else members
        for tag in monitor["tagNames"]:
            if tag not in self.tags.values():
                self.tags[self._new_id()] = tag

    def _monitor(self, monitor: Json) -> Json:
        """A monitor as the service shows it."""
        self._reads += 1
        quirks, number = self.quirks, monitor["id"]
        contacts = [
            {**contact, "alertContactId": self._contact_id(contact["alertContactId"])}
            for contact in monitor["assignedAlertContacts"]
        ]
        if "unordered_contacts" in quirks and contacts:
            turn = self._reads % len(contacts)
            contacts = contacts[turn:] + contacts[:turn]
        address = monitor["url"]
        if "host_only_url" in quirks and monitor["type"] in ("PING", "PORT"):
            address = host_of(address)
        method, authentication = monitor["httpMethodType"], monitor["authType"]
        if "null_method" in quirks:
            method, authentication = None, "HTTP_BASIC"
        headers = monitor["customHttpHeaders"]
        if "case_folded_headers" in quirks and headers:
            headers = {name.lower(): value for name, value in headers.items()}
        regions, threshold = copy.deepcopy(monitor["regionData"]), monitor["responseTimeThreshold"]
        if threshold:
            regions["THRESHOLD"] = dict.fromkeys(regions["REGION"], threshold)
        ids = {tag: tag_id for tag_id, tag in self.tags.items()}
        tags = [
            {"id": ids.get(tag, 0), "name": tag.upper() if "upper_tags" in quirks else tag, "color": "#48a9a6"}
            for tag in monitor["tagNames"]
        ]
        same = {
            "id", "type", "interval", "timeout", "status", "port", "gracePeriod", "keywordType", "keywordCaseType",
            "keywordValue", "httpUsername", "httpPassword", "postValueData", "postValueType",
            "successHttpResponseCodes", "checkSSLErrors", "sslExpirationReminder", "domainExpirationReminder",
            "followRedirections", "groupId", "customFields", "config",
        }  # fmt: skip
        return {
            **{name: copy.deepcopy(value) for name, value in monitor.items() if name in same},
            "friendlyName": self._escaped(monitor["friendlyName"]),
            "url": self._escaped(address),
            "httpMethodType": method,
            "authType": authentication,
            "customHttpHeaders": headers,
            "responseTimeThreshold": 0 if "threshold_zero" in quirks else threshold,
            "regionalData": regions,
            "tags": tags,
            "assignedAlertContacts": contacts,
            "maintenanceWindows": [
                self._window(self.windows[item]) for item in monitor["maintenanceWindowsIds"] if item in self.windows
            ],
            "psps": [self._psp(page) for page in self.psps.values() if number in page["monitorIds"]],
            "createDateTime": monitor["created"],
            "currentStateDuration": self._reads,
            "lastIncidentId": None,
            "lastIncident": None,
            "lastDayUptimes": {"bucketSize": 3600, "histogram": [{"timestamp": self._reads, "uptime": 100}]},
            "userId": 1,
            "apiKey": f"m{number}-key",
            "sslBrand": None,
            "sslExpiryDateTime": None,
            "domainExpireDate": None,
        }

    def _wanted_monitor(self, call: _Call) -> Callable[[Json], bool]:
        name, address = call.one("name").lower(), call.one("url").lower()
        tags = {tag for tag in call.one("tags").lower().split(",") if tag}
        states = {state for state in call.one("status").upper().split(",") if state}
        fields = [item.partition(":")[::2] for item in call.query.get("customField", [])]

        def wanted(monitor: Json) -> bool:
            return (
                (not call.only or monitor["id"] == call.only)
                and name in monitor["friendlyName"].lower()
                and address in monitor["url"].lower()
                and (not tags or bool(tags & set(monitor["tagNames"])))
                and (not states or monitor["status"] in states)
                and ("groupId" not in call.query or monitor["groupId"] == int(call.one("groupId")))
                and all((monitor["customFields"] or {}).get(key) == value for key, value in fields)
            )

        return wanted

    def list_monitors(self, call: _Call) -> tuple[int, Any]:
        """GET /monitors."""
        return 200, self._page(call, "monitors", self._monitor, self._wanted_monitor(call))

    def create_monitor(self, call: _Call) -> tuple[int, Any]:
        """POST /monitors."""
        body = call.body
        self._check_monitor(body["type"], body)
        number = self._new_id()
        self._touch("monitors", number)
        self._store_monitor(number, body)
        if "failing_create" in self.quirks:
            self.monitors[number].update(interval=86400, timeout=1, assignedAlertContacts=[], tagNames=[])
            raise RefusedError(500, "Internal server error")
        if "timeout_create" in self.quirks:
            raise _DroppedError
        if "lying_create" in self.quirks:
            raise not_found("Monitor")
        return 201, self._monitor(self.monitors[number])

    def get_monitor(self, call: _Call) -> tuple[int, Any]:
        """GET /monitors/{id}."""
        monitor = self._one("monitors", call.ids[0], "Monitor")
        if "get_500" in self.quirks:
            raise RefusedError(500, "Internal server error")
        return 200, self._monitor(monitor)

    def update_monitor(self, call: _Call) -> tuple[int, Any]:
        """PATCH /monitors/{id}."""
        monitor, body = self._stored("monitors", call.ids[0], "Monitor"), call.body
        kind = monitor["type"]
        if body.get("type", kind) != kind:
            raise RefusedError(400, "The type of a monitor cannot be changed")
        if kind == "API" and body.get("httpMethodType") == "HEAD":
            raise RefusedError(400, ["httpMethodType must not be HEAD"])
        if body.get("config") is not None:
            bad = complaints(config_schema(kind), body["config"], "config")
            if bad:
                raise self._against(call.request, bad)
        self._check_monitor(kind, body, call.ids[0])
        self._touch("monitors", call.ids[0])
        self._apply(monitor, body)
        return 200, self._monitor(monitor)

    def delete_monitor(self, call: _Call) -> tuple[int, Any]:
        """DELETE /monitors/{id}."""
        number = call.ids[0]
        self._stored("monitors", number, "Monitor")
        self._touch("monitors", number)
        del self.monitors[number]
        for kept in (self.psps, self.windows):
            for item in kept.values():
                item["monitorIds"] = [member for member in item["monitorIds"] if member != number]
        return 200, None

    def pause_monitor(self, call: _Call) -> tuple[int, Any]:
        """POST /monitors/{id}/pause."""
        return self._set_status(call, "PAUSED")

    def start_monitor(self, call: _Call) -> tuple[int, Any]:
        """POST /monitors/{id}/start."""
        return self._set_status(call, "STARTED")

    def _set_status(self, call: _Call, status: str) -> tuple[int, Any]:
        monitor = self._stored("monitors", call.ids[0], "Monitor")
        if (monitor["status"] == "PAUSED") != (status == "PAUSED"):
            self._touch("monitors", call.ids[0])
            monitor["status"] = status
        return 201, self._monitor(monitor)

    def reset_monitor(self, call: _Call) -> tuple[int, Any]:
        """POST /monitors/{id}/reset."""
        self._stored("monitors", call.ids[0], "Monitor")
        return 201, None

    # Status pages

    def _check_psp(self, body: Json, number: int = 0) -> None:
        for member in body.get("monitorIds", []):
            if member in self.foreign:
                raise RefusedError(403, "Access to this resource is forbidden", "000-006")
            if member and member not in self.monitors:
                raise RefusedError(400, f"Monitor {member} not found")
        if 0 in body.get("monitorIds", []) and len(body["monitorIds"]) > 1:
            raise RefusedError(400, ["monitorIds must hold 0 alone or the ids of monitors"])
        for tag in body.get("tagIds", []):
            if tag not in self.tags:
                raise RefusedError(400, f"Tag {tag} not found")
        if not number and len(self.psps) >= self.plan.psps:
            raise by_plan()
        if body.get("customDomain") and not self.plan.extras:
            raise by_plan()

    def _store_psp(self, number: int, body: Json) -> None:
        token = hashlib.sha256(str(number).encode()).hexdigest()[:10]
        self.psps[number] = {
            "id": number,
            "friendlyName": "",
            "customDomain": None,
            "password": "",
            "monitorIds": [],
            "tagIds": [],
            "status": "ENABLED",
            "urlKey": token,
            "homepageLink": None,
            "gaCode": None,
            "shareAnalyticsConsent": False,
            "useSmallCookieConsentModal": False,
            "icon": None,
            "noIndex": False,
            "logo": None,
            "hideUrlLinks": False,
            "subscription": False,
            "showCookieBar": False,
            "pinnedAnnouncementId": None,
            "customSettings": {},
            "sort": "FriendlyNameAsc",
            "autoAddMonitors": False,
        }
        self._apply_psp(self.psps[number], body)

    def _apply_psp(self, page: Json, body: Json) -> None:
        taken = copy.deepcopy(body)
        if "customSettings" in taken:
            taken["customSettings"] = {**page["customSettings"], **taken["customSettings"]}
        for name in ("customDomain", "homepageLink", "gaCode"):
            if name in taken:
                taken[name] = taken[name] or None
        page.update(taken)
        if body.get("monitorIds") == [0]:
            page["autoAddMonitors"] = True
        elif "monitorIds" in body and "autoAddMonitors" not in body:
            page["autoAddMonitors"] = False
        if page["autoAddMonitors"]:
            page["monitorIds"] = [0]
        elif page["monitorIds"] == [0]:
            page["monitorIds"] = []

    def _psp(self, page: Json) -> Json:
        """A status page as the service shows it."""
        settings = page["customSettings"]
        features = settings.get("features") or {}
        look = {
            "font": settings.get("font"),
            "page": {
                name: re.sub(r"(?<!^)(?=[A-Z])", "_", value).lower()
                for name, value in (settings.get("page") or {}).items()
            },
            "colors": {"main": None, "text": None, "link": None, **(settings.get("colors") or {})},
            "features": {
                "showUptimePercentage": "true",
                **{name: str(value).lower() for name, value in features.items()},
            },
        }
        everything = page["autoAddMonitors"]
        hidden = ("password", "sort", "autoAddMonitors")
        return {
            **{name: copy.deepcopy(value) for name, value in page.items() if name not in hidden},
            "friendlyName": self._escaped(page["friendlyName"]),
            "isPasswordSet": bool(page["password"]),
            "monitorIds": None if everything and "null_psp_monitors" in self.quirks else list(page["monitorIds"]),
            "monitorsCount": len(self.monitors) if everything else len(page["monitorIds"]),
            "customSettings": look,
        }

    def list_psps(self, call: _Call) -> tuple[int, Any]:
        """GET /psps."""
        return 200, self._page(call, "psps", self._psp)

    def create_psp(self, call: _Call) -> tuple[int, Any]:
        """POST /psps."""
        self._check_psp(call.body)
        number = self._new_id()
        self._touch("psps", number)
        self._store_psp(number, call.body)
        return 201, self._psp(self.psps[number])

    def get_psp(self, call: _Call) -> tuple[int, Any]:
        """GET /psps/{id}."""
        return 200, self._psp(self._one("psps", call.ids[0], "PSP"))

    def update_psp(self, call: _Call) -> tuple[int, Any]:
        """PATCH /psps/{id}."""
        page = self._stored("psps", call.ids[0], "PSP")
        self._check_psp(call.body, call.ids[0])
        pinned = call.body.get("pinnedAnnouncementId")
        if pinned is not None:
            self._announcement_of(call.ids[0], pinned)
        self._touch("psps", call.ids[0])
        self._apply_psp(page, call.body)
        return 200, self._psp(page)

    def delete_psp(self, call: _Call) -> tuple[int, Any]:
        """DELETE /psps/{id}."""
        self._stored("psps", call.ids[0], "PSP")
        self._touch("psps", call.ids[0])
        del self.psps[call.ids[0]]
        return 200, None

    def _announcement_of(self, page: int, number: int) -> Json:
        self._stored("psps", page, "PSP")
        item = self._stored("announcements", number, "Announcement")
        if item["pspId"] != page:
            raise not_found("Announcement")
        return item

    def list_announcements(self, call: _Call) -> tuple[int, Any]:
        """GET /psps/{pspId}/announcements."""
        self._stored("psps", call.ids[0], "PSP")
        status = call.one("status")

        def wanted(item: Json) -> bool:
            return item["pspId"] == call.ids[0] and status in ("", item["status"].upper())

        return 200, self._page(call, "announcements", copy.deepcopy, wanted)

    def create_announcement(self, call: _Call) -> tuple[int, Any]:
        """POST /psps/{pspId}/announcements."""
        self._stored("psps", call.ids[0], "PSP")
        number = self._new_id()
        self._touch("announcements", number)
        self.announcements[number] = {
            "id": number,
            "pspId": call.ids[0],
            "userId": 1,
            "title": None,
            "content": None,
            "status": "Offline",
            "type": "Info",
            "deliveryStatus": "CantSend",
            "startDate": _stamp(),
            "endDate": None,
            "creationDate": _stamp(),
            "submitDate": None,
            "sentCount": 0,
            **call.body,
        }
        return 201, self.announcements[number]

    def get_announcement(self, call: _Call) -> tuple[int, Any]:
        """GET /psps/{pspId}/announcements/{id}."""
        self._announcement_of(call.ids[0], call.ids[1])
        return 200, self._one("announcements", call.ids[1], "Announcement")

    def update_announcement(self, call: _Call) -> tuple[int, Any]:
        """PATCH /psps/{pspId}/announcements/{id}."""
        item = self._announcement_of(call.ids[0], call.ids[1])
        self._touch("announcements", call.ids[1])
        item.update(call.body)
        return 200, item

    def pin_announcement(self, call: _Call) -> tuple[int, Any]:
        """POST /psps/{pspId}/announcements/{id}/pin."""
        item = self._announcement_of(call.ids[0], call.ids[1])
        self.psps[call.ids[0]]["pinnedAnnouncementId"] = item["id"]
        return 200, item

    def unpin_announcement(self, call: _Call) -> tuple[int, Any]:
        """POST /psps/{pspId}/announcements/{id}/unpin."""
        item = self._announcement_of(call.ids[0], call.ids[1])
        if self.psps[call.ids[0]]["pinnedAnnouncementId"] == item["id"]:
            self.psps[call.ids[0]]["pinnedAnnouncementId"] = None
        return 200, item

    # Maintenance windows

    def _check_window(self, window: Json) -> None:
        if not re.fullmatch(r"(19|20)\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", window.get("date") or ""):
            raise RefusedError(400, ["date must be in the format YYYY-MM-DD"])
        days, interval = window.get("days") or [], window["interval"]
        allowed = {"weekly": range(1, 8), "monthly": (-1, *range(1, 32))}.get(interval)
        if allowed is not None and (not days or any(day not in allowed for day in days)):
            raise RefusedError(400, [f"days are not valid for a {interval} maintenance window"])
        if len(window["name"].strip()) < 3:
            raise RefusedError(400, ["name must be longer than or equal to 3 characters"])
        for member in window.get("monitorIds") or []:
            if member not in self.monitors:
                raise RefusedError(400, f"Monitor {member} not found")

    def _store_window(self, number: int, body: Json) -> None:
        self.windows[number] = {
            "id": number,
            "userId": 1,
            "autoAddMonitors": False,
            "monitorIds": [],
            "days": [],
            "status": "active",
            "created": _stamp(),
        }
        self._apply_window(self.windows[number], body)

    def _apply_window(self, window: Json, body: Json) -> None:
        window.update(copy.deepcopy(body))
        if "monitorIds" in body:
            for monitor in self.monitors.values():
                others = [item for item in monitor["maintenanceWindowsIds"] if item != window["id"]]
                monitor["maintenanceWindowsIds"] = (
                    [*others, window["id"]] if monitor["id"] in body["monitorIds"] else others
                )

    def _window(self, window: Json) -> Json:
        """A maintenance window as the service shows it."""
        members = sorted(self.monitors) if window["autoAddMonitors"] else list(window["monitorIds"])
        return {**copy.deepcopy(window), "name": self._escaped(window["name"]), "monitorIds": members}

    def list_windows(self, call: _Call) -> tuple[int, Any]:
        """GET /maintenance-windows."""
        return 200, self._page(call, "windows", self._window)

    def create_window(self, call: _Call) -> tuple[int, Any]:
        """POST /maintenance-windows."""
        self._check_window(call.body)
        number = self._new_id()
        self._touch("windows", number)
        self._store_window(number, call.body)
        return 201, self._window(self.windows[number])

    def get_window(self, call: _Call) -> tuple[int, Any]:
        """GET /maintenance-windows/{id}."""
        return 200, self._window(self._one("windows", call.ids[0], "Maintenance window"))

    def update_window(self, call: _Call) -> tuple[int, Any]:
        """PATCH /maintenance-windows/{id}."""
        window = self._stored("windows", call.ids[0], "Maintenance window")
        self._check_window({**window, **call.body})
        self._touch("windows", call.ids[0])
        self._apply_window(window, call.body)
        return 200, self._window(window)

    def delete_window(self, call: _Call) -> tuple[int, Any]:
        """DELETE /maintenance-windows/{id}."""
        self._stored("windows", call.ids[0], "Maintenance window")
        self._touch("windows", call.ids[0])
        del self.windows[call.ids[0]]
        for monitor in self.monitors.values():
            monitor["maintenanceWindowsIds"] = [
                item for item in monitor["maintenanceWindowsIds"] if item != call.ids[0]
            ]
        return 204, None

    # Integrations

    def _word(self, kind: str, word: Any) -> Any:
        """A word of a contact, or the number that stands for it."""
        return NUMBERS[kind].get(word, word) if "number_enums" in self.quirks else word

    def _integration(self, integration: Json) -> Json:
        """An integration as the service shows it."""
        data, kind = integration["data"], integration["type"]
        shown: Json = {"value": data.get(VALUES.get(kind, "")), "customValue": data.get(REMARKS.get(kind, ""))}
        if kind == "Pagerduty":
            shown["customValue"] = "1" if data.get("autoResolve") else "0"
            shown["customValue2"] = data.get("location", "us")
        elif kind == "Webhook":
            names = {"postValue": "postValue", "sendAsJSON": "sendJSON", "sendAsQueryString": "sendQuery"}
            names["sendAsPostParameters"] = "sendPost"
            shown["customValue"] = json.dumps({short: data[name] for name, short in names.items() if name in data})
        return {
            "id": self._contact_id(integration["id"]),
            "friendlyName": self._escaped(data.get("friendlyName") or ""),
            "type": self._word("type", kind),
            "status": self._word("status", "Active"),
            "enableNotificationsFor": self._word("events", data.get("enableNotificationsFor", "UpAndDown")),
            "sslExpirationReminder": data.get("sslExpirationReminder", False),
            "customValue2": None,
            "customValue3": None,
            "customValue4": None,
            **shown,
            "customHeaders": copy.deepcopy(data.get("customHeaders")),
        }

    def list_integrations(self, call: _Call) -> tuple[int, Any]:
        """GET /integrations."""
        return 200, self._page(call, "integrations", self._integration)

    def create_integration(self, call: _Call) -> tuple[int, Any]:
        """POST /integrations."""
        kind, data = call.body["type"], call.body["data"]
        if kind in self.plan.integrations_refused:
            raise by_plan("021-003")
        # The address decides, of a kind without one the name.
        main = {**VALUES, **UNREAD}.get(kind, "friendlyName")
        for other in self.integrations.values():
            if other["type"] == kind and other["data"].get(main) == data.get(main):
                raise RefusedError(409, "Integration already exists")
        number = self._new_id()
        self._touch("integrations", number)
        self.integrations[number] = {"id": number, "type": kind, "data": copy.deepcopy(data)}
        return 201, self._integration(self.integrations[number])

    def get_integration(self, call: _Call) -> tuple[int, Any]:
        """GET /integrations/{id}."""
        return 200, self._integration(self._one("integrations", call.ids[0], "Integration", "021-005"))

    def update_integration(self, call: _Call) -> tuple[int, Any]:
        """PATCH /integrations/{id}."""
        integration = self._stored("integrations", call.ids[0], "Integration", "021-005")
        if call.body["type"] != integration["type"]:
            raise RefusedError(400, "The type of an integration cannot be changed")
        self._touch("integrations", call.ids[0])
        integration["data"].update(copy.deepcopy(call.body["data"]))
        return 200, self._integration(integration)

    def delete_integration(self, call: _Call) -> tuple[int, Any]:
        """DELETE /integrations/{id}."""
        self._stored("integrations", call.ids[0], "Integration", "021-005")
        self._touch("integrations", call.ids[0])
        del self.integrations[call.ids[0]]
        self._unassign(call.ids[0])
        return 200, None

    def _unassign(self, number: int) -> None:
        for monitor in self.monitors.values():
            monitor["assignedAlertContacts"] = [
                contact for contact in monitor["assignedAlertContacts"] if contact["alertContactId"] != number
            ]

    # Personal contacts

    def _contact(self, number: int, body: Json, status: str) -> Json:
        return {
            "id": number,
            "friendlyName": body.get("friendlyName"),
            "type": body["type"],
            "value": body.get("value") or body.get("pushToken"),
            "customValue": None,
            "enableNotificationsFor": EVENTS[body.get("enableNotificationsFor", 0)],
            "sslExpirationReminder": False,
            "httpUsername": None,
            "httpPassword": None,
            "authType": None,
            "customHeaders": None,
            "mobileProviderId": None,
            "status": status,
            "orgAlertContactId": None,
            "config": body.get("config"),
        }

    def _shown_contact(self, contact: Json) -> Json:
        name = contact["friendlyName"]
        return {
            **copy.deepcopy(contact),
            "id": self._contact_id(contact["id"]),
            "type": self._word("type", contact["type"]),
            "status": self._word("status", contact["status"]),
            "enableNotificationsFor": self._word("events", contact["enableNotificationsFor"]),
            "friendlyName": self._escaped(name) if name else name,
        }

    def list_contacts(self, call: _Call) -> tuple[int, Any]:
        """GET /alert-contacts."""
        return 200, self._page(call, "contacts", self._shown_contact)

    def create_contact(self, call: _Call) -> tuple[int, Any]:
        """POST /alert-contacts."""
        kind, value = call.body["type"], call.body.get("value", "")
        if kind in ("ProSms", "Voice"):
            raise RefusedError(400, "This type of contact needs a verified phone number")
        if kind == "Email" and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
            raise RefusedError(400, ["value must be an email"])
        if kind == "Email" and any(
            (item["type"], str(item["value"]).lower()) == (kind, value.lower()) for item in self.contacts.values()
        ):
            raise RefusedError(409, "Alert contact already exists")
        number = self._new_id()
        self._touch("contacts", number)
        # An address has to be confirmed by who reads its mail.
        self.contacts[number] = self._contact(number, call.body, "NotActivated" if kind == "Email" else "Active")
        return 201, self._shown_contact(self.contacts[number])

    def get_contact(self, call: _Call) -> tuple[int, Any]:
        """GET /alert-contacts/{id}."""
        return 200, self._shown_contact(self._one("contacts", call.ids[0], "Alert contact"))

    def update_contact(self, call: _Call) -> tuple[int, Any]:
        """PATCH /alert-contacts/{id}."""
        contact = self._stored("contacts", call.ids[0], "Alert contact")
        self._touch("contacts", call.ids[0])
        body = dict(call.body)
        active = body.pop("isActive", None)
        if active is not None and contact["status"] != "NotActivated":
            contact["status"] = "Active" if active else "Paused"
        if "enableNotificationsFor" in body:
            body["enableNotificationsFor"] = EVENTS[body["enableNotificationsFor"]]
        contact.update(body)
        return 200, self._shown_contact(contact)

    def delete_contact(self, call: _Call) -> tuple[int, Any]:
        """DELETE /alert-contacts/{id}."""
        self._stored("contacts", call.ids[0], "Alert contact")
        self._touch("contacts", call.ids[0])
        del self.contacts[call.ids[0]]
        self._unassign(call.ids[0])
        return 200, None

    def user_contacts(self, _: _Call) -> tuple[int, Any]:
        """GET /user/alert-contacts."""
        shown = [self._shown_contact(item) for item in self._seen("contacts").values()]
        self._read("contacts", 0, math.inf)
        return 200, shown

    def all_contacts(self, _: _Call) -> tuple[int, Any]:
        """GET /user/all-alert-contacts."""
        contacts = [self._shown_contact(item) for item in self._seen("contacts").values()]
        self._read("contacts", 0, math.inf)
        items = [
            {
                "id": item["id"],
                "name": item["friendlyName"] or "",
                "value": item["value"] or "",
                "type": item["type"],
                "status": item["status"],
                "threshold": 0,
                "recurrence": 0,
            }
            for item in contacts
        ]
        owner = {"id": 1, "name": "Test Account"}
        return 200, [{"notifyOnly": False, "orgAlertContactId": None, "user": owner, "alertContacts": items}]

    # Groups, tags, the account

    def _check_groups(self) -> None:
        if not self.plan.extras:
            raise by_plan()

    def list_groups(self, call: _Call) -> tuple[int, Any]:
        """GET /monitor-groups."""
        return 200, self._page(call, "groups", self._group)

    def _group(self, group: Json) -> Json:
        return {**group, "name": self._escaped(group["name"])}

    def create_group(self, call: _Call) -> tuple[int, Any]:
        """POST /monitor-groups."""
        self._check_groups()
        members, moved = call.body.get("monitorIds", []), call.body.get("groupIds", [])
        if not call.body["name"].strip() or any(member not in self.monitors for member in members):
            raise RefusedError(400, "The name or a monitor of the group is not valid")
        number = self._new_id()
        self._touch("groups", number)
        self.groups[number] = {
            "id": number, "name": call.body["name"], "createdAt": _stamp(), "updatedAt": _stamp(),
        }  # fmt: skip
        for monitor in self.monitors.values():
            if monitor["id"] in members or monitor["groupId"] in moved:
                monitor["groupId"] = number
        return 201, self._group(self.groups[number])

    def get_group(self, call: _Call) -> tuple[int, Any]:
        """GET /monitor-groups/{id}."""
        return 200, self._group(self._one("groups", call.ids[0], "Monitor group"))

    def update_group(self, call: _Call) -> tuple[int, Any]:
        """PATCH /monitor-groups/{id}."""
        self._check_groups()
        group = self._stored("groups", call.ids[0], "Monitor group")
        self._touch("groups", call.ids[0])
        group.update(call.body, updatedAt=_stamp())
        return 200, self._group(group)

    def delete_group(self, call: _Call) -> tuple[int, Any]:
        """DELETE /monitor-groups/{id}."""
        self._check_groups()
        self._stored("groups", call.ids[0], "Monitor group")
        heir = int(call.one("monitorsNewGroupId", "0"))
        if heir and heir not in self.groups:
            raise RefusedError(400, "The new group is not valid")
        self._touch("groups", call.ids[0])
        del self.groups[call.ids[0]]
        for monitor in self.monitors.values():
            if monitor["groupId"] == call.ids[0]:
                monitor["groupId"] = heir
        return 204, None

    def list_tags(self, call: _Call) -> tuple[int, Any]:
        """GET /tags."""
        cursor = int(call.one("cursor", "0"))
        ids = [number for number in sorted(self.tags) if number > cursor]
        page = ids[: self.page_size]
        more = len(ids) > len(page) or ("empty_last_page" in self.quirks and len(page) == self.page_size)
        upper = "upper_tags" in self.quirks
        data = [{"id": number, "name": self.tags[number].upper() if upper else self.tags[number]} for number in page]
        return 200, {"data": data, "nextCursorId": page[-1] if more else None}

    def delete_tag(self, call: _Call) -> tuple[int, Any]:
        """DELETE /tags/{id}."""
        if call.ids[0] not in self.tags:
            raise not_found("Tag")
        name = self.tags.pop(call.ids[0])
        for number, monitor in self.monitors.items():
            if name in monitor["tagNames"]:
                self._touch("monitors", number)
                monitor["tagNames"] = [tag for tag in monitor["tagNames"] if tag != name]
        return 204, None

    def account(self, _: _Call) -> tuple[int, Any]:
        """GET /user/me."""
        return 200, {
            "email": "account@example.com",
            "fullName": "Test Account",
            "monitorsCount": len(self.monitors),
            "monitorLimit": self.monitor_limit,
            "smsCredits": 0,
            "activeSubscription": {"plan": self.plan_name, "monitorLimit": self.monitor_limit},
        }


class _DroppedError(Exception):
    """A request that gets no answer."""


class _LimitedError(Exception):
    """One request too many."""


def _stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


# Which setting of an integration is read as value, and which as customValue. Of the others the value is not read.
VALUES: Mapping[str, str] = {
    "Slack": "webhookURL",
    "MSTeams": "webhookURL",
    "Webhook": "urlToNotify",
    "Zapier": "hookURL",
    "GoogleChat": "roomURL",
    "Discord": "webhookURL",
    "Splunk": "urlToNotify",
    "Mattermost": "webhookURL",
}
UNREAD: Mapping[str, str] = {"Pagerduty": "integrationKey", "PushBullet": "accessToken", "Pushover": "userKey"}
REMARKS: Mapping[str, str] = {
    "Slack": "customValue",
    "GoogleChat": "customMessage",
    "Discord": "customValue",
    "Mattermost": "customValue",
}

# The numbers of the API's second version, which some answers still have.
EVENTS = ("UpAndDown", "Down", "Up", "None")
NUMBERS: Mapping[str, Mapping[str, int]] = {
    "type": {
        "Email": 2,
        "Webhook": 5,
        "PushBullet": 6,
        "Zapier": 7,
        "ProSms": 8,
        "Pushover": 9,
        "Slack": 11,
        "Voice": 14,
        "Splunk": 15,
        "Pagerduty": 16,
        "Telegram": 18,
        "MSTeams": 20,
        "GoogleChat": 21,
        "Discord": 23,
        "Mattermost": 24,
    },
    "status": {"NotActivated": 0, "Paused": 1, "Active": 2},
    "events": {event: number for number, event in enumerate(EVENTS)},
}

PROBES: Json = {
    "syncToken": "1790000000",
    "createDate": "2026-09-01-00-00-00",
    "prefixes": [
        {"ip_prefix": "192.0.2.10/32", "region": "NORTH-AMERICA", "service": "checker"},
        {"ip_prefix": "198.51.100.0/28", "region": "EUROPE", "service": "checker"},
        {"ipv6_prefix": "2001:db8:1::/48", "region": "NORTH-AMERICA", "service": "checker"},
    ],
}

_E = UptimeRobotEmulator
HANDLERS: Mapping[str, Callable[[UptimeRobotEmulator, _Call], tuple[int, Any]]] = {
    "GET /monitors": _E.list_monitors,
    "POST /monitors": _E.create_monitor,
    "GET /monitors/{id}": _E.get_monitor,
    "PATCH /monitors/{id}": _E.update_monitor,
    "DELETE /monitors/{id}": _E.delete_monitor,
    "POST /monitors/{id}/pause": _E.pause_monitor,
    "POST /monitors/{id}/start": _E.start_monitor,
    "POST /monitors/{id}/reset": _E.reset_monitor,
    "GET /psps": _E.list_psps,
    "POST /psps": _E.create_psp,
    "GET /psps/{id}": _E.get_psp,
    "PATCH /psps/{id}": _E.update_psp,
    "DELETE /psps/{id}": _E.delete_psp,
    "GET /psps/{pspId}/announcements": _E.list_announcements,
    "POST /psps/{pspId}/announcements": _E.create_announcement,
    "GET /psps/{pspId}/announcements/{id}": _E.get_announcement,
    "PATCH /psps/{pspId}/announcements/{id}": _E.update_announcement,
    "POST /psps/{pspId}/announcements/{id}/pin": _E.pin_announcement,
    "POST /psps/{pspId}/announcements/{id}/unpin": _E.unpin_announcement,
    "GET /maintenance-windows": _E.list_windows,
    "POST /maintenance-windows": _E.create_window,
    "GET /maintenance-windows/{id}": _E.get_window,
    "PATCH /maintenance-windows/{id}": _E.update_window,
    "DELETE /maintenance-windows/{id}": _E.delete_window,
    "GET /integrations": _E.list_integrations,
    "POST /integrations": _E.create_integration,
    "GET /integrations/{id}": _E.get_integration,
    "PATCH /integrations/{id}": _E.update_integration,
    "DELETE /integrations/{id}": _E.delete_integration,
    "GET /alert-contacts": _E.list_contacts,
    "POST /alert-contacts": _E.create_contact,
    "GET /alert-contacts/{id}": _E.get_contact,
    "PATCH /alert-contacts/{id}": _E.update_contact,
    "DELETE /alert-contacts/{id}": _E.delete_contact,
    "GET /user/me": _E.account,
    "GET /user/alert-contacts": _E.user_contacts,
    "GET /user/all-alert-contacts": _E.all_contacts,
    "GET /monitor-groups": _E.list_groups,
    "POST /monitor-groups": _E.create_group,
    "GET /monitor-groups/{id}": _E.get_group,
    "PATCH /monitor-groups/{id}": _E.update_group,
    "DELETE /monitor-groups/{id}": _E.delete_group,
    "GET /tags": _E.list_tags,
    "DELETE /tags/{id}": _E.delete_tag,
}


def main() -> None:
    """Runs the service from the command line."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--api-key", default="u1-main-key", help="the account's main key")
    arguments.add_argument("--plan", default="Team", choices=sorted(PLANS), help="what the account may do")
    arguments.add_argument("--quirk", action="append", default=[], choices=sorted(QUIRKS), help="a peculiarity")
    arguments.add_argument("--rate-limit", type=int, help="requests in a minute, by default any number")
    arguments.add_argument("--heartbeats-here", action="store_true", help="take heartbeats at its own address")
    options = arguments.parse_args()
    serve(
        UptimeRobotEmulator(
            options.listen,
            options.log,
            api_key=options.api_key,
            plan=options.plan,
            quirks=options.quirk,
            rate_limit=options.rate_limit,
            own_heartbeats=options.heartbeats_here,
        )
    )


if __name__ == "__main__":
    main()
