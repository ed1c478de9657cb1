#!/usr/bin/env python3
"""A stand-in for Grafana 13: its HTTP API with its peculiarities, and its program as a role installs it.

Written from Grafana's own description of its API. It draws nothing and keeps what it is told: data sources, folders,
dashboards, annotations, service accounts, organisations. It says everywhere that it is the test emulator.

In a test it is a server in a thread::

    with GrafanaEmulator() as grafana:
        ... grafana.url, grafana.admin_user, grafana.admin_password, grafana.requests, grafana.fail_next(2, 429) ...

As a program it is what ``bin/grafana`` of a release is: ``grafana server --homepath H --config C``,
``grafana cli --homepath H --config C admin reset-admin-password --password-from-stdin`` and ``grafana -v``. It needs
nothing but Python's standard library, so that it runs on any host.

What no Grafana has is below ``/__emulator__``, for callers on the same machine: ``POST`` and ``DELETE`` of ``faults``,
``GET`` and ``DELETE`` of ``requests``, ``POST`` of ``provisioned`` (data sources as a file would bring them).
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import re
import secrets
import signal
import socket
import sqlite3
import ssl
import sys
import threading
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Self

VERSION = "13.2.3-emulator"
ABOUT = "the test emulator of Watchkeeper, no Grafana"
CONTROL = "/__emulator__"

UID = re.compile(r"[a-zA-Z0-9_-]{1,40}")
# Types under an old name.
ALIASES = {"postgres": "grafana-postgresql-datasource"}
# What a release brings: the types, and whether they have a backend.
PLUGINS = {
    "alertmanager": False,
    "elasticsearch": True,
    "grafana-postgresql-datasource": True,
    "grafana-testdata-datasource": True,
    "graphite": True,
    "influxdb": True,
    "jaeger": True,
    "loki": True,
    "mssql": True,
    "mysql": True,
    "prometheus": True,
    "tempo": True,
    "zipkin": True,
}
# Plugins whose backend lives in Grafana and whose URL is no HTTP address.
SQL_PORTS = {"grafana-postgresql-datasource": 5432, "mysql": 3306, "mssql": 1433}

ROLES = ("None", "Viewer", "Editor", "Admin")
GENERAL = "General"
LOCK_AFTER = 5
LOCK_SECONDS = 300
UPSTREAM_SECONDS = 10
# Requests in the list, so that a host that runs for days keeps its memory.
REMEMBERED = 10_000
V2_KEYS = ("elements", "layout")
V2 = "dashboard appears to be in v2 format. Please use the /apis/dashboard.grafana.app/v2 API"
V2_DB = (
    f"{V2} OR it should include a object wrapper with an explicit 'apiVersion' and move the body into a 'spec' element"
)

Json = dict[str, Any]


class ApiError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, body: Json | str) -> None:
        """`body` is the JSON answer, or the message in it."""
        self.status = status
        self.body: Json = {"message": body} if isinstance(body, str) else body
        super().__init__(f"{status} {self.body.get('message')}")


def coded(status: int, identity: str, message: str) -> ApiError:
    """An error in the form of Grafana's newer parts."""
    return ApiError(status, {"message": message, "messageId": identity, "statusCode": status, "traceID": ""})


def denied(action: str) -> ApiError:
    """The answer to a caller who may not."""
    text = f"You'll need additional permissions to perform this action. Permissions needed: {action}"
    return ApiError(
        403, {"accessErrorId": f"ACE{secrets.randbelow(10**10):010}", "message": text, "title": "Access denied"}
    )


def now() -> str:
    """The present as Grafana writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def slug(title: str) -> str:
    """A title as it stands in an address."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


# --------------------------------------------------------------------------------------------------------------------
# What is kept
# --------------------------------------------------------------------------------------------------------------------

EMPTY: Json = {
    "sequence": {},
    "orgs": [{"id": 1, "name": "Main Org."}],
    "current_org": 1,
    "datasources": [],
    "correlations": [],
    "folders": [],
    "dashboards": [],
    "annotations": [],
    "serviceaccounts": [],
    "tokens": [],
}


class Store:
    """The data base: one document for the objects, and the accounts, which the command line changes beside a server."""

    def __init__(self, path: Path | None, admin_user: str, admin_password: str) -> None:
        """`path` is the file, None for memory. The password counts for an empty data base only, as in Grafana."""
        self._db = sqlite3.connect(str(path) if path else ":memory:", check_same_thread=False, timeout=10)
        self._db.execute("CREATE TABLE IF NOT EXISTS document (id INTEGER PRIMARY KEY, content TEXT NOT NULL)")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS user"
            " (id INTEGER PRIMARY KEY, login TEXT UNIQUE NOT NULL, salt BLOB NOT NULL, digest BLOB NOT NULL)"
        )
        if self._db.execute("SELECT count(*) FROM user").fetchone()[0] == 0:
            self._db.execute("INSERT INTO user VALUES (1, ?, ?, ?)", (admin_user, *_digest(admin_password)))
        row = self._db.execute("SELECT content FROM document WHERE id = 1").fetchone()
        self.data: Json = json.loads(row[0]) if row else json.loads(json.dumps(EMPTY))
        self._db.commit()
        if path:
            path.chmod(0o640)

    def save(self) -> None:
        """Write the document."""
        self._db.execute("INSERT OR REPLACE INTO document VALUES (1, ?)", (json.dumps(self.data),))
        self._db.commit()

    def next_id(self, kind: str) -> int:
        """A number that no object of a kind has had."""
        number: int = self.data["sequence"].get(kind, 0) + 1
        self.data["sequence"][kind] = number
        return number

    def user(self, login: str) -> int | None:
        """The number of an account."""
        row = self._db.execute("SELECT id FROM user WHERE login = ?", (login,)).fetchone()
        return int(row[0]) if row else None

    def login(self, number: int) -> str:
        """The name of an account."""
        row = self._db.execute("SELECT login FROM user WHERE id = ?", (number,)).fetchone()
        return str(row[0]) if row else ""

    def check(self, login: str, password: str) -> int | None:
        """The number of the account that these open."""
        row = self._db.execute("SELECT id, salt, digest FROM user WHERE login = ?", (login,)).fetchone()
        if row and hmac.compare_digest(_digest(password, row[1])[1], row[2]):
            return int(row[0])
        return None

    def set_password(self, number: int, password: str) -> bool:
        """Change a password; False when there is no such account."""
        done = self._db.execute("UPDATE user SET salt = ?, digest = ? WHERE id = ?", (*_digest(password), number))
        self._db.commit()
        return done.rowcount == 1

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def _digest(password: str, salt: bytes | None = None) -> tuple[bytes, bytes]:
    salt = salt or os.urandom(16)
    return salt, hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1000)


# --------------------------------------------------------------------------------------------------------------------
# Requests
# --------------------------------------------------------------------------------------------------------------------


@dataclass
class Caller:
    """Who asks."""

    kind: str
    name: str
    role: str
    org: int
    server_admin: bool = False
    number: int = 0

    def needs(self, role: str, action: str) -> None:
        """Refuse a caller with a lesser role."""
        if ROLES.index(self.role) < ROLES.index(role):
            raise denied(action)


@dataclass
class Request:
    """One request to the API."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    raw: bytes
    caller: Caller = field(default_factory=lambda: Caller("nobody", "", "None", 1))

    def body(self) -> Json:
        """The body, which has to be an object."""
        try:
            content = json.loads(self.raw or b"{}")
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise ApiError(400, "bad request data")
        return content

    def one(self, name: str, otherwise: str = "") -> str:
        """A parameter of the query."""
        return self.query.get(name, [otherwise])[0]

    def number(self, name: str, otherwise: int) -> int:
        """A parameter that is a number."""
        text = self.one(name)
        return int(text) if text.lstrip("-").isdigit() and int(text) > 0 else otherwise


@dataclass
class Answer:
    """What is answered."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json; charset=UTF-8"

    def encoded(self) -> bytes:
        """The body as it is sent."""
        if isinstance(self.body, bytes):
            return self.body
        if isinstance(self.body, str):
            return self.body.encode()
        return json.dumps(self.body).encode()


@dataclass
class Fault:
    """What befalls the next requests that it is meant for."""

    count: int
    status: int = 0
    retry_after: str = ""
    drop: bool = False
    delay: float = 0
    method: str = ""
    path: str = ""
    body: str = ""
    # The request takes effect all the same: only its answer is lost.
    after: bool = False

    def hits(self, request: Request) -> bool:
        """Whether it is meant for this request."""
        return (
            self.count > 0
            and self.method in ("", request.method)
            and re.search(self.path or "", request.path) is not None
        )


class DroppedError(Exception):
    """The connection ends without an answer."""


Handler = Callable[..., Any]
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


def route(method: str, pattern: str) -> Callable[[Handler], Handler]:
    """Enter a method of Api for a path; `:name` stands for one part of it, `*name` for the rest."""
    expression = re.sub(r":(\w+)", r"(?P<\1>[^/]+)", pattern)
    expression = re.sub(r"\*(\w+)", r"(?P<\1>.*)", expression)

    def enter(handler: Handler) -> Handler:
        ROUTES.append((method, re.compile(f"{expression}/?"), handler))
        return handler

    return enter


class Api:
    """Grafana's API over a store."""

    def __init__(self, store: Store, settings: Settings, provisioner: Provisioner | None = None) -> None:
        """`provisioner` is what reads files, where there are any."""
        self.store = store
        self.settings = settings
        self.provisioner = provisioner
        self.lock = threading.RLock()
        self.faults: list[Fault] = []
        self.requests: list[Json] = []
        self.started = time.time()
        # What a save of an old version is answered with: 412 as documented, 409 since it goes through the newer API.
        self.dashboard_conflict = 412
        self.counts: dict[tuple[str, str, int], int] = {}
        self._failures: dict[str, list[float]] = {}
        self._sessions: dict[str, int] = {}

    # --- the way of a request ---

    def handle(self, request: Request, client: str) -> Answer:
        """Answer one request; DroppedError when a fault says so."""
        if request.path == CONTROL or request.path.startswith(f"{CONTROL}/"):
            return self._control(request, client)
        record = {
            "time": time.time(),
            "method": request.method,
            "path": request.path,
            "query": {name: values[-1] for name, values in request.query.items()},
            "headers": {name: value for name, value in request.headers.items() if name != "authorization"},
            "authorization": request.headers.get("authorization", "").partition(" ")[0],
            "body": _readable(request.raw),
            "status": 0,
        }
        with self.lock:
            self.requests.append(record)
            del self.requests[:-REMEMBERED]
            fault = next((fault for fault in self.faults if fault.hits(request)), None)
            if fault:
                fault.count -= 1
                self.faults = [fault for fault in self.faults if fault.count > 0]
        if fault:
            time.sleep(fault.delay)
            if fault.after:
                self._answer(request)
            if fault.drop:
                raise DroppedError
            if fault.status:
                headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
                record["status"] = fault.status
                return Answer(fault.status, fault.body or {"message": "a fault on demand"}, headers)
        answer = self._answer(request)
        record["status"], record["org"], record["caller"] = answer.status, request.caller.org, request.caller.name
        with self.lock:
            key = (request.method, _metric_handler(request.path), answer.status)
            self.counts[key] = self.counts.get(key, 0) + 1
        return answer

    def _answer(self, request: Request) -> Answer:
        path = request.path
        try:
            with self.lock:
                handler, found = _routed(request)
                if path.startswith(("/api/", "/apis/")) and not getattr(handler, "open", False):
                    request.caller = self._caller(request)
                if handler is None or found is None:
                    raise ApiError(404, "Not found")
                parts = {name: urllib.parse.unquote(value) for name, value in found.groupdict().items()}
            # Only what changes something has to be alone; another server's answer may take its time.
            if getattr(handler, "slow", False):
                result = handler(self, request, **parts)
            else:
                with self.lock:
                    result = handler(self, request, **parts)
                    if request.method != "GET":
                        self.store.save()
            return result if isinstance(result, Answer) else Answer(200, result)
        except ApiError as error:
            return Answer(error.status, error.body)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller has to see that it was not his fault
            traceback.print_exc()
            return Answer(500, {"message": f"the emulator failed: {error!r}"})

    def _caller(self, request: Request) -> Caller:
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        wanted = request.headers.get("x-grafana-org-id", "")
        org = int(wanted) if wanted.isdigit() else 0
        if scheme.lower() == "basic" and self.settings.flag("auth.basic", "enabled", True):
            try:
                login, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise coded(400, "basic-auth.invalid-header", "Invalid Basic Auth Header") from None
            if login == "api_key":
                return self._token(password, org)
            return self._member(self._password(login, password), org)
        if scheme.lower() == "bearer":
            return self._token(credentials, org)
        cookie = re.search(r"\bgrafana_session=([0-9a-f]+)", request.headers.get("cookie", ""))
        if cookie and cookie.group(1) in self._sessions:
            return self._member(self._sessions[cookie.group(1)], org)
        if self.settings.flag("auth.anonymous", "enabled"):
            return Caller("anonymous", "", self.settings.get("auth.anonymous", "org_role", "Viewer"), 1)
        raise coded(401, "auth.unauthorized", "Unauthorized")

    def _password(self, login: str, password: str) -> int:
        """The account; after five failures in five minutes even the right password does not open it."""
        protected = not self.settings.flag("security", "disable_brute_force_login_protection")
        recent = [moment for moment in self._failures.get(login, []) if moment > time.time() - LOCK_SECONDS]
        if protected and len(recent) >= LOCK_AFTER:
            raise coded(401, "login-attempt.blocked", "Invalid username or password")
        number = self.store.check(login, password)
        if number is None:
            self._failures[login] = [*recent, time.time()]
            raise coded(401, "password-auth.failed", "Invalid username or password")
        self._failures.pop(login, None)
        return number

    def _member(self, number: int, org: int) -> Caller:
        org = org or self.store.data["current_org"]
        known = any(entry["id"] == org for entry in self.store.data["orgs"])
        return Caller("user", self.store.login(number), "Admin" if known else "None", org, True, number)

    def _token(self, key: str, org: int) -> Caller:
        digest = hashlib.sha256(key.encode()).hexdigest()
        token = next((token for token in self.store.data["tokens"] if token["digest"] == digest), None)
        if token is None:
            raise coded(401, "api-key.invalid", "Invalid API key")
        if token["expires"] and token["expires"] < time.time():
            raise coded(401, "api-key.expired", "Expired API key")
        account = self._account(token["serviceAccountId"], token["orgId"])
        if account["isDisabled"]:
            raise coded(401, "auth.unauthorized", "Unauthorized")
        if org not in (0, account["orgId"]):
            message = "API key does not belong to the requested organization"
            raise coded(401, "api-key.organization-mismatch", message)
        return Caller("service-account", account["login"], account["role"], account["orgId"], False, account["id"])

    # --- the emulator's own ---

    def _control(self, request: Request, client: str) -> Answer:
        if client not in ("127.0.0.1", "::1"):
            return Answer(403, {"message": "for callers on the same machine only"})
        what = request.path.removeprefix(CONTROL).strip("/")
        with self.lock:
            match request.method, what:
                case "GET", "":
                    return Answer(200, {"emulator": ABOUT, "version": VERSION})
                case "GET", "requests":
                    return Answer(200, self.requests)
                case "DELETE", "requests":
                    self.requests.clear()
                    return Answer(200, {})
                case "POST", "faults":
                    self.faults.append(Fault(**{"count": 1, **request.body()}))
                    return Answer(200, {})
                case "DELETE", "faults":
                    self.faults.clear()
                    return Answer(200, {})
                case "POST", "provisioned":
                    self.provision(request.body())
                    return Answer(200, {})
        return Answer(404, {"message": f"{request.method} {request.path} is nothing of the emulator's"})

    def provision(self, source: Json) -> None:
        """Add or replace a data source as a provisioning file does; read-only unless it is `editable`."""
        with self.lock:
            org = int(source.get("orgId") or 1)
            wanted = {
                **source,
                "uid": source.get("uid") or f"P{hashlib.sha256(source['name'].encode()).hexdigest()[:16].upper()}",
            }
            old = next((item for item in self._sources(org) if item["name"] == wanted["name"]), None)
            if old:
                self.store.data["datasources"].remove(old)
            item = self._new_source(wanted, org)
            item["readOnly"] = not source.get("editable", False)
            self.store.save()

    # --- the server itself ---

    @route("GET", "/api/health")
    def health(self, _: Request) -> Json:
        return {"database": "ok", "version": VERSION, "commit": "emulator", "about": ABOUT}

    @route("GET", "/healthz")
    def healthz(self, _: Request) -> Answer:
        return Answer(200, "Ok", content_type="text/plain; charset=utf-8")

    @route("GET", "/")
    def start_page(self, _: Request) -> Answer:
        if self.settings.flag("auth.anonymous", "enabled"):
            page: Answer = self.login_page(_)
            return page
        return Answer(302, "", {"Location": self.settings.sub_path + "/login"})

    @route("GET", "/login")
    def login_page(self, _: Request) -> Answer:
        page = f"<!DOCTYPE html><html><head><title>Grafana</title></head><body><p>This is {ABOUT}.</p></body></html>"
        return Answer(200, page, content_type="text/html; charset=UTF-8")

    @route("POST", "/login")
    def login(self, request: Request) -> Answer:
        body = request.body()
        if self.settings.flag("auth", "disable_login_form"):
            raise coded(401, "login.form-disabled", "Login form is disabled")
        number = self._password(str(body.get("user", "")), str(body.get("password", "")))
        session = secrets.token_hex(16)
        self._sessions[session] = number
        cookie = f"grafana_session={session}; Path=/; Max-Age=2592000; HttpOnly"
        cookie += "; Secure" if self.settings.flag("security", "cookie_secure") else ""
        same_site = self.settings.get("security", "cookie_samesite", "lax").capitalize()
        return Answer(
            200, {"message": "Logged in", "redirectUrl": "/"}, {"Set-Cookie": f"{cookie}; SameSite={same_site}"}
        )

    @route("GET", "/metrics")
    def metrics(self, request: Request) -> Answer:
        if not self.settings.flag("metrics", "enabled", True):
            return Answer(404, "Not found", content_type="text/plain; charset=utf-8")
        user = self.settings.get("metrics", "basic_auth_username")
        if user:
            pair = f"{user}:{self.settings.get('metrics', 'basic_auth_password')}"
            sent = request.headers.get("authorization", "").partition(" ")[2]
            if sent != base64.b64encode(pair.encode()).decode():
                return Answer(401, "", {"WWW-Authenticate": 'Basic realm="Grafana"'})
        return Answer(200, self._metrics(), content_type="text/plain; version=0.0.4; charset=utf-8")

    def _metrics(self) -> str:
        data = self.store.data
        lines = [
            "# HELP grafana_build_info A metric with a constant '1' value labeled by version.",
            "# TYPE grafana_build_info gauge",
            f'grafana_build_info{{branch="emulator",edition="oss",revision="emulator",version="{VERSION}"}} 1',
        ]

        def single(name: str, value: float, kind: str = "gauge") -> None:
            lines.extend((f"# TYPE {name} {kind}", f"{name} {value}"))

        single("grafana_stat_totals_dashboard", len(data["dashboards"]))
        single("grafana_stat_totals_folder", len(data["folders"]))
        single("grafana_stat_total_orgs", len(data["orgs"]))
        single("grafana_stat_total_users", 1)
        single("grafana_stat_total_service_accounts", len(data["serviceaccounts"]))
        single("grafana_instance_start_total", 1, "counter")
        single("process_start_time_seconds", self.started)
        lines.append("# TYPE grafana_stat_totals_datasource gauge")
        kinds = [item["type"] for item in data["datasources"]]
        lines += [
            f'grafana_stat_totals_datasource{{plugin_id="{kind}"}} {kinds.count(kind)}' for kind in sorted({*kinds})
        ]
        name = "grafana_http_request_duration_seconds"
        lines.append(f"# TYPE {name} histogram")
        for (method, handler, status), count in sorted(self.counts.items()):
            labels = f'handler="{handler}",method="{method}",status_code="{status}"'
            lines += [
                f'{name}_bucket{{{labels},le="0.1"}} {count}',
                f'{name}_bucket{{{labels},le="+Inf"}} {count}',
                f"{name}_sum{{{labels}}} {count / 1000}",
                f"{name}_count{{{labels}}} {count}",
            ]
        return "\n".join(lines) + "\n"

    # --- accounts and organisations ---

    @route("GET", "/api/user")
    def own_account(self, request: Request) -> Json:
        caller = request.caller
        if caller.kind != "user":
            raise coded(403, "auth.identity-type", "Endpoint only available for users")
        return {
            "id": caller.number,
            "uid": f"user{caller.number}",
            "login": caller.name,
            "email": f"{caller.name}@localhost",
            "name": "",
            "theme": "",
            "orgId": caller.org,
            "isGrafanaAdmin": caller.server_admin,
            "isDisabled": False,
            "isExternal": False,
        }

    @route("PUT", "/api/user/password")
    def change_own_password(self, request: Request) -> Json:
        body = request.body()
        if self.store.check(request.caller.name, str(body.get("oldPassword", ""))) is None:
            raise coded(401, "user.invalid-old-password", "Invalid old password")
        self.store.set_password(request.caller.number, _acceptable(body.get("newPassword")))
        return {"message": "User password changed"}

    @route("POST", "/api/user/using/:number")
    def switch_org(self, _: Request, number: str) -> Json:
        if not any(str(org["id"]) == number for org in self.store.data["orgs"]):
            raise ApiError(401, "Not a valid organization")
        self.store.data["current_org"] = int(number)
        return {"message": "Active organization changed"}

    @route("PUT", "/api/admin/users/:number/password")
    def change_password(self, request: Request, number: str) -> Json:
        self._server_admin(request, "users.password:write")
        password = _acceptable(request.body().get("password"))
        if not (number.isdigit() and self.store.set_password(int(number), password)):
            raise coded(404, "user.not-found", "user not found")
        return {"message": "User password updated"}

    @route("GET", "/api/org")
    def own_org(self, request: Request) -> Json:
        request.caller.needs("Viewer", "orgs:read")
        org = next(org for org in self.store.data["orgs"] if org["id"] == request.caller.org)
        empty = dict.fromkeys(("address1", "address2", "city", "zipCode", "state", "country"), "")
        return {**org, "address": empty}

    @route("GET", "/api/orgs")
    def orgs(self, request: Request) -> list[Json]:
        self._server_admin(request, "orgs:read")
        return list(self.store.data["orgs"])

    @route("POST", "/api/orgs")
    def create_org(self, request: Request) -> Json:
        self._server_admin(request, "orgs:create")
        name = request.body().get("name")
        if not name:
            raise ApiError(400, "bad request data")
        if any(org["name"] == name for org in self.store.data["orgs"]):
            raise ApiError(409, "Organization name taken")
        number = self.store.next_id("org") + 1
        self.store.data["orgs"].append({"id": number, "name": name})
        return {"message": "Organization created", "orgId": number}

    @route("DELETE", "/api/orgs/:number")
    def delete_org(self, request: Request, number: str) -> Json:
        self._server_admin(request, "orgs:delete")
        data = self.store.data
        if not any(str(org["id"]) == number for org in data["orgs"]):
            raise ApiError(404, "Failed to delete organization. ID not found")
        if int(number) == request.caller.org:
            raise ApiError(400, "Can not delete org for current user")
        data["orgs"] = [org for org in data["orgs"] if str(org["id"]) != number]
        for kind in (
            "datasources",
            "correlations",
            "folders",
            "dashboards",
            "annotations",
            "serviceaccounts",
            "tokens",
        ):
            data[kind] = [item for item in data[kind] if str(item["orgId"]) != number]
        return {"message": "Organization deleted"}

    @route("POST", "/api/user/signup")
    def sign_up(self, _: Request) -> Json:
        raise ApiError(401, "User signup is disabled")

    @route("POST", "/api/admin/provisioning/:kind/reload")
    def reload(self, request: Request, kind: str) -> Answer:
        known = {"dashboards": 200, "datasources": 200, "plugins": 200, "alerting": 202, "access-control": 202}
        if kind not in known:
            raise ApiError(404, "Not found")
        self._server_admin(request, "provisioning:reload")
        if self.provisioner and kind == "dashboards":
            self.provisioner.dashboards()
        if self.provisioner and kind == "datasources":
            self.provisioner.datasources()
        return Answer(known[kind], {"message": f"{kind.replace('-', '').capitalize()} config reloaded"})

    def _server_admin(self, request: Request, action: str) -> None:
        if not request.caller.server_admin:
            raise denied(action)

    # --- data sources ---

    def _sources(self, org: int) -> list[Json]:
        return [item for item in self.store.data["datasources"] if item["orgId"] == org]

    def _source(self, request: Request, uid: str) -> Json:
        found = next((item for item in self._sources(request.caller.org) if item["uid"] == uid), None)
        if found is None:
            raise ApiError(404, "Data source not found")
        return found

    def _shown(self, item: Json) -> Json:
        """A data source without its secrets, which only their names tell of."""
        shown = {key: value for key, value in item.items() if key not in ("secrets", "sealed")}
        readable = item["sealed"] == self.settings.seal
        return {
            **shown,
            "type": ALIASES.get(item["type"], item["type"]),
            "typeLogoUrl": "public/img/icn-datasource.svg",
            "secureJsonFields": {key: True for key, value in item["secrets"].items() if value} if readable else {},
        }

    @route("GET", "/api/datasources")
    def list_sources(self, request: Request) -> list[Json]:
        request.caller.needs("Viewer", "datasources:read")
        # A list has fewer fields than a single read.
        absent = ("basicAuthUser", "withCredentials", "secureJsonFields", "version", "apiVersion")
        found = []
        for item in sorted(self._sources(request.caller.org), key=lambda item: item["name"].lower()):
            shown = {key: value for key, value in self._shown(item).items() if key not in absent}
            found.append({**shown, "typeName": shown["type"].capitalize()})
        return found

    @route("GET", "/api/datasources/uid/:uid")
    def read_source(self, request: Request, uid: str) -> Json:
        request.caller.needs("Viewer", "datasources:read")
        return self._shown(self._source(request, uid))

    @route("GET", "/api/datasources/name/:name")
    def read_source_by_name(self, request: Request, name: str) -> Json:
        request.caller.needs("Viewer", "datasources:read")
        found = next((item for item in self._sources(request.caller.org) if item["name"] == name), None)
        if found is None:
            raise ApiError(404, "Data source not found")
        return self._shown(found)

    @route("POST", "/api/datasources")
    def create_source(self, request: Request) -> Json:
        request.caller.needs("Admin", "datasources:create")
        body = request.body()
        if not (body.get("name") and body.get("type") and body.get("access")):
            raise ApiError(400, "bad request data")
        if body.get("url"):
            _check_url(body)
        same = self._sources(request.caller.org)
        if any(item["name"] == body["name"] for item in same):
            raise ApiError(409, "data source with the same name already exists")
        if body.get("uid"):
            if not UID.fullmatch(body["uid"]):
                raise coded(400, "datasource.uidInvalid", "Invalid datasource UID.")
            if any(item["uid"] == body["uid"] for item in same):
                raise ApiError(409, "data source with the same uid already exists")
        # The first one of an organisation is the default, whatever it says itself.
        item = self._new_source({**body, "isDefault": body.get("isDefault") or not same}, request.caller.org)
        return {"datasource": self._shown(item), "id": item["id"], "message": "Datasource added", "name": item["name"]}

    def _new_source(self, body: Json, org: int) -> Json:
        item: Json = {
            "id": self.store.next_id("datasource"),
            "uid": body.get("uid") or secrets.token_hex(7),
            "orgId": org,
            "name": body["name"],
            "type": body["type"],
            "access": body.get("access") or "proxy",
            "url": body.get("url") or "",
            "user": body.get("user") or "",
            "database": body.get("database") or "",
            "basicAuth": bool(body.get("basicAuth")),
            "basicAuthUser": body.get("basicAuthUser") or "",
            "withCredentials": bool(body.get("withCredentials")),
            "isDefault": bool(body.get("isDefault")),
            "jsonData": body.get("jsonData") or {},
            "secrets": dict(body.get("secureJsonData") or {}),
            "sealed": self.settings.seal,
            "version": 1,
            "readOnly": False,
            "apiVersion": body.get("apiVersion") or "",
        }
        self.store.data["datasources"].append(item)
        self._one_default(item)
        return item

    def _one_default(self, item: Json) -> None:
        if item["isDefault"]:
            for other in self._sources(item["orgId"]):
                other["isDefault"] = other is item

    @route("PUT", "/api/datasources/uid/:uid")
    def update_source(self, request: Request, uid: str) -> Json:
        request.caller.needs("Admin", "datasources:write")
        body = request.body()
        if not (body.get("name") and body.get("type") and body.get("access")):
            raise ApiError(400, "bad request data")
        _check_url(body)
        item = self._source(request, uid)
        if item["readOnly"]:
            raise ApiError(403, "Cannot update read-only data source")
        others = [other for other in self._sources(request.caller.org) if other is not item]
        if any(other["name"] == body["name"] for other in others):
            raise ApiError(409, "Failed to update datasource: data source with the same name already exists")
        if body.get("uid") and not UID.fullmatch(body["uid"]):
            raise coded(400, "datasource.uidInvalid", "Invalid datasource UID.")
        version = int(body.get("version") or 0)
        if version and version < item["version"]:
            text = "Datasource has already been updated by someone else. Please reload and try again"
            raise ApiError(409, text)
        # Columns that an empty value does not clear.
        for key in ("uid", "url", "basicAuthUser", "name", "type", "access"):
            item[key] = body.get(key) or item[key]
        for key in ("user", "database", "apiVersion"):
            item[key] = body.get(key) or ""
        for key in ("basicAuth", "withCredentials", "isDefault"):
            item[key] = bool(body.get(key))
        item["jsonData"] = body.get("jsonData") or {}
        kept = item["secrets"] if item["sealed"] == self.settings.seal else {}
        item["secrets"] = {**kept, **(body.get("secureJsonData") or {})}
        item["sealed"] = self.settings.seal
        item["version"] = version + 1
        self._one_default(item)
        return {
            "datasource": self._shown(item),
            "id": item["id"],
            "message": "Datasource updated",
            "name": item["name"],
        }

    @route("DELETE", "/api/datasources/uid/:uid")
    def delete_source(self, request: Request, uid: str) -> Json:
        request.caller.needs("Admin", "datasources:delete")
        return self._delete_source(self._source(request, uid))

    @route("DELETE", "/api/datasources/name/:name")
    def delete_source_by_name(self, request: Request, name: str) -> Json:
        request.caller.needs("Admin", "datasources:delete")
        found = next((item for item in self._sources(request.caller.org) if item["name"] == name), None)
        if found is None:
            raise ApiError(404, "Data source not found")
        return self._delete_source(found)

    def _delete_source(self, item: Json) -> Json:
        if item["readOnly"]:
            raise ApiError(403, "Cannot delete read-only data source")
        data = self.store.data
        data["datasources"].remove(item)
        data["correlations"] = [
            entry
            for entry in data["correlations"]
            if entry["orgId"] != item["orgId"] or item["uid"] not in (entry["sourceUID"], entry["targetUID"])
        ]
        return {"id": item["id"], "message": "Data source deleted"}

    # --- data sources at work ---

    @route("GET", "/api/datasources/uid/:uid/health")
    def source_health(self, request: Request, uid: str) -> Answer:
        if not UID.fullmatch(uid):
            raise ApiError(400, "UID is invalid")
        with self.lock:
            item = next((item for item in self._sources(request.caller.org) if item["uid"] == uid), None)
        if item is None:
            raise ApiError(500, "Unable to load datasource metadata")
        kind = ALIASES.get(item["type"], item["type"])
        if kind not in PLUGINS:
            raise coded(404, "plugin.notRegistered", "Plugin not registered")
        if not PLUGINS[kind]:
            raise coded(500, "plugin.unavailable", "Plugin unavailable")
        good, message = self._probe(kind, item)
        return Answer(200 if good else 400, {"message": message, "status": "OK" if good else "ERROR"})

    def _probe(self, kind: str, item: Json) -> tuple[bool, str]:
        if kind == "grafana-testdata-datasource":
            return True, "Data source is working"
        if kind in SQL_PORTS:
            host, _, port = item["url"].partition(":")
            try:
                socket.create_connection((host, int(port or SQL_PORTS[kind])), UPSTREAM_SECONDS).close()
            except (OSError, ValueError) as error:
                return False, str(error)
            return True, "Database Connection OK"
        path, praise = {
            "prometheus": ("/api/v1/query?query=1%2B1", "Successfully queried the Prometheus API."),
            "loki": ("/loki/api/v1/query?query=vector(1)%2Bvector(1)", "Data source successfully connected."),
            "jaeger": ("/api/services", "Data source is working"),
            "tempo": ("/api/echo", "Data source is working"),
        }.get(kind, ("", "Data source is working"))
        try:
            status, _, body = self._upstream(item, "GET", path)
        except OSError as error:
            return False, f"There was an error returned querying the {kind} API: {error}"
        if status != 200:
            return False, f"{status} {http.client.responses.get(status, '')}: {body[:200].decode(errors='replace')}"
        return True, praise

    def _upstream(
        self, item: Json, method: str, path: str, body: bytes = b"", content_type: str = ""
    ) -> tuple[int, str, bytes]:
        """Status, type and body of what the program behind a data source answers; OSError when it does not."""
        headers = {"Content-Type": content_type} if content_type else {}
        if item["basicAuth"]:
            pair = f"{item['basicAuthUser']}:{item['secrets'].get('basicAuthPassword', '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        for number in range(1, 20):
            if name := item["jsonData"].get(f"httpHeaderName{number}"):
                headers[name] = item["secrets"].get(f"httpHeaderValue{number}", "")
        url = item["url"].rstrip("/") + path
        if not url.startswith(("http://", "https://")):
            raise OSError(f'unsupported protocol scheme in "{item["url"]}"')
        request = urllib.request.Request(url, body or None, headers, method=method)
        context = ssl.create_default_context() if url.startswith("https:") else None
        if context and item["jsonData"].get("tlsSkipVerify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            with urllib.request.urlopen(request, timeout=UPSTREAM_SECONDS, context=context) as answer:
                return answer.status, answer.headers.get("Content-Type", ""), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers.get("Content-Type", ""), error.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error

    @route("ANY", "/api/datasources/proxy/uid/:uid/*rest")
    def proxy(self, request: Request, uid: str, rest: str) -> Answer:
        with self.lock:
            item = self._source(request, uid)
        path = (
            "/"
            + urllib.parse.quote(rest)
            + ("?" + urllib.parse.urlencode(request.query, True) if request.query else "")
        )
        return self._passed(item, request.method, path, request)

    @route("GET", "/api/alertmanager/:uid/api/v2/status")
    def alertmanager_status(self, request: Request, uid: str) -> Answer:
        with self.lock:
            item = self._source(request, uid)
        if item["type"] != "alertmanager":
            raise ApiError(400, f"unexpected datasource type. expecting alertmanager, got {item['type']}")
        prefix = "" if item["jsonData"].get("implementation") == "prometheus" else "/alertmanager"
        return self._passed(item, "GET", f"{prefix}/api/v2/status", request)

    def _passed(self, item: Json, method: str, path: str, request: Request) -> Answer:
        try:
            status, kind, body = self._upstream(
                item, method, path, request.raw, request.headers.get("content-type", "") if request.raw else ""
            )
        except OSError as error:
            raise ApiError(502, f"bad gateway: {error}") from None
        return Answer(status, body, content_type=kind or "text/plain; charset=utf-8")

    @route("POST", "/api/ds/query")
    def query(self, request: Request) -> Answer:
        body = request.body()
        queries = body.get("queries")
        if not queries:
            raise coded(400, "query.noQueries", "No queries found")
        results: Json = {}
        for number, query in enumerate(queries):
            name = query.get("refId") or chr(ord("A") + number)
            uid = (query.get("datasource") or {}).get("uid", "")
            with self.lock:
                item = self._source(request, uid)
            if item["type"] != "prometheus":
                results[name] = {"status": 501, "error": f"the emulator asks no {item['type']}", "frames": []}
                continue
            results[name] = self._query(item, query, name, str(body.get("from", "now-5m")), str(body.get("to", "now")))
        worst = max(result["status"] for result in results.values())
        return Answer(200 if worst == 200 else 400, {"results": results})

    def _query(self, item: Json, query: Json, name: str, since: str, until: str) -> Json:
        start, end = _moment(since), _moment(until)
        values: dict[str, Any] = {"query": query.get("expr", "")}
        ranged = query.get("range", not query.get("instant"))
        if ranged:
            values |= {"start": start, "end": end, "step": max(int(query.get("intervalMs") or 15000) / 1000, 1)}
        else:
            values["time"] = end
        path = "/api/v1/query_range" if ranged else "/api/v1/query"
        form = urllib.parse.urlencode(values).encode()
        try:
            status, _, raw = self._upstream(item, "POST", path, form, "application/x-www-form-urlencoded")
            content = json.loads(raw)
        except (OSError, ValueError) as error:
            return {"status": 500, "error": str(error), "errorSource": "downstream", "frames": []}
        if content.get("status") != "success":
            told = f"{content.get('errorType', 'error')}: {content.get('error', status)}"
            return {"status": 400, "error": told, "errorSource": "downstream", "frames": []}
        return {"status": 200, "frames": [_frame(series, name) for series in _series(content["data"])]}

    # --- correlations ---

    def _correlations(self, request: Request, uid: str) -> list[Json]:
        org = request.caller.org
        return [
            item for item in self.store.data["correlations"] if item["orgId"] == org and uid in ("", item["sourceUID"])
        ]

    def _correlation(self, request: Request, uid: str, number: str) -> Json:
        found = next((item for item in self._correlations(request, uid) if item["uid"] == number), None)
        if found is None:
            raise ApiError(404, "Correlation not found")
        return found

    @route("GET", "/api/datasources/correlations")
    def all_correlations(self, request: Request) -> Json:
        found = self._correlations(request, "")
        wanted = request.query.get("sourceUID", [])
        found = [item for item in found if not wanted or item["sourceUID"] in wanted]
        page, size = request.number("page", 1), request.number("limit", 100)
        shown = found[(page - 1) * size : page * size]
        return {"correlations": shown, "totalCount": len(found), "page": page, "limit": size}

    @route("GET", "/api/datasources/uid/:uid/correlations")
    def correlations(self, request: Request, uid: str) -> list[Json]:
        self._source(request, uid)
        return self._correlations(request, uid)

    @route("GET", "/api/datasources/uid/:uid/correlations/:number")
    def correlation(self, request: Request, uid: str, number: str) -> Json:
        return self._correlation(request, uid, number)

    @route("POST", "/api/datasources/uid/:uid/correlations")
    def create_correlation(self, request: Request, uid: str) -> Json:
        request.caller.needs("Admin", "datasources:write")
        body = request.body()
        config = body.get("config")
        if not isinstance(config, dict):
            raise ApiError(400, "bad request data")
        # The type has moved out of the configuration, where only the old kind is still taken.
        kind = str(config.get("type") or body.get("type") or "query")
        if config.get("type", "query") != "query" or not config.get("field") or "target" not in config:
            raise ApiError(400, "bad request data")
        if kind not in ("query", "external") or (kind == "query" and not body.get("targetUID")):
            raise ApiError(400, "bad request data")
        source = self._source(request, uid)
        if kind == "query":
            self._source(request, body["targetUID"])
        item = {
            "uid": secrets.token_hex(7),
            "sourceUID": uid,
            "targetUID": body.get("targetUID"),
            "label": body.get("label") or "",
            "description": body.get("description") or "",
            "type": kind,
            "config": {key: value for key, value in config.items() if key != "type"},
            "provisioned": bool(source["readOnly"]),
            "orgId": request.caller.org,
        }
        self.store.data["correlations"].append(item)
        return {"message": "Correlation created", "result": item}

    @route("PATCH", "/api/datasources/uid/:uid/correlations/:number")
    def update_correlation(self, request: Request, uid: str, number: str) -> Json:
        request.caller.needs("Admin", "datasources:write")
        body = {key: value for key, value in request.body().items() if value is not None}
        if not {"label", "description", "type", "config"} & body.keys():
            raise ApiError(400, "At least one of label, description or config is required")
        self._source(request, uid)
        item = self._correlation(request, uid, number)
        if item["provisioned"]:
            raise ApiError(403, "Correlation can only be edited via provisioning")
        for key in ("label", "description", "type"):
            item[key] = body.get(key, item[key])
        item["config"] = {
            **item["config"],
            **{key: value for key, value in body.get("config", {}).items() if key != "type"},
        }
        return {"message": "Correlation updated", "result": item}

    @route("DELETE", "/api/datasources/uid/:uid/correlations/:number")
    def delete_correlation(self, request: Request, uid: str, number: str) -> Json:
        request.caller.needs("Admin", "datasources:write")
        self._source(request, uid)
        item = self._correlation(request, uid, number)
        if item["provisioned"]:
            raise ApiError(403, "Correlation can only be edited via provisioning")
        self.store.data["correlations"].remove(item)
        return {"message": "Correlation deleted"}

    # --- service accounts ---

    def _account(self, number: int, org: int) -> Json:
        for item in self.store.data["serviceaccounts"]:
            if item["id"] == number and item["orgId"] == org:
                found: Json = item
                return found
        raise coded(404, "serviceaccounts.ErrNotFound", "service account not found")

    def _tokens(self, number: int) -> list[Json]:
        return [item for item in self.store.data["tokens"] if item["serviceAccountId"] == number]

    def _account_shown(self, item: Json) -> Json:
        return {**item, "tokens": len(self._tokens(item["id"])), "avatarUrl": "", "accessControl": None}

    @route("GET", "/api/serviceaccounts/search")
    def search_accounts(self, request: Request) -> Json:
        request.caller.needs("Admin", "serviceaccounts:read")
        text = request.one("query").lower()
        found = [
            self._account_shown(item)
            for item in self.store.data["serviceaccounts"]
            if item["orgId"] == request.caller.org and text in f"{item['login']} {item['name']}".lower()
        ]
        page, size = request.number("page", 1), request.number("perpage", 1000)
        shown = found[(page - 1) * size : page * size]
        return {"totalCount": len(found), "serviceAccounts": shown, "page": page, "perPage": size}

    @route("POST", "/api/serviceaccounts")
    def create_account(self, request: Request) -> Answer:
        request.caller.needs("Admin", "serviceaccounts:create")
        body = request.body()
        name, role = str(body.get("name") or ""), body.get("role") or "Viewer"
        if not name:
            raise coded(400, "serviceaccounts.ErrInvalidInput", "invalid input")
        if role not in ROLES:
            raise coded(400, "serviceaccounts.ErrInvalidRoleSpecified", "invalid role specified")
        org = request.caller.org
        login = f"sa-{org}-{slug(name)}"
        if any(item["login"] == login and item["orgId"] == org for item in self.store.data["serviceaccounts"]):
            raise coded(400, "serviceaccounts.ErrAlreadyExists", "service account already exists")
        item = {
            # Accounts of people and of services share their numbers.
            "id": self.store.next_id("account") + 1,
            "uid": secrets.token_hex(7),
            "name": name,
            "login": login,
            "orgId": org,
            "isDisabled": bool(body.get("isDisabled")),
            "role": role,
        }
        self.store.data["serviceaccounts"].append(item)
        return Answer(201, self._account_shown(item))

    @route("GET", "/api/serviceaccounts/:number")
    def read_account(self, request: Request, number: str) -> Json:
        request.caller.needs("Admin", "serviceaccounts:read")
        return self._account_shown(self._account(_number(number), request.caller.org))

    @route("PATCH", "/api/serviceaccounts/:number")
    def update_account(self, request: Request, number: str) -> Json:
        request.caller.needs("Admin", "serviceaccounts:write")
        body = request.body()
        item = self._account(_number(number), request.caller.org)
        if body.get("role") is not None and body["role"] not in ROLES:
            raise coded(400, "serviceaccounts.ErrInvalidRoleSpecified", "invalid role specified")
        for key in ("name", "role", "isDisabled"):
            item[key] = body[key] if body.get(key) is not None else item[key]
        shown = self._account_shown(item)
        return {"message": "Service account updated", "id": item["id"], "name": item["name"], "serviceaccount": shown}

    @route("DELETE", "/api/serviceaccounts/:number")
    def delete_account(self, request: Request, number: str) -> Json:
        request.caller.needs("Admin", "serviceaccounts:delete")
        item = self._account(_number(number), request.caller.org)
        self.store.data["serviceaccounts"].remove(item)
        self.store.data["tokens"] = [
            token for token in self.store.data["tokens"] if token["serviceAccountId"] != item["id"]
        ]
        return {"message": "Service account deleted"}

    @route("GET", "/api/serviceaccounts/:number/tokens")
    def list_tokens(self, request: Request, number: str) -> list[Json]:
        request.caller.needs("Admin", "serviceaccounts:read")
        self._account(_number(number), request.caller.org)
        return [_token_shown(token) for token in self._tokens(int(number))]

    @route("POST", "/api/serviceaccounts/:number/tokens")
    def create_token(self, request: Request, number: str) -> Json:
        request.caller.needs("Admin", "serviceaccounts:write")
        account = self._account(_number(number), request.caller.org)
        body = request.body()
        name, seconds = body.get("name"), body.get("secondsToLive") or 0
        if not name:
            raise coded(400, "serviceaccounts.ErrInvalidInput", "invalid input")
        if not isinstance(seconds, int) or seconds < 0:
            raise coded(400, "serviceaccounts.ErrInvalidInput", "invalid SecondsToLive value")
        if any(token["name"] == name and token["orgId"] == account["orgId"] for token in self.store.data["tokens"]):
            text = "service account token with given name already exists in the organization"
            raise coded(400, "serviceaccounts.ErrTokenAlreadyExists", text)
        secret = secrets.token_urlsafe(24)[:32].replace("-", "x").replace("_", "y")
        key = f"glsa_{secret}_{binascii.crc32(secret.encode()):08x}"
        token = {
            "id": self.store.next_id("token"),
            "name": name,
            "orgId": account["orgId"],
            "serviceAccountId": account["id"],
            "digest": hashlib.sha256(key.encode()).hexdigest(),
            "created": now(),
            "expires": time.time() + seconds if seconds else 0,
        }
        self.store.data["tokens"].append(token)
        return {"id": token["id"], "name": name, "key": key}

    @route("DELETE", "/api/serviceaccounts/:number/tokens/:token")
    def delete_token(self, request: Request, number: str, token: str) -> Json:
        request.caller.needs("Admin", "serviceaccounts:write")
        account = self._account(_number(number), request.caller.org)
        found = next((item for item in self._tokens(account["id"]) if item["id"] == _number(token)), None)
        if found is None:
            raise coded(404, "serviceaccounts.ErrTokenNotFound", "service account token not found")
        self.store.data["tokens"].remove(found)
        return {"message": "Service account token deleted"}

    # --- folders ---

    def _folders(self, org: int) -> list[Json]:
        return [item for item in self.store.data["folders"] if item["orgId"] == org]

    def _folder(self, request: Request, uid: str) -> Json:
        found = next((item for item in self._folders(request.caller.org) if item["uid"] == uid), None)
        if found is None:
            raise ApiError(404, {"message": "folder not found", "status": "not-found"})
        return found

    def _folder_shown(self, item: Json) -> Json:
        allowed = dict.fromkeys(("canSave", "canEdit", "canAdmin", "canDelete"), True)
        parents: list[Json] = []
        parent = item["parentUid"]
        while parent:
            above = next(entry for entry in self._folders(item["orgId"]) if entry["uid"] == parent)
            parents.insert(0, {"uid": above["uid"], "title": above["title"]})
            parent = above["parentUid"]
        shown = {key: value for key, value in item.items() if value != "" or key != "parentUid"}
        url = f"/dashboards/f/{item['uid']}/{slug(item['title'])}"
        return {**shown, "url": url, "hasAcl": False, **allowed, **({"parents": parents} if parents else {})}

    @route("GET", "/api/folders")
    def list_folders(self, request: Request) -> list[Json]:
        request.caller.needs("Viewer", "folders:read")
        parent = request.one("parentUid")
        found = [item for item in self._folders(request.caller.org) if item["parentUid"] == parent]
        page, size = request.number("page", 1), request.number("limit", 1000)
        keys = ("id", "uid", "title", "parentUid")
        return [{key: item[key] for key in keys if item[key] != ""} for item in found[(page - 1) * size : page * size]]

    @route("POST", "/api/folders")
    def create_folder(self, request: Request) -> Json:
        request.caller.needs("Editor", "folders:create")
        body = request.body()
        title, uid, parent = str(body.get("title") or "").strip(), body.get("uid") or "", body.get("parentUid") or ""
        if not title:
            raise ApiError(400, "folder title cannot be empty")
        _check_uid(uid)
        if parent:
            self._folder(request, parent)
        if uid and uid in self._used(request.caller.org):
            text = "the folder has been changed by someone else"
            raise ApiError(412, {"message": text, "status": "version-mismatch"})
        return self._folder_shown(self.new_folder(title, uid, parent, request.caller.org, request.caller.name))

    def new_folder(self, title: str, uid: str, parent: str, org: int, author: str = "") -> Json:
        """Add a folder."""
        item = {
            "id": self.store.next_id("dashboard"),
            "uid": uid or secrets.token_hex(7),
            "orgId": org,
            "title": title,
            "parentUid": parent,
            "version": 1,
            "created": now(),
            "updated": now(),
            "createdBy": author,
            "updatedBy": author,
        }
        self.store.data["folders"].append(item)
        return item

    def _used(self, org: int) -> set[str]:
        both = self.store.data["folders"] + self.store.data["dashboards"]
        return {item["uid"] for item in both if item["orgId"] == org}

    @route("GET", "/api/folders/:uid")
    def read_folder(self, request: Request, uid: str) -> Json:
        request.caller.needs("Viewer", "folders:read")
        return self._folder_shown(self._folder(request, uid))

    @route("PUT", "/api/folders/:uid")
    def update_folder(self, request: Request, uid: str) -> Json:
        request.caller.needs("Editor", "folders:write")
        body = request.body()
        item = self._folder(request, uid)
        if not body.get("overwrite") and body.get("version") != item["version"]:
            text = "the folder has been changed by someone else"
            raise ApiError(412, {"message": text, "status": "version-mismatch"})
        if body.get("title") == "":
            raise ApiError(400, "folder title cannot be empty")
        item["title"] = body.get("title") or item["title"]
        item["version"] += 1
        item["updated"], item["updatedBy"] = now(), request.caller.name
        return self._folder_shown(item)

    @route("POST", "/api/folders/:uid/move")
    def move_folder(self, request: Request, uid: str) -> Json:
        request.caller.needs("Editor", "folders:write")
        item = self._folder(request, uid)
        parent = request.body().get("parentUid") or ""
        above = parent
        while above:
            if above == uid:
                raise coded(400, "folder.circular-reference", "Circular reference detected")
            above = self._folder(request, above)["parentUid"]
        item["parentUid"] = parent
        item["version"] += 1
        return self._folder_shown(item)

    @route("GET", "/api/folders/:uid/counts")
    def folder_counts(self, request: Request, uid: str) -> Json:
        self._folder(request, uid)
        below = self._below(request.caller.org, uid)
        inside = [item for item in self.store.data["dashboards"] if item["folderUid"] in {uid, *below}]
        return {"folder": len(below), "dashboard": len(inside), "librarypanel": 0, "alertrule": 0}

    def _below(self, org: int, uid: str) -> list[str]:
        children = [item["uid"] for item in self._folders(org) if item["parentUid"] == uid]
        return [*children, *(entry for child in children for entry in self._below(org, child))]

    @route("DELETE", "/api/folders/:uid")
    def delete_folder(self, request: Request, uid: str) -> Json:
        request.caller.needs("Editor", "folders:delete")
        item = self._folder(request, uid)
        org, data = request.caller.org, self.store.data
        gone = {uid, *self._below(org, uid)}
        inside = [board for board in data["dashboards"] if board["orgId"] == org and board["folderUid"] in gone]
        if any(board["provisioned"] for board in inside):
            raise ApiError(400, "provisioned dashboard cannot be deleted")
        data["dashboards"] = [board for board in data["dashboards"] if board not in inside]
        data["folders"] = [entry for entry in data["folders"] if entry["orgId"] != org or entry["uid"] not in gone]
        return {"id": item["id"], "message": "Folder deleted"}

    # --- dashboards ---

    def _dashboards(self, org: int) -> list[Json]:
        return [item for item in self.store.data["dashboards"] if item["orgId"] == org]

    def _dashboard(self, request: Request, uid: str) -> Json:
        found = next((item for item in self._dashboards(request.caller.org) if item["uid"] == uid), None)
        if found is None:
            raise ApiError(404, {"message": "Dashboard not found", "status": "not-found"})
        return found

    def _folder_of(self, item: Json) -> Json:
        """What an answer says about the folder that something is in."""
        uid = item["folderUid"]
        folder = next((entry for entry in self._folders(item["orgId"]) if entry["uid"] == uid), None)
        if folder is None:
            return {"folderId": 0, "folderUid": "", "folderTitle": GENERAL, "folderUrl": ""}
        url = f"/dashboards/f/{uid}/{slug(folder['title'])}"
        return {"folderId": folder["id"], "folderUid": uid, "folderTitle": folder["title"], "folderUrl": url}

    @route("GET", "/api/dashboards/uid/:uid")
    def read_dashboard(self, request: Request, uid: str) -> Json:
        request.caller.needs("Viewer", "dashboards:read")
        item = self._dashboard(request, uid)
        meta = {
            "type": "db",
            **dict.fromkeys(("canSave", "canEdit", "canAdmin", "canStar", "canDelete"), True),
            "slug": slug(item["content"]["title"]),
            "url": f"/d/{uid}/{slug(item['content']['title'])}",
            "expires": "0001-01-01T00:00:00Z",
            "created": item["created"],
            "updated": item["updated"],
            "updatedBy": item["author"],
            "createdBy": item["author"],
            "version": item["version"],
            "hasAcl": False,
            "isFolder": False,
            "apiVersion": "v1",
            **self._folder_of(item),
            "provisioned": bool(item["provisioned"]) and not item["provisioned"]["allowUiUpdates"],
            "provisionedExternalId": item["provisioned"]["file"] if item["provisioned"] else "",
        }
        content = {**item["content"], "id": item["id"], "uid": uid, "version": item["version"]}
        return {"meta": meta, "dashboard": content}

    @route("POST", "/api/dashboards/db")
    def save_dashboard(self, request: Request) -> Json:
        request.caller.needs("Editor", "dashboards:create")
        body = request.body()
        content = body.get("dashboard")
        if not isinstance(content, dict):
            raise ApiError(400, "bad request data")
        if body.get("isFolder"):
            raise ApiError(400, "Use folders endpoint for saving folders.")
        folder = body.get("folderUid") or ""
        if folder == "general":
            folder = ""
        if len(body.get("message") or "") > 500:
            raise ApiError(400, "message too long, max 500 characters")
        _check_dashboard(content, V2_DB)
        if folder and not any(item["uid"] == folder for item in self._folders(request.caller.org)):
            raise ApiError(400, {"message": "folder not found", "status": "not-found"})
        item = self.keep_dashboard(
            content,
            folder,
            request.caller.org,
            author=request.caller.name,
            overwrite=bool(body.get("overwrite")),
            message=body.get("message") or "",
        )
        title = slug(item["content"]["title"])
        return {
            "folderUid": folder,
            "id": item["id"],
            "slug": title,
            "status": "success",
            "uid": item["uid"],
            "url": f"{self.settings.sub_path}/d/{item['uid']}/{title}",
            "version": item["version"],
        }

    def keep_dashboard(
        self,
        content: Json,
        folder: str,
        org: int,
        *,
        author: str,
        overwrite: bool = False,
        message: str = "",
        provisioned: Json | None = None,
    ) -> Json:
        """Add a dashboard or replace the one with its uid (or number)."""
        number, uid = content.get("id"), content.get("uid") or ""
        found = next((item for item in self._dashboards(org) if uid and item["uid"] == uid), None)
        if found is None and number and not uid:
            found = next((item for item in self._dashboards(org) if item["id"] == number), None)
            if found is None:
                raise ApiError(404, {"message": "Dashboard not found", "status": "not-found"})
        if found is None and uid in {item["uid"] for item in self._folders(org)}:
            raise ApiError(400, "A dashboard with the same uid already exists")
        kept = {key: value for key, value in content.items() if key not in ("id", "version")}
        if found is None:
            found = {
                "id": self.store.next_id("dashboard"),
                "uid": uid or secrets.token_hex(7),
                "orgId": org,
                "version": 0,
                "created": now(),
                "provisioned": None,
            }
            self.store.data["dashboards"].append(found)
        elif provisioned is None:
            if found["provisioned"] and not found["provisioned"]["allowUiUpdates"]:
                raise ApiError(400, "Cannot save provisioned dashboard")
            if not overwrite and content.get("version") != found["version"]:
                raise self._conflict()
        found |= {
            "uid": uid or found["uid"],
            "content": {**kept, "uid": uid or found["uid"]},
            "folderUid": folder,
            "version": found["version"] + 1,
            "updated": now(),
            "author": author,
            "message": message,
        }
        if provisioned:
            found["provisioned"] = provisioned
        return found

    def _conflict(self) -> ApiError:
        if self.dashboard_conflict == 409:
            return ApiError(409, "Dashboard already exists. Use overwrite flag to update.")
        text = "The dashboard has been changed by someone else"
        return ApiError(412, {"message": text, "status": "version-mismatch"})

    @route("DELETE", "/api/dashboards/uid/:uid")
    def delete_dashboard(self, request: Request, uid: str) -> Json:
        request.caller.needs("Editor", "dashboards:delete")
        item = self._dashboard(request, uid)
        if item["provisioned"]:
            raise ApiError(400, "provisioned dashboard cannot be deleted")
        self.store.data["dashboards"].remove(item)
        title = item["content"]["title"]
        return {"message": f"Dashboard {title} deleted", "title": title, "uid": uid}

    @route("GET", "/api/search")
    def search(self, request: Request) -> list[Json]:
        request.caller.needs("Viewer", "dashboards:read")
        found: list[Json] = []
        org, kind, text = request.caller.org, request.one("type"), request.one("query").lower()
        folders, tags = request.query.get("folderUIDs", []), set(request.query.get("tag", []))
        if kind in ("", "dash-folder") and not tags:
            found += [
                {
                    "id": item["id"],
                    "uid": item["uid"],
                    "title": item["title"],
                    "url": f"/dashboards/f/{item['uid']}/{slug(item['title'])}",
                    "type": "dash-folder",
                    "tags": [],
                    **({"folderUid": item["parentUid"]} if item["parentUid"] else {}),
                }
                for item in self._folders(org)
                if not folders or item["parentUid"] in folders
            ]
        if kind in ("", "dash-db"):
            for item in self._dashboards(org):
                if (folders and (item["folderUid"] or "general") not in folders) or not tags <= {
                    *(item["content"].get("tags") or [])
                }:
                    continue
                title = item["content"]["title"]
                place = {key: value for key, value in self._folder_of(item).items() if value and item["folderUid"]}
                found.append(
                    {
                        "id": item["id"],
                        "uid": item["uid"],
                        "title": title,
                        "uri": f"db/{slug(title)}",
                        "url": f"/d/{item['uid']}/{slug(title)}",
                        "slug": "",
                        "type": "dash-db",
                        "tags": item["content"].get("tags") or [],
                        "isStarred": False,
                        **place,
                    }
                )
        uids = request.query.get("dashboardUIDs", []) + request.query.get("dashboardUID", [])
        found = [item for item in found if text in item["title"].lower() and (not uids or item["uid"] in uids)]
        page, size = request.number("page", 1), request.number("limit", 1000)
        return sorted(found, key=lambda item: item["title"].lower())[(page - 1) * size : page * size]

    # --- annotations ---

    @route("GET", "/api/annotations")
    def list_annotations(self, request: Request) -> list[Json]:
        request.caller.needs("Viewer", "annotations:read")
        tags = request.query.get("tags", [])
        start, end = request.number("from", 0), request.number("to", 0)
        join = any if request.one("matchAny") == "true" else all
        found = [
            item
            for item in self.store.data["annotations"]
            if item["orgId"] == request.caller.org
            and (not tags or join(tag in item["tags"] for tag in tags))
            and (not start or item["timeEnd"] >= start)
            and (not end or item["time"] <= end)
            and request.one("dashboardUID") in ("", item["dashboardUID"])
        ]
        found.sort(key=lambda item: -item["time"])
        return found[: request.number("limit", 100)]

    @route("POST", "/api/annotations")
    def create_annotation(self, request: Request) -> Json:
        request.caller.needs("Editor", "annotations:create")
        body = request.body()
        if not body.get("text"):
            raise ApiError(400, "Failed to save annotation")
        moment = int(body.get("time") or time.time() * 1000)
        item = {
            "id": self.store.next_id("annotation"),
            "orgId": request.caller.org,
            "text": body["text"],
            "tags": body.get("tags") or [],
            "time": moment,
            "timeEnd": int(body.get("timeEnd") or moment),
            "dashboardUID": body.get("dashboardUID") or "",
            "panelId": body.get("panelId") or 0,
            "login": request.caller.name,
        }
        self.store.data["annotations"].append(item)
        return {"id": item["id"], "message": "Annotation added"}

    @route("DELETE", "/api/annotations/:number")
    def delete_annotation(self, request: Request, number: str) -> Json:
        request.caller.needs("Editor", "annotations:delete")
        found = [item for item in self.store.data["annotations"] if str(item["id"]) == number]
        if not found:
            raise ApiError(404, "Could not find annotation to update")
        self.store.data["annotations"].remove(found[0])
        return {"message": "Annotation deleted"}


for _handler in (Api.health, Api.healthz, Api.sign_up):
    _handler.open = True  # type: ignore[attr-defined]
for _handler in (Api.source_health, Api.proxy, Api.alertmanager_status, Api.query):
    _handler.slow = True  # type: ignore[attr-defined]


def _routed(request: Request) -> tuple[Handler | None, re.Match[str] | None]:
    """What answers a request, and the parts of its path."""
    for method, pattern, handler in ROUTES:
        found = pattern.fullmatch(request.path)
        if found and method in (request.method, "ANY"):
            return handler, found
    return None, None


def _readable(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return raw.decode("utf-8", "replace")


def _metric_handler(path: str) -> str:
    return re.sub(r"(?<=/uid/)[^/]+", ":uid", re.sub(r"/\d+(?=/|$)", "/:id", path))


def _acceptable(password: Any) -> str:
    if not isinstance(password, str) or len(password) < 4:
        raise coded(400, "password.password-policy-too-short", "New password is too short")
    return password


def _number(text: str) -> int:
    if not text.isdigit():
        raise coded(400, "serviceaccounts.ErrInvalidInput", "Service Account ID is invalid")
    return int(text)


def _token_shown(token: Json) -> Json:
    left = token["expires"] - time.time() if token["expires"] else 0
    moment = datetime.fromtimestamp(token["expires"], UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "id": token["id"],
        "name": token["name"],
        "created": token["created"],
        "lastUsedAt": None,
        "expiration": moment if token["expires"] else None,
        "secondsUntilExpiration": left if 0 < left < 7 * 86400 else 0,
        "hasExpired": left < 0,
        "isRevoked": False,
    }


def _check_url(body: Json) -> None:
    """Refuse what Go takes for no URL. A core type needs one; without a scheme it passes, and fails at work."""
    url, kind = str(body.get("url") or ""), ALIASES.get(body["type"], body["type"])
    empty = not url.strip() and kind in PLUGINS and kind != "grafana-testdata-datasource"
    if empty or re.search(r"[\x00-\x20\x7f]", url) or re.match(r":|[^/]*://[^/@]*:[^/0-9]", url):
        raise ApiError(400, "Validation error, invalid URL")


def _check_uid(uid: str) -> None:
    if len(uid) > 40:
        raise ApiError(400, "uid too long, max 40 characters")
    if uid and not UID.fullmatch(uid):
        raise ApiError(400, "uid contains illegal characters")


def _check_dashboard(content: Json, v2: str) -> None:
    if "apiVersion" in content and "spec" in content:
        if "id" in content:
            raise ApiError(400, "The k8s style dashboard must not include an id on the root element")
        raise ApiError(501, f"{ABOUT}, keeps no dashboard in this form")
    if any(key in content for key in V2_KEYS):
        raise ApiError(400, v2)
    if not str(content.get("title") or ""):
        raise ApiError(400, "Dashboard spec is missing required title property")
    if len(content["title"]) > 5000:
        text = "Dashboard title cannot contain more than 5 000 characters"
        raise ApiError(400, {"message": text, "status": "title-too-long"})
    _check_uid(content.get("uid") or "")


def _moment(text: str) -> float:
    """A moment as a dashboard names it: milliseconds, now, now-1h."""
    if text.isdigit():
        return int(text) / 1000
    found = re.fullmatch(r"now(?:-(\d+)([smhdw]))?", text)
    if not found:
        raise ApiError(400, "bad request data")
    return time.time() - int(found[1] or 0) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[found[2] or "s"]


def _series(data: Json) -> list[tuple[Json, list[Any]]]:
    if data["resultType"] in ("scalar", "string"):
        return [({}, [data["result"]])]
    return [(item["metric"], item.get("values") or [item["value"]]) for item in data["result"]]


def _frame(series: tuple[Json, list[Any]], name: str) -> Json:
    labels, points = series
    fields = [{"name": "Time", "type": "time"}, {"name": "Value", "type": "number", "labels": labels}]
    numbers = [float(value) for _, value in points]
    values = [number if abs(number) != float("inf") and number == number else None for number in numbers]
    return {
        "schema": {"refId": name, "fields": fields},
        "data": {"values": [[int(float(moment) * 1000) for moment, _ in points], values]},
    }


# --------------------------------------------------------------------------------------------------------------------
# Configuration
# --------------------------------------------------------------------------------------------------------------------


# What a release brings as conf/defaults.ini: the keys that count here.
DEFAULTS = """\
# Defaults of the test emulator. Keys that it does not know are taken and change nothing.
app_mode = production
instance_name = ${HOSTNAME}

[paths]
data = data
logs = data/log
plugins = data/plugins
provisioning = conf/provisioning

[server]
protocol = http
http_addr =
http_port = 3000
domain = localhost
root_url = %(protocol)s://%(domain)s:%(http_port)s/
serve_from_sub_path = false
cert_file =
cert_key =

[database]
type = sqlite3
host = 127.0.0.1:5432
name = grafana
user = root
password =
url =
path = grafana.db

[security]
admin_user = admin
admin_password = admin
secret_key = the-default-of-the-emulator
cookie_secure = false
cookie_samesite = lax
disable_brute_force_login_protection = false

[auth]
disable_login_form = false

[auth.anonymous]
enabled = false
org_role = Viewer

[auth.basic]
enabled = true

[metrics]
enabled = true
basic_auth_username =
basic_auth_password =
"""


class SettingsError(Exception):
    """A configuration with which Grafana does not start."""


class Settings:
    """What grafana.ini says: sections of keys, and `$__file{}`, `$__env{}` and `${}` in the values."""

    def __init__(self, values: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """`values` are the keys by section; the section DEFAULT is the top of the file."""
        self.values: dict[str, dict[str, str]] = {name: dict(keys) for name, keys in (values or {}).items()}

    @classmethod
    def read(cls, home: Path, config: Path | None, overrides: list[str]) -> Settings:
        """Read the defaults of a release, the file, the environment and `cfg:` arguments, each over the one before."""
        settings = cls()
        defaults = home / "conf" / "defaults.ini"
        if not defaults.is_file():
            raise SettingsError(f"failed to load defaults: open {defaults}: no such file or directory (--homepath?)")
        settings._merge(_ini(defaults))
        custom = config or home / "conf" / "custom.ini"
        if config or custom.is_file():
            settings._merge(_ini(custom))
        for name, value in os.environ.items():
            for section, keys in settings.values.items():
                for key in keys:
                    prefix = "" if section == "DEFAULT" else re.sub(r"[.-]", "_", section).upper() + "_"
                    if name == f"GF_{prefix}{re.sub(r'[.-]', '_', key).upper()}":
                        keys[key] = value
        for override in overrides:
            name, _, value = override.removeprefix("cfg:").removeprefix("default.").partition("=")
            section, _, key = name.rpartition(".")
            settings.values.setdefault(section or "DEFAULT", {})[key] = value
        top = settings.values.get("DEFAULT", {})
        for section, keys in settings.values.items():
            for key, value in keys.items():
                text = re.sub(r"%\((\w+)\)s", lambda name: {**top, **keys}.get(name[1], name[0]), value)  # noqa: B023
                keys[key] = _expanded(text, f"[{section}] {key}")
        return settings

    def _merge(self, values: Mapping[str, Mapping[str, str]]) -> None:
        for section, keys in values.items():
            self.values.setdefault(section, {}).update(keys)

    def get(self, section: str, key: str, otherwise: str = "") -> str:
        """A value as text."""
        return self.values.get(section, {}).get(key, otherwise) or otherwise

    def flag(self, section: str, key: str, otherwise: bool = False) -> bool:
        """A value that is true or false."""
        return self.get(section, key, str(otherwise)).strip().lower() in ("true", "1", "yes", "on", "t", "y")

    @property
    def seal(self) -> str:
        """What secrets are kept with: they cannot be read with another secret key."""
        return hashlib.sha256(self.get("security", "secret_key", "none").encode()).hexdigest()[:16]

    @property
    def sub_path(self) -> str:
        """The path below which the pages are served."""
        path = urllib.parse.urlsplit(self.get("server", "root_url")).path.rstrip("/")
        return path if self.flag("server", "serve_from_sub_path") else ""

    def path(self, key: str, home: Path) -> Path:
        """A folder of the section paths, which is relative to the home folder."""
        return home / self.get("paths", key, key)


def _ini(file: Path) -> dict[str, dict[str, str]]:
    """The keys of a configuration file by section."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"failed to parse {file}: {error}") from error
    found: dict[str, dict[str, str]] = {"DEFAULT": {}}
    section = "DEFAULT"
    lines = iter(enumerate(text.splitlines(), 1))
    for number, written in lines:
        line = written.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            if not line.partition("]")[1]:
                raise SettingsError(f"failed to parse {file}: unclosed section on line {number}: {line}")
            section = line[1:].partition("]")[0].strip()
            found.setdefault(section, {})
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise SettingsError(f'failed to parse {file}: key-value delimiter not found on line {number}: "{line}"')
        value = value.strip()
        if value.startswith('"""'):
            value = value[3:]
            while '"""' not in value:
                following = next(lines, None)
                if following is None:
                    raise SettingsError(f"failed to parse {file}: missing closing quotes of the value on line {number}")
                value += "\n" + following[1]
            value = value.partition('"""')[0]
        elif len(value) > 1 and value[0] in "`\"'" and value.find(value[0], 1) > 0:
            value = value[1:].partition(value[0])[0]
        else:
            # A comment behind a value needs a space in front of it.
            value = re.split(r"\s[#;]", value, maxsplit=1)[0].strip()
        found[section][key.strip()] = value
    return found


def _expanded(value: str, where: str) -> str:
    """A value with what it refers to put in."""

    def replace(found: re.Match[str]) -> str:
        kind, name = found.group(1) or "env", found.group(2)
        if kind == "env":
            return os.environ.get(name, "")
        if kind != "file":
            raise SettingsError(f"{where}: no expander '{kind}'")
        try:
            return Path(name).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{where}: {error}") from error

    return re.sub(r"\$(?:__(\w+))?\{([^}]+)\}", replace, value)


def _yaml(text: str, where: str) -> Any:
    """A file in the simple form of YAML in which provisioning files are written: blocks, plain values, or JSON."""
    if (stripped := re.sub(r"^(---|#.*|\s*)$", "", text, flags=re.MULTILINE).strip())[:1] in ("{", "["):
        try:
            return json.loads(stripped)
        except ValueError as error:
            raise SettingsError(f"{where}:{getattr(error, 'lineno', 1)}: yaml: {error}") from error
    rows: list[tuple[int, str, int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        content = re.sub(r"(^|\s)#(?=([^\"']|\"[^\"]*\"|'[^']*')*$).*$", "", line).rstrip()
        if content.strip() and content.strip() != "---":
            rows.append((len(content) - len(content.lstrip()), content.strip(), number))

    def value(found: str, number: int) -> Any:
        if found[:1] in '[{"':
            try:
                return json.loads(found)
            except ValueError:
                raise SettingsError(f"{where}:{number}: the emulator does not read {found!r}") from None
        if found[:1] == "'":
            return found[1:-1].replace("''", "'")
        if found in ("true", "false", "null", "~", ""):
            return {"true": True, "false": False}.get(found)
        return int(found) if re.fullmatch(r"-?\d+", found) else found

    def block(position: int, depth: int) -> tuple[Any, int]:
        if rows[position][1].startswith("- ") or rows[position][1] == "-":
            listed: list[Any] = []
            while position < len(rows) and rows[position][0] == depth and rows[position][1].startswith("-"):
                _, content, number = rows[position]
                rest = content[1:].strip()
                if not rest:
                    entry, position = block(position + 1, rows[position + 1][0])
                elif re.match(r"[\w.-]+:(\s|$)", rest):
                    inner = depth + content.index(rest)
                    rows[position] = (inner, rest, number)
                    entry, position = block(position, inner)
                else:
                    entry, position = value(rest, number), position + 1
                listed.append(entry)
            return listed, position
        mapped: Json = {}
        while position < len(rows) and rows[position][0] == depth:
            _, content, number = rows[position]
            found = re.match(r"(\"[^\"]*\"|'[^']*'|[^\s:]+):(?:\s+(.*))?$", content)
            if not found:
                raise SettingsError(f"{where}:{number}: yaml: could not find expected ':' in {content!r}")
            key, rest = found.group(1).strip("\"'"), (found.group(2) or "").strip()
            position += 1
            deeper = position < len(rows) and (
                rows[position][0] > depth or (rows[position][0] == depth and rows[position][1].startswith("-"))
            )
            if not rest and deeper:
                mapped[key], position = block(position, rows[position][0])
            else:
                mapped[key] = value(rest, number)
        if position < len(rows) and rows[position][0] > depth:
            raise SettingsError(f"{where}:{rows[position][2]}: yaml: mapping values are not allowed in this context")
        return mapped, position

    if not rows:
        return None
    found, position = block(0, rows[0][0])
    if position != len(rows):
        raise SettingsError(f"{where}:{rows[position][2]}: yaml: did not find expected key")
    return found


# --------------------------------------------------------------------------------------------------------------------
# Provisioning from files
# --------------------------------------------------------------------------------------------------------------------


def say(logger: str, level: str, message: str, **details: Any) -> None:
    """One line of the log, as Grafana writes them."""
    stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    words = [f"logger={logger}", f"t={stamp}", f"level={level}", f"msg={json.dumps(message)}"]
    for key, value in details.items():
        text = str(value)
        plain = re.fullmatch(r'[^\s="]+', text)
        words.append(f"{key}={text if plain else json.dumps(text)}")
    print(" ".join(words), flush=True)


class Provisioner:
    """Reads the provisioning files: data sources once, dashboards again and again."""

    def __init__(self, folder: Path) -> None:
        """`folder` is what [paths] provisioning names."""
        self.folder = folder
        self.api: Api | None = None
        self.providers: list[Json] = []
        self._said: set[str] = set()

    def start(self, api: Api) -> None:
        """Read everything once; SettingsError where Grafana would not start."""
        self.api = api
        self.datasources()
        self.providers = [
            {"file": file, **provider}
            for file in self._files("dashboards")
            for provider in (self._content(file).get("providers") or [])
        ]
        names = [str(provider.get("name")) for provider in self.providers]
        for provider in self.providers:
            for key in ("name", "type"):
                if not provider.get(key):
                    raise SettingsError(f"{provider['file']}: a dashboard provider has no {key}")
            if provider["type"] != "file":
                raise SettingsError(f"{provider['file']}: type {provider['type']} is not supported")
            if not (provider.get("options") or {}).get("path"):
                raise SettingsError(f"{provider['file']}: failed to load dashboards, path param is not a string")
            if names.count(provider["name"]) > 1:
                raise SettingsError(f"dashboard name {provider['name']!r} is not unique")
            if provider.get("folder") and provider["options"].get("foldersFromFilesStructure"):
                text = "'folder' and 'folderUID' should be empty using 'foldersFromFilesStructure' option"
                raise SettingsError(f"{provider['file']}: {text}")
        self.dashboards()

    def _files(self, kind: str) -> list[Path]:
        folder = self.folder / kind
        if not folder.is_dir():
            self._once("error", f"can't read {kind} provisioning files from directory", path=str(folder))
            return []
        return sorted(path for path in folder.iterdir() if path.suffix in (".yml", ".yaml"))

    def _content(self, file: Path) -> Json:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file}: {error}") from error
        found = _yaml(text, str(file))
        if found is not None and not isinstance(found, dict):
            raise SettingsError(f"{file}: yaml: cannot unmarshal !!seq")
        return found or {}

    def _once(self, level: str, message: str, **details: Any) -> None:
        """Say something that would be said at every poll."""
        key = json.dumps([level, message, details], default=str)
        if key not in self._said:
            self._said.add(key)
            say("provisioning.dashboard", level, message, **details)

    def datasources(self) -> None:
        """Bring the data sources of the files."""
        assert self.api is not None
        for file in self._files("datasources"):
            for source in self._content(file).get("datasources") or []:
                if not source.get("name") or not source.get("type"):
                    raise SettingsError(f"{file}: datasource name and type are required")
                if source.get("uid") and not UID.fullmatch(str(source["uid"])):
                    raise SettingsError(f"{file}: invalid UID for datasource {source['name']}")
                text = json.dumps({"orgId": 1, "access": "proxy", **source})
                self.api.provision(json.loads(_expanded(text.replace("$$", "\0"), str(file)).replace("\0", "$")))

    def poll(self, stop: threading.Event) -> None:
        """Look for changes as often as the provider with the shortest interval wants it."""
        seconds = min((int(item.get("updateIntervalSeconds") or 10) for item in self.providers), default=0)
        while seconds and not stop.wait(seconds):
            self.dashboards()

    def dashboards(self) -> None:
        """Make the dashboards what the files say."""
        assert self.api is not None
        with self.api.lock:
            before = json.dumps(self.api.store.data)
            boards = {provider["name"]: self._walk(provider) for provider in self.providers}
            uids: dict[str, list[str]] = {}
            titles: dict[tuple[str, str], list[str]] = {}
            for provider in self.providers:
                structured = provider["options"].get("foldersFromFilesStructure")
                for item in boards[provider["name"]]:
                    uids.setdefault(item["content"]["uid"], []).append(provider["name"])
                    folder = item["folder"] if structured else provider.get("folder") or ""
                    titles.setdefault((folder, item["content"]["title"]), []).append(provider["name"])
            for uid, names in sorted(uids.items()):
                if len(names) > 1:
                    text = "the same UID is used more than once"
                    self._once("warn", text, uid=uid, times=len(names), providers=sorted({*names}))
            # A title twice in one folder freezes a provider as well, without a word about the title.
            both = (*uids.values(), *titles.values())
            frozen = {name for names in both if len(names) > 1 for name in names}
            for provider in self.providers:
                name = provider["name"]
                if name in frozen:
                    text = "dashboards provisioning provider has no database write permissions because of duplicates"
                    self._once("warn", text, provider=name, orgId=int(provider.get("orgId") or 1))
                    continue
                self._bring(provider, boards[name])
            self._drop({provider["name"] for provider in self.providers})
            if json.dumps(self.api.store.data) != before:
                self.api.store.save()

    def _walk(self, provider: Json) -> list[Json]:
        """The dashboards below a provider's path that can be read."""
        root = Path(str(provider["options"]["path"]))
        if not root.is_dir():
            self._once("error", "Cannot read directory", error=f"stat {root}: no such file or directory")
            return []
        found = []
        for file in sorted(root.resolve().rglob("*.json")):
            relative = file.relative_to(root.resolve())
            if any(part.startswith(".") for part in relative.parts[:-1]) or not file.is_file():
                continue
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                if not isinstance(content, dict):
                    raise ValueError("json: cannot unmarshal into a dashboard")
                if not content.get("title") and not any(key in content for key in (*V2_KEYS, "spec")):
                    raise ValueError("Dashboard title cannot be empty")
            except (OSError, ValueError) as error:
                self._once("error", "failed to load dashboard from ", file=str(file), error=str(error))
                continue
            try:
                _check_dashboard({key: value for key, value in content.items() if key != "id"}, V2)
            except ApiError as error:
                text = str(error.body["message"])
                self._once("error", "failed to save dashboard", file=str(file), error=text)
                continue
            generated = hashlib.sha256(f"{provider['name']}{relative}".encode()).hexdigest()[:14]
            content = {**content, "uid": content.get("uid") or generated}
            found.append({"content": content, "file": str(relative), "path": str(file), "folder": relative.parent.name})
        return found

    def _bring(self, provider: Json, boards: list[Json]) -> None:
        assert self.api is not None
        org, name = int(provider.get("orgId") or 1), str(provider["name"])
        kept = self.api.store.data["dashboards"]
        # What has left its path goes first, so a dashboard whose file has moved starts afresh.
        there = {board["path"] for board in boards}
        for item in [item for item in kept if (item["provisioned"] or {}).get("provider") == name]:
            if item["provisioned"]["path"] not in there:
                if provider.get("disableDeletion"):
                    item["provisioned"] = None
                else:
                    kept.remove(item)
        for board in boards:
            title = provider.get("folder") or ""
            if provider["options"].get("foldersFromFilesStructure"):
                title = board["folder"]
            uid = self._folder(title, str(provider.get("folderUid") or ""), org)
            text = json.dumps([board["content"], uid], sort_keys=True)
            note = {
                "provider": name,
                "file": board["file"],
                "path": board["path"],
                "allowUiUpdates": bool(provider.get("allowUiUpdates")),
                "digest": hashlib.sha256(text.encode()).hexdigest(),
            }
            same = [item for item in kept if item["orgId"] == org and item["uid"] == board["content"]["uid"]]
            if same and (same[0]["provisioned"] or {}).get("digest") == note["digest"]:
                same[0]["provisioned"] = note
                continue
            self.api.keep_dashboard(board["content"], uid, org, author="", provisioned=note)
            say("provisioning.dashboard", "info", "saved dashboard", file=board["file"], provider=name)

    def _drop(self, providers: set[str]) -> None:
        """Delete the dashboards of providers that are gone."""
        assert self.api is not None
        kept = self.api.store.data["dashboards"]
        for item in [item for item in kept if item["provisioned"] and item["provisioned"]["provider"] not in providers]:
            kept.remove(item)

    def _folder(self, title: str, uid: str, org: int) -> str:
        assert self.api is not None
        if title in ("", GENERAL):
            return ""
        for item in self.api.store.data["folders"]:
            if item["orgId"] == org and (item["uid"] == uid or (not item["parentUid"] and item["title"] == title)):
                return str(item["uid"])
        return str(self.api.new_folder(title, uid, "", org)["uid"])


# --------------------------------------------------------------------------------------------------------------------
# The server
# --------------------------------------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listen: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
        super().__init__(listen, handler)

    def server_bind(self) -> None:
        """Do not ask for the name of the address: there may be nobody who answers."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay quiet about clients that hang up; report all else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _serve(api: Api, listen: tuple[str, int]) -> _Server:
    """A server that answers for `api`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            address = urllib.parse.urlsplit(self.path)
            prefix = api.settings.sub_path
            path = address.path.removeprefix(prefix) or "/"
            headers = {name.lower(): value for name, value in self.headers.items()}
            query = urllib.parse.parse_qs(address.query, keep_blank_values=True)
            try:
                answer = api.handle(Request(self.command, path, query, headers, raw), str(self.client_address[0]))
            except DroppedError:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            body = answer.encoded()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Grafana-Emulator", VERSION)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _any  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Says nothing: the records are the log."""

    return _Server(listen, Handler)


class GrafanaEmulator:
    """The emulator in a thread of a test."""

    def __init__(
        self,
        port: int = 0,
        admin_user: str = "admin",
        admin_password: str = "emulator-Passw0rd",  # noqa: S107 - of a server that lives as long as a test
        settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """`settings` are keys of grafana.ini by section."""
        self.admin_user, self.admin_password = admin_user, admin_password
        self.store = Store(None, admin_user, admin_password)
        self.api = Api(self.store, Settings(settings))
        self._listen = ("127.0.0.1", port)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen; again after `stop`, on the same port and with what was kept."""
        self._server = _serve(self.api, self._listen)
        self._listen = ("127.0.0.1", self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no longer; what is kept stays."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.store.close()

    @property
    def port(self) -> int:
        """The port, once it listens."""
        return self._listen[1]

    @property
    def url(self) -> str:
        """The address without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Json]:
        """What was asked so far: method, path, query, headers (without authorisation), body, status, org, caller."""
        with self.api.lock:
            return list(self.api.requests)

    def forget(self) -> None:
        """Empty the list of requests."""
        with self.api.lock:
            self.api.requests.clear()

    @property
    def writes(self) -> list[str]:
        """`METHOD path` of each request so far that may change something."""
        return [f"{item['method']} {item['path']}" for item in self.requests if item["method"] not in ("GET", "HEAD")]

    def _fault(self, fault: Fault) -> None:
        with self.api.lock:
            self.api.faults.append(fault)

    def fail_next(
        self,
        count: int = 1,
        status: int = 503,
        retry_after: str = "",
        *,
        method: str = "",
        path: str = "",
        body: str = "",
        after: bool = False,
    ) -> None:
        """Answer the next `count` requests (of a method, with a path that a pattern is found in) with an error.

        With `after` they take effect all the same.
        """
        self._fault(Fault(count, status, retry_after, method=method, path=path, body=body, after=after))

    def drop_next(self, count: int = 1, *, method: str = "", path: str = "", after: bool = False) -> None:
        """End the connection of the next `count` requests without an answer."""
        self._fault(Fault(count, drop=True, method=method, path=path, after=after))

    def delay_next(self, seconds: float, count: int = 1, *, method: str = "", path: str = "") -> None:
        """Let the next `count` requests wait."""
        self._fault(Fault(count, delay=seconds, method=method, path=path))

    def provision(self, **source: Any) -> None:
        """Add a data source as a provisioning file does, read-only unless `editable` is true."""
        self.api.provision(source)

    def secrets_of(self, uid: str, org: int = 1) -> dict[str, str]:
        """The secrets of a data source, which no Grafana tells."""
        with self.api.lock:
            item = next(item for item in self.api._sources(org) if item["uid"] == uid)
            return {key: value for key, value in item["secrets"].items() if value}

    def expire_token(self, name: str) -> None:
        """Let a token's time be over."""
        with self.api.lock:
            token = next(token for token in self.store.data["tokens"] if token["name"] == name)
            token["expires"] = time.time() - 60
            self.store.save()


# --------------------------------------------------------------------------------------------------------------------
# The program
# --------------------------------------------------------------------------------------------------------------------


def _database(settings: Settings, home: Path) -> Path:
    kind = settings.get("database", "type", "sqlite3")
    data = settings.path("data", home)
    try:
        data.mkdir(parents=True, exist_ok=True)
        if kind == "sqlite3":
            return data / settings.get("database", "path", "grafana.db")
        if kind not in ("postgres", "mysql"):
            raise SettingsError(f"unknown database type: {kind}")
        # That the server answers is all that counts here: what is kept stays in the data folder.
        address = settings.get("database", "host")
        host, port = address.rpartition(":")[::2] if re.search(r":\d+$", address) else (address, "5432")
        if host.startswith("/"):
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(f"{host}/.s.PGSQL.{port}")
        else:
            socket.create_connection((host.strip("[]"), int(port)), 10).close()
        return data / "emulator.db"
    except (OSError, ValueError) as error:
        raise SettingsError(f"failed to connect to database: {error}") from error


def _open(settings: Settings, home: Path) -> Store:
    user = settings.get("security", "admin_user", "admin")
    try:
        return Store(_database(settings, home), user, settings.get("security", "admin_password", "admin"))
    except sqlite3.Error as error:
        raise SettingsError(f"failed to connect to database: {error}") from error


def _notify(text: str) -> None:
    """Tell systemd how far the start is."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line, contextlib.suppress(OSError):
            line.sendto(text.encode(), "\0" + address[1:] if address[0] == "@" else address)


def run_server(home: Path, config: Path | None, overrides: list[str]) -> int:
    """Serve until the process is told to end."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: say("server", "info", "Reloading the log files"))
    settings = Settings.read(home, config, overrides)
    say("settings", "info", f"Starting Grafana: this is {ABOUT}", version=VERSION, commit="emulator")
    store = _open(settings, home)
    provisioner = Provisioner(settings.path("provisioning", home))
    api = Api(store, settings, provisioner)
    provisioner.start(api)
    protocol = settings.get("server", "protocol", "http")
    listen = (settings.get("server", "http_addr"), int(settings.get("server", "http_port", "3000")))
    try:
        server = _serve(api, listen)
        if protocol in ("https", "h2"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(settings.get("server", "cert_file"), settings.get("server", "cert_key"))
            server.socket = context.wrap_socket(server.socket, server_side=True)
    except OSError as error:
        text = f"failed to open listener on address {listen[0]}:{listen[1]}: {error}"
        raise SettingsError(text) from error
    address = "{}:{}".format(*server.server_address[:2])
    threads = [
        threading.Thread(target=server.serve_forever, daemon=True),
        threading.Thread(target=provisioner.poll, args=(stop,), daemon=True),
    ]
    for thread in threads:
        thread.start()
    say("http.server", "info", "HTTP Server Listen", address=address, protocol=protocol, subUrl=settings.sub_path)
    _notify("READY=1")
    stop.wait()
    say("server", "info", "Shutdown started", reason="System signal: terminated")
    server.shutdown()
    server.server_close()
    for thread in threads:
        thread.join(5)
    store.close()
    return 0


def reset_password(home: Path, config: Path | None, overrides: list[str], password: str, number: int) -> int:
    """Give an account a new password."""
    settings = Settings.read(home, config, overrides)
    if len(password) < 4:
        print("Error: ✗ the new password doesn't meet the password policy criteria", file=sys.stderr)
        return 1
    store = _open(settings, home)
    try:
        if not store.set_password(number, password):
            # No error to the shell: only a login shows whether it worked.
            print("\nAdmin user cannot be found ✘. \n")
            return 0
    finally:
        store.close()
    print("\nAdmin password changed successfully ✔")
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="grafana", description=f"This is {ABOUT}.")
    parser.add_argument("-v", "--version", action="version", version=f"grafana version {VERSION}")

    def common(wanted: argparse.ArgumentParser) -> None:
        wanted.add_argument("--homepath", "-homepath", type=Path, default=argparse.SUPPRESS)
        wanted.add_argument("--config", "-config", type=Path, default=argparse.SUPPRESS)
        wanted.add_argument("--configOverrides", default=argparse.SUPPRESS)

    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("server", help="serve")
    common(server)
    server.add_argument("-v", "--version", action="version", version=f"Version {VERSION} (commit: emulator)")
    server.add_argument("--pidfile", type=Path)
    server.add_argument("--packaging")
    server.add_argument("overrides", nargs="*", metavar="cfg:SECTION.KEY=VALUE")
    cli = commands.add_parser("cli", help="administration")
    common(cli)
    parts = cli.add_subparsers(dest="part", required=True)
    admin = parts.add_parser("admin")
    common(admin)
    actions = admin.add_subparsers(dest="action", required=True)
    reset = actions.add_parser("reset-admin-password")
    reset.add_argument("--password-from-stdin", action="store_true")
    reset.add_argument("--user-id", type=int, default=1)
    reset.add_argument("password", nargs="?", default="")
    return parser


def main(words: list[str] | None = None) -> int:
    """Run as bin/grafana."""
    given = _arguments().parse_args(words)
    home = getattr(given, "homepath", None) or Path(__file__).resolve().parents[1]
    config = getattr(given, "config", None)
    overrides = getattr(given, "configOverrides", "").split() + getattr(given, "overrides", [])
    try:
        if given.command == "server":
            if given.pidfile:
                given.pidfile.write_text(str(os.getpid()), encoding="utf-8")
            return run_server(home, config, overrides)
        password = sys.stdin.readline().rstrip("\n") if given.password_from_stdin else given.password
        return reset_password(home, config, overrides, password, given.user_id)
    except SettingsError as error:
        print(f"Error: ✗ {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
