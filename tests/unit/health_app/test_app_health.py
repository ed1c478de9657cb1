"""The health of a service from its checks, and the checks against servers that answer wrongly or not at all."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.health_app.servers import App, Server, needs_redis
from tests.unit.live import free_port
from watchkeeper_app import checks, config
from watchkeeper_app.health import Health
from watchkeeper_app.metrics import Metrics

Probe = Callable[[], Awaitable[None]]


class Made(checks.Check):
    """A check that does what the test says."""

    def __init__(self, name: str, probe: Probe, critical: bool = True, timeout: float = 0.2) -> None:
        super().__init__(config.Check(name=name, critical=critical, timeout=timeout))
        self.probes = 0
        self._probe = probe

    async def probe(self) -> None:
        self.probes += 1
        await self._probe()


async def passes() -> None:
    """All is well."""


async def fails() -> None:
    """All is not."""
    raise ConnectionRefusedError(111, "planted reason")


async def hangs() -> None:
    """Waits for ever."""
    await asyncio.Event().wait()


def results(*made: checks.Check, cache: float = 0) -> dict[str, bool]:
    """The results of one run."""

    async def run() -> dict[str, bool]:
        health = Health(made, cache, Metrics())
        try:
            return dict(await health.results())
        finally:
            await health.close()

    return asyncio.run(run())


def test_results_come_in_the_order_of_the_configuration() -> None:
    found = results(Made("slow", lambda: asyncio.sleep(0.05)), Made("broken", fails), Made("fine", passes))
    assert list(found.items()) == [("slow", True), ("broken", False), ("fine", True)]


def test_no_checks_are_no_failure() -> None:
    assert results() == {}


@pytest.mark.parametrize(("critical", "healthy"), [(True, False), (False, True)])
def test_only_critical_checks_decide(critical: bool, healthy: bool) -> None:
    made = [Made("fine", passes), Made("broken", fails, critical)]
    assert Health(made, 0, Metrics()).healthy({"fine": True, "broken": False}) is healthy


def test_checks_run_side_by_side() -> None:
    arrived: list[str] = []
    met = asyncio.Event()

    async def meet() -> None:
        arrived.append("one")
        if len(arrived) == 2:
            met.set()
        await met.wait()

    assert results(Made("one", meet, timeout=10), Made("other", meet, timeout=10)) == {"one": True, "other": True}


def test_a_probe_that_ignores_its_end_holds_nobody_up_and_is_not_joined_by_more() -> None:
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    async def run() -> tuple[list[bool], int]:
        check = Made("stubborn", stubborn, timeout=0.05)
        health = Health([check], 0, Metrics())
        found = [(await health.results())["stubborn"] for _ in range(3)]
        probes = check.probes
        released.set()
        await asyncio.sleep(0)
        found.append((await health.results())["stubborn"])
        await health.close()
        return found, probes

    assert asyncio.run(run()) == ([False, False, False, True], 1)


def test_all_who_ask_meanwhile_share_one_run() -> None:
    async def run() -> int:
        check = Made("check", lambda: asyncio.sleep(0.05), timeout=10)
        health = Health([check], 0, Metrics())
        askers = [asyncio.create_task(health.results()) for _ in range(20)]
        await asyncio.sleep(0)
        # One who goes away does not take the others' result along.
        askers[0].cancel()
        found = await asyncio.gather(*askers, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert found[1:] == [{"check": True}] * 19
        return check.probes

    assert asyncio.run(run()) == 1


@pytest.mark.parametrize(("cache", "probes"), [(60.0, 1), (0.0, 5)])
def test_a_result_is_kept_as_long_as_it_is_told(cache: float, probes: int) -> None:
    async def run() -> int:
        check = Made("check", passes)
        health = Health([check], cache, Metrics())
        for _ in range(5):
            assert await health.results() == {"check": True}
        return check.probes

    assert asyncio.run(run()) == probes


def test_each_change_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    outcomes: list[Probe] = [passes, fails, fails, passes, passes]

    async def next_outcome() -> None:
        await outcomes.pop(0)()

    async def run() -> None:
        health = Health([Made("check", next_outcome), Made("other", hangs, critical=False)], 0, Metrics())
        for _ in range(5):
            await health.results()
        await health.close()

    with caplog.at_level("INFO"):
        asyncio.run(run())
    told = [(record.levelname, record.getMessage(), vars(record)["fields"]) for record in caplog.records]
    reason = "ConnectionRefusedError: [Errno 111] planted reason"
    assert told == [
        ("WARNING", "Check failed", {"check": "other", "critical": False, "reason": "no answer within 0.2 s"}),
        ("ERROR", "Check failed", {"check": "check", "critical": True, "reason": reason}),
        ("INFO", "Check passes again", {"check": "check"}),
    ]


def test_results_are_measured() -> None:
    async def run() -> str:
        metrics = Metrics()
        await Health([Made("fine", passes), Made("broken", fails)], 0, metrics).results()
        return metrics.page("")[0].decode()

    page = asyncio.run(run())
    assert 'health_check_up{check="fine"} 1.0\n' in page
    assert 'health_check_up{check="broken"} 0.0\n' in page
    assert 'health_check_duration_seconds{check="broken"} ' in page


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that treats each connection so, one after the other; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.settimeout(10)
                    answer(client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            # Wakes the thread up, which closing alone does not.
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def page(content: bytes) -> Callable[[socket.socket], None]:
    """A server that answers every request with these bytes."""

    def answer(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(content)

    return answer


def failure(settings: config.Check) -> str:
    """Why a check fails; empty when it passes."""

    async def run() -> str:
        check = checks.build(settings, "test")
        try:
            probe = asyncio.wait_for(check.probe(), settings.timeout)
            (outcome,) = await asyncio.gather(probe, return_exceptions=True)
        finally:
            await check.close()
        return (str(outcome) or type(outcome).__name__) if isinstance(outcome, BaseException) else ""

    return asyncio.run(run())


def redis_that_answers(found: bytes) -> Callable[[socket.socket], None]:
    """A Redis server that gives this for every key."""

    def answer(client: socket.socket) -> None:
        received = b""
        while data := client.recv(65536):
            received += data
            # One answer per command; of a pipeline both come at once.
            while b"*" in received:
                _, _, received = received.partition(b"*")
                words = received.split(b"\r\n")
                command = words[2].upper() if len(words) > 2 else b""
                client.sendall(found if command == b"GET" else b"+OK\r\n")

    return answer


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (b"$5\r\nother\r\n", "the value read back is not the value written"),
        (b"$-1\r\n", "the value read back is not the value written"),
        (b"-ERR planted\r\n", "planted"),
    ],
)
def test_redis_must_give_back_what_it_was_given(found: bytes, reason: str) -> None:
    with serving(redis_that_answers(found)) as port:
        settings = config.RedisCheck(name="redis", type="redis", url=f"redis://127.0.0.1:{port}")
        assert reason in failure(settings)


@needs_redis
def test_redis_with_a_wrong_password_fails(redis: Server) -> None:
    settings = config.RedisCheck(name="redis", type="redis", url=f"redis://127.0.0.1:{redis.port}")
    assert "Authentication required" in failure(settings)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nall is well\n"


@pytest.mark.parametrize(
    ("content", "more", "reason"),
    [
        (OK, {}, ""),
        (OK, {"contains": "is well"}, ""),
        (OK, {"contains": "better"}, "do not contain"),
        (OK, {"status": [204, 301]}, "status 200 instead of 204 or 301"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", {}, "status 302"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", {"status": [302]}, ""),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000 + b"late", {"contains": "late"}, "do not contain"),
        (b"nonsense\r\n\r\n", {}, "illegal status line"),
    ],
)
def test_http(content: bytes, more: dict[str, Any], reason: str) -> None:
    with serving(page(content)) as port:
        found = failure(config.HttpCheck(name="http", type="http", url=f"http://127.0.0.1:{port}/", **more))
    assert (reason in found) if reason else not found


def test_tcp() -> None:
    with serving(lambda _: None) as port:
        assert not failure(config.TcpCheck(name="tcp", type="tcp", host="127.0.0.1", port=port))
    assert "Connect call failed" in failure(config.TcpCheck(name="tcp", type="tcp", host="127.0.0.1", port=free_port()))


def test_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    # 1000 blocks, 100 free of which root keeps 50: df says 50 of 950 can still be had.
    status = os.statvfs_result((4096, 4096, 1000, 100, 50, 10, 10, 10, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: status)
    assert not failure(config.DiskCheck(name="disk", type="disk", free_percent=5.2))
    assert "5.3 % of / is free, less than 5.5 %" in failure(
        config.DiskCheck(name="disk", type="disk", free_percent=5.5)
    )


def test_a_disk_that_is_not_there_fails() -> None:
    assert "No such file" in failure(config.DiskCheck(name="disk", type="disk", path="/no/such/place"))


def test_a_file_system_that_hangs_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answered = threading.Event()
    real = os.statvfs

    def slow(path: str) -> os.statvfs_result:
        asked.append(path)
        answered.wait(10)
        return real(path)

    monkeypatch.setattr(os, "statvfs", slow)

    async def run() -> list[bool]:
        check = checks.build(config.DiskCheck(name="disk", type="disk", timeout=0.05, free_percent=0.001), "test")
        health = Health([check], 0, Metrics())
        found = [(await health.results())["disk"] for _ in range(3)]
        answered.set()
        while not (await health.results())["disk"]:
            pass
        return found

    assert asyncio.run(run()) == [False, False, False]
    assert asked[0] == "/"
    assert len(asked) <= 2


def test_nothing_is_opened_before_the_first_probe() -> None:
    """A backend that is not there does not keep the app from starting, whatever it is."""
    port = free_port()
    for settings in (
        config.PostgresCheck(name="a", type="postgresql", port=port, database="a", user="a", sslmode="verify-full"),
        config.RedisCheck(name="a", type="redis", url=f"rediss://127.0.0.1:{port}"),
        config.HttpCheck(name="a", type="http", url=f"https://127.0.0.1:{port}"),
    ):
        assert "Connect" in failure(settings) or "connect" in failure(settings)


def test_what_the_service_can_do_without_degrades_it(tmp_path: Path) -> None:
    gone = {"name": "partner", "type": "tcp", "critical": False, "host": "127.0.0.1", "port": free_port()}
    disk = {"name": "disk", "type": "disk", "free_percent": 0.001}
    with App(tmp_path, {"checks": [gone, disk]}) as app:
        answer = app.ask("/health")
        assert (answer.status, app.ask("/health/ready").status) == (200, 200)
        assert answer.body.startswith(b'{"status":"degraded","timestamp":"')
        assert answer.body.endswith(b',"checks":{"partner":"failed","disk":"ok"}}')
        assert app.ask("/health/ready").json["status"] == "ready"
        assert app.series("health_check_up", check="partner") == 0


def test_a_scrape_does_not_wait_for_a_slow_check(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = {"name": "slow", "type": "http", "timeout": 30, "url": f"http://127.0.0.1:{silent.getsockname()[1]}/"}
        with App(tmp_path, {"checks": [slow]}) as app:
            # The client waits for 20 seconds.
            assert app.ask("/metrics").status == 200
