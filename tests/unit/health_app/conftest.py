"""Real servers for the tests of the app, and the app that checks them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.health_app import servers
from tests.unit.health_app.servers import App, Server


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server."""
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="module")
def redis() -> Iterator[Server]:
    """A Redis server."""
    with servers.redis() as server:
        yield server


@pytest.fixture(scope="module")
def settings(postgres: Server, redis: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The configuration of a shop on both servers, whose checks are never shared."""
    secret = tmp_path_factory.mktemp("secrets") / "password"
    secret.write_text(f"{servers.PASSWORD}\n", encoding="utf-8")
    database = {"type": "postgresql", "port": postgres.port, "database": "postgres", "user": "app"}
    cache = {"type": "redis", "url": f"redis://127.0.0.1:{redis.port}/0"}
    return {
        "health": {"cache": 0},
        "logging": {"level": "debug"},
        "demo": True,
        "checks": [
            {"name": "database", "timeout": 1.0, "password_file": str(secret), **database},
            {"name": "redis", "timeout": 1.0, "password_file": str(secret), **cache},
        ],
    }


@pytest.fixture(scope="module")
def app(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The shop."""
    folder: Path = tmp_path_factory.mktemp("app")
    with App(folder, settings) as running:
        yield running
