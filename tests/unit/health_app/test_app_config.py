"""The app's configuration: what is refused, in which words, by the real program, before anything is started."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.health_app.servers import App, command
from watchkeeper_app import __version__
from watchkeeper_app.__main__ import main
from watchkeeper_app.config import Config, ConfigError, RedisCheck, parse

ROOT = Path(__file__).resolve().parents[3]
TCP = {"name": "mail", "type": "tcp", "host": "localhost", "port": 25}
POSTGRES = {"name": "database", "type": "postgresql", "database": "app", "user": "app"}


def run(folder: Path, content: object, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs the app with a configuration to its end."""
    path = folder / "app.yml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return subprocess.run(command(path, *options), capture_output=True, text=True, timeout=60, check=False)


def problems(data: object) -> list[str]:
    """What is wrong with a configuration."""
    with pytest.raises(ConfigError) as caught:
        parse(data)
    return caught.value.problems


def test_everything_has_a_default() -> None:
    assert parse({}) == Config()
    assert Config().version == __version__


def test_the_package_has_the_project_s_version() -> None:
    assert f'\nversion = "{__version__}"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (
            {"check": []},
            "unknown key check; allowed are service, environment, version, listen, health, checks, logging",
        ),
        ({"health": {"cahce": 1}}, "health: unknown key cahce; allowed are cache"),
        ({"health": {"cache": -1}}, "health.cache: -1 is not allowed; must be greater than or equal to 0"),
        ({"health": {"cache": "1"}}, "health.cache: '1' is not allowed; must be a valid number"),
        ({"health": {"cache": float("nan")}}, "health.cache: 'nan' is not allowed; must be a finite number"),
        ({"service": "two words"}, "service: 'two words' is not allowed; must match pattern"),
        ({"version": 1.2}, "version: 1.2 is not allowed; must be a valid string"),
        ({"demo": "yes"}, "demo: 'yes' is not allowed; must be a valid boolean"),
        ({"listen": {"address": "localhost"}}, "listen.address: 'localhost' is no IP address; 127.0.0.1 listens on"),
        ({"listen": {"port": 0}}, "listen.port: 0 is not allowed; must be greater than or equal to 1"),
        ({"listen": {"port": True}}, "listen.port: True is not allowed; must be a valid integer"),
        ({"logging": {"level": "loud"}}, "logging.level: 'loud' is not allowed; must be 'debug', 'info', 'warning' or"),
        ({"logging": {"directory": "logs"}}, "logging.directory: must be an absolute path"),
        ({"errors": {"traces_sample_rate": 2}}, "errors.traces_sample_rate: 2 is not allowed; must be less than or"),
        ({"tracing": {"otlp_endpoint": "collector:4318"}}, "tracing.otlp_endpoint: must be an http:// or https://"),
        ({"checks": {}}, "checks: {} is not allowed; must be a valid list"),
        (
            {"checks": [{"name": "a", "type": "ftp"}]},
            "checks[0].type: 'ftp' is not allowed; must be one of 'postgresql'",
        ),
        ({"checks": [{"name": "a"}]}, "checks[0].type: missing; must be one of 'postgresql', 'redis', 'http', 'tcp'"),
        ({"checks": [TCP, {"type": "disk"}]}, "checks[1].name: missing"),
        (
            {"checks": [{**TCP, "url": ""}]},
            "checks[0]: unknown key url; allowed are name, critical, timeout, type, host",
        ),
        ({"checks": [{**TCP, "name": "Mail"}]}, "checks[0].name: 'Mail' is not allowed; must match pattern"),
        ({"checks": [{**TCP, "timeout": 0}]}, "checks[0].timeout: 0 is not allowed; must be greater than 0"),
        (
            {"checks": [{**TCP, "timeout": 31}]},
            "checks[0].timeout: 31 is not allowed; must be less than or equal to 30",
        ),
        ({"checks": [{**TCP, "port": 70000}]}, "checks[0].port: 70000 is not allowed; must be less than or equal to"),
        ({"checks": [TCP, TCP]}, "checks[1].name: 'mail' is the name of checks[0] too; names must be unique"),
        (
            {"checks": [{**POSTGRES, "sslmode": "on"}]},
            "checks[0].sslmode: 'on' is not allowed; must be 'disable', 'allow'",
        ),
        ({"checks": [{**POSTGRES, "password_file": "/no/such"}]}, "checks[0].password_file: /no/such: No such file"),
        ({"checks": [{"name": "a", "type": "http", "url": "x"}]}, "checks[0].url: must be an http:// or https://"),
        ({"checks": [{"name": "a", "type": "http", "url": "http://h:70000"}]}, "checks[0].url: must be an http://"),
        ({"checks": [{"name": "a", "type": "http", "url": "http://h", "status": []}]}, "checks[0].status: [] is not"),
        ({"checks": [{"name": "a", "type": "redis", "url": "http://h"}]}, "checks[0].url: must be redis://"),
        ({"checks": [{"name": "a", "type": "disk", "path": "data"}]}, "checks[0].path: must be an absolute path"),
        ({"checks": [{"name": "a", "type": "disk", "free_percent": 100}]}, "checks[0].free_percent: 100 is not"),
        ({"demo": True, "checks": [POSTGRES]}, "demo: true needs a check of type 'redis' in checks"),
        ({"errors": {"dsn_file": "/no/such"}}, "errors.dsn_file: /no/such: No such file or directory; must be a file"),
        ([], "[] is not allowed; must be a valid dictionary"),
    ],
)
def test_what_is_wrong_is_named(data: Any, problem: str) -> None:
    assert [found for found in problems(data) if found.startswith(problem)], problems(data)


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    done = run(tmp_path, {"demo": 1, "health": {"cache": -1}, "checks": [{"name": "a", "type": "ftp"}]}, "--check")
    assert done.returncode == 1
    assert [line.removeprefix(f"{tmp_path / 'app.yml'}: ").split(":")[0] for line in done.stderr.splitlines()] == [
        "health.cache",
        "checks[0].type",
        "demo",
    ]
    assert not done.stdout


@pytest.mark.parametrize("planted", ["redis://user:planted-word@host", "http://planted-word@host/", "planted-word"])
def test_a_secret_in_the_wrong_place_is_not_repeated(planted: str) -> None:
    for check in (
        {"name": "a", "type": "redis", "url": planted},
        {"name": "a", "type": "http", "url": planted},
        {"name": "a", "type": "redis", "password_file": planted},
        {"name": "a", "type": "redis", "password": planted},
    ):
        assert "planted-word" not in "".join(problems({"checks": [check]}))


def test_secrets_are_read_without_the_end_of_the_line(tmp_path: Path) -> None:
    secret, headers = tmp_path / "secret", tmp_path / "headers"
    words = " two words "
    secret.write_text(f"{words}\r\n", encoding="utf-8")
    headers.write_text("Authorization: Bearer word\nX-Tenant: a:b\n", encoding="utf-8")
    config = parse(
        {
            "checks": [{"name": "redis", "type": "redis", "password_file": str(secret)}],
            "tracing": {"headers_file": str(headers)},
        }
    )
    (check,) = config.checks
    assert isinstance(check, RedisCheck)
    assert check.password == words
    assert config.tracing.headers == {"Authorization": "Bearer word", "X-Tenant": "a:b"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty; must hold the secret"),
        (b"\n", "the file is empty; must hold the secret"),
        (b"\xff\xfe", "must be a text file in UTF-8"),
        (b"no header\n", "line 1 is no header; must be `name: value`"),
        (b"a: b\nbad name: planted\n", "line 2 is no header; must be `name: value`"),
    ],
)
def test_a_bad_secret_file_is_named_and_not_shown(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "headers"
    path.write_bytes(content)
    assert problems({"tracing": {"headers_file": str(path)}}) == [f"tracing.headers_file: {path}: {problem}"]


def test_a_good_configuration_is_only_looked_at(tmp_path: Path) -> None:
    """Nothing listens on the backends' ports, and the app's own port is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = {"address": "127.0.0.1", "port": taken.getsockname()[1]}
        done = run(tmp_path, {"listen": listen, "checks": [{**POSTGRES, "port": 1}, {**TCP, "port": 1}]}, "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'app.yml'}: the configuration is good\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a: [", "line 1: no valid YAML: "),
        ("a: \x01", "no valid YAML: "),
        ("a: !!python/object:os.system {}", "line 1: no valid YAML: "),
        ("just words", "'just words' is not allowed; must be a valid dictionary"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, problem: str
) -> None:
    path = tmp_path / "app.yml"
    path.write_text(content, encoding="utf-8")
    assert main(["--config", str(path), "--check"]) == 1
    assert capsys.readouterr().err.startswith(f"{path}: {problem}")


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.yml"
    assert main(["--config", str(path), "--check"]) == 1
    assert capsys.readouterr().err.startswith(f"{path}: {path}: No such file or directory; must be a file")


@pytest.mark.parametrize("option", ["--check", ""])
def test_a_bad_configuration_ends_the_program(tmp_path: Path, option: str) -> None:
    done = run(tmp_path, {"checks": [{"name": "a", "type": "ftp"}]}, *filter(None, [option]))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{tmp_path / 'app.yml'}: checks[0].type: 'ftp' is not allowed")


@pytest.mark.parametrize("option", ["--check", ""])
def test_a_malformed_dsn_is_named_and_not_shown(tmp_path: Path, option: str) -> None:
    dsn = tmp_path / "dsn"
    dsn.write_text("https://planted@/none\n", encoding="utf-8")
    done = run(tmp_path, {"errors": {"dsn_file": str(dsn)}}, *filter(None, [option]))
    assert done.returncode == 1
    assert f"errors.dsn_file: {dsn}: the DSN is malformed" in done.stderr
    assert "planted" not in done.stderr + done.stdout


def test_a_wrong_agent_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "newrelic.ini"
    path.write_text("[newrelic]\nlog_level = loudly\n", encoding="utf-8")
    done = run(tmp_path, {"newrelic": {"config_file": str(path)}}, "--check")
    assert done.returncode == 1
    assert f"newrelic.config_file: {path}: " in done.stderr


def test_a_log_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, {"logging": {"directory": "/no/such/place"}})
    assert done.returncode == 1
    assert "logging.directory: /no/such/place: No such file or directory; must be" in done.stderr


def test_a_taken_port_ends_the_program_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, {"listen": {"address": "127.0.0.1", "port": port}, "logging": {"level": "error"}})
    assert done.returncode != 0
    assert re.findall(rf"address \('127\.0\.0\.1', {port}\): .*address already in use", done.stdout.lower())
    assert len(done.stdout.splitlines()) == 1
    assert not done.stderr


def test_the_app_runs_without_any_check(tmp_path: Path) -> None:
    with App(tmp_path, {}) as app:
        assert app.ask("/health").json["checks"] == {}
        assert app.ask("/health").status == 200
        assert app.ask("/api/items/1").status == 404
        assert app.series("orders_created_total") is None
        # What alerts count is there before it first happens.
        for route in ("/health", "/metrics"):
            assert app.series("http_requests_total", method="GET", route=route, status_code="500") == 0
        assert app.series("cache_requests_total", result="miss") == 0
        assert app.series("process_resident_memory_bytes")
        app.program.process.terminate()
        assert app.program.process.wait(20) == 0
