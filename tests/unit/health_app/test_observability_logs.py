"""Whoever writes to the log, each event is one line of JSON, once in each place, without secrets."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from .processes import environment, events, run

PLANTED = "planted-51d0"
START = """
import logging, sys
from watchkeeper_app import logs
logs.configure("backend", "info", sys.argv[1] if len(sys.argv) > 1 else "", 20_000, 2)
log = logs.get("shop")
"""


def logged(code: str, *arguments: str, **more: str) -> list[dict[str, Any]]:
    """The events that the code writes; nothing else may be printed."""
    done = run(START + textwrap.dedent(code), *arguments, **more)
    assert (done.returncode, done.stderr) == (0, "")
    return events(done.stdout)


def test_an_event_has_its_keys_in_order() -> None:
    (event,) = logged("log.info('sold', amount=3)")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("timestamp"))
    assert event == {"level": "info", "context": "shop", "message": "sold", "service": "backend", "amount": 3}
    assert list(event) == ["level", "context", "message", "service", "amount"]


def test_levels_have_their_names_and_the_lower_ones_are_left_out() -> None:
    code = "log.debug('d'); log.info('i'); log.warning('w'); log.error('e'); log.critical('c')"
    assert [event["level"] for event in logged(code)] == ["info", "warning", "error", "critical"]
    code = "logs.configure('backend', 'critical', '', 1, 1); log.error('no'); log.critical('yes')"
    assert [event["message"] for event in logged(code)] == ["yes"]
    code = "logs.configure('backend', 'debug', '', 1, 1); logging.log(5, 'trace'); logging.log(25, 'notice')"
    assert [event["level"] for event in logged("logging.root.setLevel(1); " + code)] == ["info"]


def test_ids_are_there_when_there_are_any() -> None:
    code = """
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        log.info("outside")
        logs.request_id.set("r-1")
        with TracerProvider().get_tracer("t").start_as_current_span("s") as span:
            log.info("inside", id=trace.format_trace_id(span.get_span_context().trace_id))
    """
    outside, inside = logged(code)
    assert not {"request_id", "trace_id"} & set(outside)
    assert (inside["request_id"], inside["trace_id"]) == ("r-1", inside["id"])


def test_fields_are_scrubbed_and_cannot_replace_a_key() -> None:
    code = f"""
        log.info("password={PLANTED}", order={{"items": [{{"token": "{PLANTED}"}}]}}, level=7, message="mine",
                 url="postgresql://app:{PLANTED}@db/")
        logging.getLogger("library").warning("to %s", "redis://:{PLANTED}@cache", extra={{"cookie": "{PLANTED}"}})
    """
    first, second = logged(code)
    assert PLANTED not in json.dumps([first, second])
    assert (first["level"], first["level_"], first["message_"]) == ("info", 7, "mine")
    assert first["order"] == {"items": [{"token": "(hidden)"}]}
    assert (second["context"], second["cookie"]) == ("library", "(hidden)")


def test_an_exception_is_written_with_all_that_is_known() -> None:
    code = f"""
        class ShopError(Exception): pass
        def sell():
            try:
                {{}}["x"]
            except KeyError as error:
                raise ShopError("password={PLANTED}\\nsecond line") from error
        try:
            sell()
        except ShopError as error:
            log.error("failed", error=error, order=1)
    """
    (event,) = logged(code)
    assert list(event)[-2:] == ["error", "order"]
    assert event["error"]["type"] == "__main__.ShopError"
    assert event["error"]["message"] == "password=(hidden)\nsecond line"
    assert all(part in event["error"]["stack"] for part in ("KeyError: 'x'", "direct cause", "in sell", "ShopError"))
    assert PLANTED not in json.dumps(event)


def test_nothing_breaks_a_line() -> None:
    text = "a\nb\rc\u2028d\u2029e\x85f\x1b[31mg\x00h\x0bi\ud800j\u00fc"
    done = run(START + f"log.info({text!r}, **{{{text!r}: {text!r}}})", PYTHONIOENCODING="ascii")
    (line,) = done.stdout.splitlines()
    event = json.loads(line)
    assert event["message"] == event[text] == text
    assert all(character.isprintable() for character in line)


def test_a_long_event_stays_below_what_journald_splits() -> None:
    code = """
        log.info("x" * 100_000, **{f"field{number}": "\\x07" * 10_000 for number in range(1000)})
        class Long(Exception): pass
        def fall(depth):
            if not depth:
                raise Long("y" * 100_000)
            fall(depth - 1) if depth % 2 else fall(depth - 1.0)
        try:
            fall(400)
        except Long as error:
            log.error("fell", error=error)
    """
    done = run(START + textwrap.dedent(code))
    assert [len(line.encode()) < 48 * 1024 for line in done.stdout.splitlines()] == [True, True]
    first, second = events(done.stdout)
    assert first["message"].startswith("xxx")
    assert second["error"]["type"] == "__main__.Long"


def test_no_value_can_make_it_fail() -> None:
    code = """
        class Hostile:
            def __str__(self): raise RuntimeError("no")
            __repr__ = __str__
        class HostileError(Exception):
            def __str__(self): raise RuntimeError("no")
        cycle = {}
        cycle["self"] = cycle
        log.info("odd", a=Hostile(), b=cycle, c=b"\\xff", d=float("nan"), e=10**5000, f={1: 2}, g=object, h=log)
        log.error("worse", error=HostileError())
        log.info(Hostile())
        logging.getLogger("library").info("%d", "no number")
    """
    odd, worse, nameless, wrong = logged(code)
    assert (odd["b"], odd["d"], odd["f"]) == ({"self": "(cut)"}, "nan", {"1": 2})
    assert worse["error"]["type"] == "__main__.HostileError"
    assert nameless["level"] == "info"
    assert wrong["message"].startswith("%d")


def test_everything_that_speaks_goes_through_it() -> None:
    code = """
        import asyncio, gc, threading, warnings
        warnings.warn("old", DeprecationWarning)
        logging.error("root")
        for name in ("uvicorn", "uvicorn.error"):
            logging.getLogger(name).info(name)
        logging.getLogger("httpx").info("a line for each request")
        def fail(): raise ValueError("in thread")
        thread = threading.Thread(target=fail, name="worker")
        thread.start(); thread.join()
        class Last:
            def __del__(self): raise ValueError("in the end")
        Last()
        async def main():
            async def lost(): raise ValueError("in a task")
            task = asyncio.create_task(lost())
            await asyncio.sleep(0.01)
            del task
            gc.collect()
            asyncio.get_running_loop().call_soon(fail)
            await asyncio.sleep(0.01)
        asyncio.run(main())
    """
    found = [(e["context"], e["level"], e.get("error", {}).get("message", "")) for e in logged(code)]
    assert found == [
        ("py.warnings", "warning", ""),
        ("root", "error", ""),
        ("uvicorn", "info", ""),
        ("uvicorn.error", "info", ""),
        ("process", "error", "in thread"),
        ("process", "error", "in the end"),
        ("asyncio", "error", "in a task"),
        ("asyncio", "error", "in thread"),
    ]


def test_what_nobody_caught_is_an_event_too() -> None:
    done = run(START + f"raise RuntimeError('password={PLANTED}')")
    (event,) = events(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    assert (event["level"], event["error"]["message"]) == ("critical", "password=(hidden)")


def test_a_second_configuration_replaces_the_first(tmp_path: Path) -> None:
    code = """
        logs.configure("other", "info", sys.argv[1], 20_000, 2)
        log.info("once")
    """
    assert [event["service"] for event in logged(code, str(tmp_path))] == ["other"]
    assert [event["service"] for event in events((tmp_path / "app.log").read_text())] == ["other"]


@pytest.fixture
def served(tmp_path: Path) -> list[dict[str, Any]]:
    """The log of a server whose application logs its own error and lets uvicorn see it too."""
    code = """
        import asyncio, os, signal, threading, urllib.error, urllib.request
        import uvicorn
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                return
            try:
                raise ValueError("once")
            except ValueError as error:
                log.error("failed", error=error)
                raise
        server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=False))
        def ask():
            while not server.started:
                pass
            port = server.servers[0].sockets[0].getsockname()[1]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10)
            except urllib.error.HTTPError as error:
                log.info("answer", status=error.code)
            server.should_exit = True
        thread = threading.Thread(target=ask)
        thread.start()
        server.run()
        thread.join()
    """
    return logged(code, str(tmp_path))


def test_uvicorn_says_nothing_twice(served: list[dict[str, Any]]) -> None:
    assert [event["context"] for event in served if "error" in event] == ["shop"]
    assert {"status": 500}.items() <= next(event for event in served if event["message"] == "answer").items()
    assert any("Uvicorn running" in event["message"] for event in served)


def test_the_file_has_the_same_lines_and_is_rotated(tmp_path: Path) -> None:
    done = run(START + "for number in range(600): log.info('line', number=number)", str(tmp_path))
    files = [tmp_path / name for name in ("app.log.2", "app.log.1", "app.log")]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(file.stat().st_size <= 20_000 for file in files)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o640 for file in files)
    kept = "".join(file.read_text() for file in files)
    assert done.stdout.endswith(kept)
    assert [event["number"] for event in events(done.stdout)] == list(range(600))


def test_a_file_that_cannot_be_written_is_told_once_each_way(tmp_path: Path) -> None:
    code = """
        import os
        from pathlib import Path
        # The next write opens the file anew, and finds a folder in its place.
        file, place = logging.root.handlers[1], Path(sys.argv[1]) / "app.log"
        def again():
            file.stream.close()
            file.stream = None
        log.info("before")
        again(); place.rename(f"{place}.old"); place.mkdir()
        log.info("lost"); log.info("lost too")
        place.rmdir()
        log.info("after"); log.info("after that")
    """
    messages = [event["message"] for event in logged(code, str(tmp_path))]
    told = ["the log file cannot be written", "the log file is written again"]
    assert [message for message in messages if message in told] == told
    assert [message for message in messages if message not in told] == [
        "before",
        "lost",
        "lost too",
        "after",
        "after that",
    ]
    assert "after that" in (tmp_path / "app.log").read_text()


def test_a_reader_that_went_away_stops_nothing(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = START + "for number in range(9): log.info('still here')"
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=environment(), stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert len(events((tmp_path / "app.log").read_text())) == 9
    assert b"Traceback" not in done.stderr


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    done = run(START, str(tmp_path / "nowhere"))
    assert "FileNotFoundError" in done.stderr
    done = run("from watchkeeper_app import logs; logs.configure('x', 'info', '/tmp', 1000, 0)")
    assert "ValueError: max_bytes is 1000 and backups is 0" in done.stderr
