"""New Relic's configuration by the agent's own reading of it.

There is no licence here, so nothing is ever sent to New Relic: what is tested is that the agent takes the file, finds
what is wrong with it, and instruments the application in its developer mode, which needs no collector.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from watchkeeper_app import apm

from .processes import events, run

KEY = "0123456789abcdef0123456789abcdef01234567"
GOOD = f"""
[newrelic]
license_key = {KEY}
app_name = backend
monitor_mode = false
transaction_tracer.record_sql = obfuscated
error_collector.ignore_status_codes = 404
distributed_tracing.enabled = true
attributes.exclude = request.headers.cookie request.headers.authorization

[newrelic:test]
developer_mode = true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file without a fault."""
    path = tmp_path / "newrelic.ini"
    path.write_text(GOOD)
    return path


def test_a_good_file_has_no_problems_and_checking_leaves_no_trace(file: Path) -> None:
    assert apm.check(str(file)) == []
    assert not [name for name in sys.modules if name.split(".")[0] == "newrelic"]
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("= obfuscated", "= plain", "transaction_tracer.record_sql in [newrelic] is not understood: 'plain'"),
        ("monitor_mode = false", "monitor_mode = perhaps", "monitor_mode in [newrelic] is not understood"),
        ("= 404", "= 4x4", "error_collector.ignore_status_codes in [newrelic] is not understood"),
        ("tracer.record_sql", "tracer.recordsql", "transaction_tracer.recordsql in [newrelic] is unknown to the agent"),
        ("developer_mode", "developer_mood", "developer_mood in [newrelic:test] is unknown to the agent"),
        ("developer_mode = true", "port = many", "port in [newrelic:test] is not understood"),
        ("developer_mode = true", "log_level = loud", "log_level in [newrelic:test] is not understood: 'LOUD'"),
        ("app_name", "feature_flag = none\napp_name", "Unknown agent feature flag 'none' provided"),
        ("[newrelic:test]", "[newrelic-test]", "the section [newrelic-test] is unknown to the agent"),
        ("[newrelic]", "[newrelic:other]", "the section [newrelic] is missing"),
        ("[newrelic]", "", "no valid configuration file: line 3"),
        (f"license_key = {KEY}\n", f"license_key {KEY}\n", "no valid configuration file: line 3"),
        (f"{KEY}\napp_name = backend\nmonitor_mode = false", "", "license_key in [newrelic] is missing"),
    ],
)
def test_what_is_wrong_is_named(file: Path, old: str, new: str, problem: str) -> None:
    file.write_text(GOOD.replace(old, new, 1))
    problems = apm.check(str(file))
    assert [text for text in problems if text.startswith(f"{file}: {problem}")], problems
    assert KEY not in str(problems)


def test_every_problem_is_named_at_once(file: Path) -> None:
    file.write_text(GOOD.replace("= false", "= perhaps").replace("= 404", "= 4x4").replace("app_name", "app_nam"))
    assert len(apm.check(str(file))) == 3


def test_a_file_that_cannot_be_read_is_a_problem(file: Path) -> None:
    missing = file.with_name("other.ini")
    assert apm.check(str(missing)) == [f"{missing}: Unable to open configuration file {missing}."]
    file.write_bytes(b"\xff\xfe[")
    assert len(apm.check(str(file))) == 1


def test_the_agent_starts_with_its_environment_and_sees_requests(file: Path) -> None:
    code = """
        import asyncio, json, sys
        from watchkeeper_app import apm
        apm.start(sys.argv[1], "test")
        import fastapi, httpx, newrelic.agent
        app = fastapi.FastAPI()
        @app.get("/items/{item}")
        async def item(item: int):
            return newrelic.agent.current_transaction().name
        async def ask():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return (await client.get("/items/7")).json()
        newrelic.agent.register_application(timeout=20)
        settings = newrelic.agent.global_settings()
        print(json.dumps({
            "transaction": asyncio.run(ask()),
            "record_sql": settings.transaction_tracer.record_sql,
            "ignored": sorted(settings.error_collector.ignore_status_codes),
            "excluded": sorted(settings.attributes.exclude),
        }))
    """
    done = run(code, str(file))
    assert done.returncode == 0, done.stderr
    (found,) = events(done.stdout)
    assert "item" in found["transaction"]
    assert found["record_sql"] == "obfuscated"
    assert 404 in found["ignored"]
    assert found["excluded"] == ["request.headers.authorization", "request.headers.cookie"]
