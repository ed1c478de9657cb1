"""The app as a process of its own with a real PostgreSQL and a real Redis, which die, hang and come back.

Needs postgres (Debian's package postgresql) and redis-server (Debian's package redis-server); without them these tests
are skipped by name.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulators.smtp import make_certificate
from tests.unit.health_app import servers
from tests.unit.health_app.servers import CLIENT_SECONDS, PASSWORD, USER, App, Server, needs_postgres, needs_redis
from watchkeeper_app.checks import build
from watchkeeper_app.config import AnyCheck, parse

pytestmark = [needs_postgres, needs_redis]

TIMESTAMP = rb'"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"'


@pytest.fixture(autouse=True)
def healthy(app: App) -> Iterator[None]:
    """Every test begins and ends with all well."""
    app.wait_for("/health", 200)
    yield
    app.wait_for("/health", 200)


def test_the_answer_is_exact(app: App) -> None:
    answer = app.ask("/health")
    assert answer.status == 200
    pattern = rb'\{"status":"ok",' + TIMESTAMP + rb',"uptime":\d+(\.\d+)?,"checks":\{"database":"ok","redis":"ok"\}\}'
    assert re.fullmatch(pattern, answer.body)
    assert re.fullmatch(rb'\{"status":"ready",' + TIMESTAMP + rb"\}", app.ask("/health/ready").body)
    assert re.fullmatch(rb'\{"status":"alive",' + TIMESTAMP + rb"\}", app.ask("/health/live").body)


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/live", "/metrics"])
def test_probes_are_never_stored(app: App, path: str) -> None:
    assert app.ask(path).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/health", "/health/ready", "/health/live", "/metrics", "/openapi.json", "/api/items/1", "/nothing"]
)
def test_head_is_get_without_the_body(app: App, path: str) -> None:
    head, get = app.ask(path, "HEAD"), app.ask(path)
    assert (head.status, head.body) == (get.status, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


def test_redis_keys_are_the_process_s_own_and_expire(app: App, redis: Server) -> None:
    app.ask("/health")
    keys = [key for key in _redis(redis, b"KEYS *:health:*").split() if b"health" in key]
    assert len(keys) == 1
    remaining = int(_redis(redis, b"TTL " + keys[0]).removeprefix(b":"))
    assert 0 < remaining <= 10


@pytest.mark.parametrize("backend", ["database", "redis"])
def test_a_killed_backend_is_seen_and_so_is_its_return(app: App, postgres: Server, redis: Server, backend: str) -> None:
    server = {"database": postgres, "redis": redis}[backend]
    events = len(app.events)
    server.kill()
    try:
        for _ in range(3):
            answer = app.ask("/health")
            assert answer.status == 503
            others = {"database": "ok", "redis": "ok"}
            assert (answer.json["status"], answer.json["checks"]) == ("failed", {**others, backend: "failed"})
        assert app.ask("/health/ready").json["status"] == "not_ready"
        assert app.ask("/health/ready").status == 503
        assert app.ask("/health/ready", "HEAD").status == 503
        assert app.ask("/health/live").status == 200
        assert app.series("health_check_up", check=backend) == 0
    finally:
        server.start()
    # The first probe that finds the server again says so: no connection of the time before is in the way.
    assert app.ask("/health").status == 200
    assert app.series("health_check_up", check=backend) == 1
    told = [event for event in app.events[events:] if event["context"] == "health"]
    assert [(event["level"], event["message"], event["check"]) for event in told] == [
        ("error", "Check failed", backend),
        ("info", "Check passes again", backend),
    ]
    # The reason stands in the log and not in the answer; which one it is depends on what the kill interrupted.
    assert told[0]["reason"]
    assert told[0]["reason"].encode() not in answer.body


@pytest.mark.parametrize("backend", ["database", "redis"])
def test_a_hanging_backend_holds_nobody_up(app: App, postgres: Server, redis: Server, backend: str) -> None:
    server = {"database": postgres, "redis": redis}[backend]
    server.hang()
    try:
        for _ in range(3):
            answer = app.ask("/health")
            assert (answer.status, answer.json["checks"][backend]) == (503, "failed")
        assert app.ask("/health/live").status == 200
    finally:
        server.resume()
    app.wait_for("/health", 200)
    reasons = {event["reason"] for event in app.events if event.get("check") == backend and "reason" in event}
    assert "no answer within 1 s" in reasons


@pytest.mark.parametrize("backend", ["database", "redis"])
def test_many_probes_of_a_hanging_backend_share_the_wait(
    app: App, postgres: Server, redis: Server, backend: str
) -> None:
    server = {"database": postgres, "redis": redis}[backend]
    server.hang()
    answers: list[int] = []
    try:
        threads = [threading.Thread(target=lambda: answers.append(app.ask("/health").status)) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        server.resume()
    assert answers == [503] * 50


def test_a_probe_ends_although_the_server_hangs(settings: dict[str, Any], postgres: Server, redis: Server) -> None:
    async def end(entry: AnyCheck) -> bool:
        check = build(entry, "test")
        await check.probe()
        postgres.hang()
        redis.hang()
        try:
            probe = asyncio.create_task(check.probe())
            await asyncio.sleep(0.1)
            probe.cancel()
            done, _ = await asyncio.wait({probe}, timeout=5)
        finally:
            postgres.resume()
            redis.resume()
        await check.close()
        return bool(done)

    for entry in parse({"checks": settings["checks"]}).checks:
        assert asyncio.run(end(entry))


def test_a_server_s_certificate_is_checked_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "password"
    secret.write_text(PASSWORD, encoding="utf-8")
    certificate = make_certificate(tmp_path, ("localhost",))
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")

    async def outcome(sslmode: str, host: str) -> BaseException | None:
        entry = {"name": "a", "type": "postgresql", "host": host, "port": server.port, "sslmode": sslmode}
        account = {"database": "postgres", "user": USER, "password_file": str(secret), "timeout": 10}
        check = build(parse({"checks": [{**entry, **account}]}).checks[0], "test")
        (found,) = await asyncio.gather(check.probe(), return_exceptions=True)
        await check.close()
        return found

    with servers.postgres(certificate) as server:
        for sslmode in ("disable", "prefer", "require"):
            assert asyncio.run(outcome(sslmode, "localhost")) is None
        for sslmode in ("verify-ca", "verify-full"):
            assert isinstance(asyncio.run(outcome(sslmode, "localhost")), ssl.SSLCertVerificationError)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert asyncio.run(outcome("verify-ca", "127.0.0.1")) is None
        assert asyncio.run(outcome("verify-full", "localhost")) is None
        assert isinstance(asyncio.run(outcome("verify-full", "127.0.0.1")), ssl.SSLCertVerificationError)


def test_the_shop_sells(app: App) -> None:
    counters = ("user_registrations", "orders_created", "products_created", "messages_sent")
    before = {name: app.series(f"{name}_total") or 0 for name in counters}
    amount = app.series("order_total_amount") or 0
    first = app.ask("/api/items/7")
    assert first.json == {"id": 7, "name": "Item 7", "price_cents": 359}
    assert app.ask("/api/items/7").body == first.body
    assert app.ask("/api/items/1000000").status == 404
    ordered = app.post("/api/orders", {"item": 7, "quantity": 3})
    assert (ordered.status, ordered.json) == (201, {"amount_cents": 1077})
    assert app.post("/api/orders", {"item": 1000000}).status == 404
    assert app.post("/api/users", {"name": "Ann", "email": "ann@example.org"}).status == 201
    assert app.post("/api/messages", {"text": "hello"}).status == 201
    created = app.post("/api/products", {"name": "Ünit", "price_cents": 5})
    assert app.ask(f"/api/items/{created.json['id']}").json["name"] == "Ünit"
    assert {name: app.series(f"{name}_total") for name in counters} == {name: was + 1 for name, was in before.items()}
    assert app.series("order_total_amount") == pytest.approx(amount + 10.77)
    assert (app.series("active_users") or 0) >= 1
    for operation in ("select", "insert", "update", "delete"):
        assert app.series("db_query_duration_ms_count", operation=operation)


def test_the_cache_is_counted(app: App) -> None:
    hits, misses = (app.series("cache_requests_total", result=result) or 0 for result in ("hit", "miss"))
    for _ in range(3):
        assert app.ask("/api/items/42").status == 200
    assert app.series("cache_requests_total", result="miss") == misses + 1
    assert app.series("cache_requests_total", result="hit") == hits + 2


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"item": "7"}', b'{"item": 7, "x": 1}', b'{"item": NaN}'])
def test_a_wrong_body_is_refused_without_being_repeated(app: App, body: bytes) -> None:
    answer = app.ask("/api/orders", "POST", body, {"Content-Type": "application/json"})
    assert answer.status == 422
    assert all(set(problem) == {"type", "loc", "msg"} for problem in answer.json["detail"])


@pytest.mark.parametrize(
    "body", [rb'{"\ud800": 1}', rb'{"name": "\ud800", "price_cents": 1}', rb'{"name": "\u0000", "price_cents": 1}']
)
def test_what_is_no_text_is_refused_in_words_that_are(app: App, body: bytes) -> None:
    answer = app.ask("/api/products", "POST", body, {"Content-Type": "application/json"})
    assert answer.status == 422
    assert answer.json["detail"]


def test_what_cannot_be_read_is_refused(app: App) -> None:
    for body in (b"[" * 60000, b"9" * 60000, b"\xff"):
        answer = app.ask("/api/products", "POST", body, {"Content-Type": "application/json"})
        assert (answer.status, answer.json["detail"]) == (400, "There was an error parsing the body")


def test_a_large_body_is_refused(app: App) -> None:
    answer = app.post("/api/messages", {"text": "x" * 70000})
    assert (answer.status, answer.json) == (413, {"detail": "Content Too Large"})


@pytest.mark.parametrize("backend", ["database", "redis"])
@pytest.mark.parametrize("how", ["kill", "hang"])
def test_the_shop_says_503_without_its_backends(
    app: App, postgres: Server, redis: Server, backend: str, how: str
) -> None:
    server = {"database": postgres, "redis": redis}[backend]
    server.kill() if how == "kill" else server.hang()
    try:
        answers = [
            app.post("/api/orders", {"item": 1}) if backend == "database" else app.ask("/api/items/1"),
            app.post("/api/products", {"name": "a", "price_cents": 1})
            if backend == "database"
            else app.post("/api/messages", {"text": "hello"}),
        ]
    finally:
        server.start() if how == "kill" else server.resume()
    for answer in answers:
        assert (answer.status, answer.json) == (503, {"detail": "A backend is not available"})
    app.wait_for("/health", 200)
    assert app.post("/api/orders", {"item": 1}).status == 201
    assert app.post("/api/messages", {"text": "hello"}).status == 201


def test_an_exception_is_a_500_and_one_line_of_the_log(app: App) -> None:
    answer = app.ask("/api/error", headers={"X-Request-ID": "failing-1"})
    assert (answer.status, answer.json) == (500, {"detail": "Internal Server Error"})
    assert answer.headers["x-request-id"] == "failing-1"
    lines = app.lines("failing-1")
    assert [(line["level"], line["message"]) for line in lines] == [("error", "GET /api/error 500")]
    assert lines[0]["error"]["message"] == "an error on purpose"
    assert not [event for event in app.events if event["context"] == "uvicorn.error" and event["level"] == "error"]


def test_every_request_is_one_line(app: App) -> None:
    for path, level in (("/api/items/1?token=planted", "info"), ("/health/live", "debug"), ("/nothing", "info")):
        identity = f"line{len(app.events)}"
        assert app.ask(path, headers={"X-Request-ID": identity}).headers["x-request-id"] == identity
        lines = app.lines(identity)
        assert [line["level"] for line in lines] == [level]
        assert lines[0]["path"] == path.partition("?")[0]
        assert (lines[0]["method"], lines[0]["status_code"]) == ("GET", 404 if path == "/nothing" else 200)
    assert "planted" not in app.program.log


@pytest.mark.parametrize("given", ["", "two words", "a" * 65, "näme", '"', "{}"])
def test_a_strange_request_id_is_replaced(app: App, given: str) -> None:
    echoed = app.ask("/health/live", headers={"X-Request-ID": given.encode("latin-1").decode("latin-1")})
    assert re.fullmatch(r"[0-9a-f]{32}", echoed.headers["x-request-id"])


def test_wrong_methods_and_paths_are_answered_in_json(app: App) -> None:
    wrong = app.ask("/health", "POST")
    assert (wrong.status, wrong.json, wrong.headers["allow"]) == (405, {"detail": "Method Not Allowed"}, "GET, HEAD")
    assert app.ask("/api/orders", "HEAD").status == 405
    for path in ("/", "/health/", "/docs", "/redoc", "/api/items"):
        answer = app.ask(path)
        assert (answer.status, answer.json) == (404, {"detail": "Not Found"})


def test_labels_stay_few_whatever_is_asked_for(app: App) -> None:
    for number in range(20):
        app.ask(f"/nothing/{number}")
        app.ask(f"/api/items/{number + 1}")
        app.ask("/health", f"METHOD{number}")
    page = app.ask("/metrics").body.decode()
    counted = re.findall(r'^http_requests_total\{method="(.*?)",route="(.*?)",status_code="\d+"\}', page, re.MULTILINE)
    assert {route for _, route in counted} == {
        *("/health", "/health/ready", "/health/live", "/metrics", "/openapi.json", "unmatched"),
        *("/api/items/{number}", "/api/orders", "/api/users", "/api/products", "/api/messages"),
        *("/api/error", "/api/missing"),
    }
    assert {method for method, _ in counted} <= {"GET", "HEAD", "POST", "OTHER"}


def test_a_long_request_head_is_refused(app: App) -> None:
    with socket.create_connection(("127.0.0.1", app.port), CLIENT_SECONDS) as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nX-Long: " + b"x" * 40_000)
        assert client.makefile("rb").readline().startswith(b"HTTP/1.1 400 ")


def test_a_stop_waits_for_the_request_that_runs(settings: dict[str, Any], redis: Server, tmp_path: Path) -> None:
    with App(tmp_path, settings) as app:
        app.wait_for("/health", 200)
        redis.hang()
        try:
            with socket.create_connection(("127.0.0.1", app.port), CLIENT_SECONDS) as client:
                client.sendall(b"GET /health HTTP/1.1\r\nHost: app\r\n\r\n")
                # Whoever asks later is answered later, so the app is at work on the first request now.
                assert app.ask("/health/live").status == 200
                app.program.process.send_signal(signal.SIGTERM)
                answer = client.makefile("rb").readline()
        finally:
            redis.resume()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert app.program.process.wait(CLIENT_SECONDS) == 0
        assert app.events[-1]["message"].startswith("Finished server process")


def _redis(server: Server, command: bytes) -> bytes:
    """A Redis server's answer to one command."""
    with socket.create_connection(("127.0.0.1", server.port), CLIENT_SECONDS) as client:
        client.sendall(b"AUTH " + PASSWORD.encode() + b"\r\n" + command + b"\r\nQUIT\r\n")
        with client.makefile("rb") as answer:
            return answer.read().removeprefix(b"+OK\r\n").removesuffix(b"+OK\r\n")
