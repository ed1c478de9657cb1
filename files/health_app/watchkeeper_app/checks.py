"""Health checks of backends, and the connections to them.

A check is done when ``probe`` returns, and failed when it raises; the time limit is kept by its caller, who cancels the
probe. A cancelled probe drops its connection instead of tidying up with a server that may hang, and the next one makes
a new connection: so a check recovers with its backend.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from watchkeeper_app import config

# Connections of a check: one is used, and one more may be on its way out.
CHECK_CONNECTIONS = 2
# Seconds that a written key lives in Redis.
KEY_LIFETIME = 10
# Bytes of an HTTP answer that are searched.
LONGEST_ANSWER = 64 * 1024
# Seconds for a server to take leave of a connection at the end.
CLOSE_LIMIT = 1.0


class CheckFailedError(Exception):
    """The backend answers, but wrongly; the message says how."""


class Postgres:
    """Connections to a PostgreSQL database, made when they are needed."""

    def __init__(self, settings: config.PostgresCheck, application: str, connections: int) -> None:
        # `verify-*` trusts the authorities of the host; the driver alone would want a file in the home directory.
        secure: ssl.SSLContext | str = settings.sslmode
        if settings.sslmode.startswith("verify-"):
            secure = ssl.create_default_context()
            secure.check_hostname = settings.sslmode == "verify-full"
        self._pool = asyncpg.create_pool(
            host=settings.host,
            port=settings.port,
            database=settings.database,
            user=settings.user,
            password=settings.password or None,
            ssl=secure,
            min_size=0,
            max_size=connections,
            # Prepared statements and session state do not survive a pooler such as PgBouncer.
            statement_cache_size=0,
            reset=_keep,
            server_settings={"application_name": application},
        )

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection for some statements that leave no session state behind."""
        await self._pool  # opens the pool, no connection
        connection = await self._pool.acquire()
        try:
            yield connection
        except asyncio.CancelledError:
            connection.terminate()
            raise
        finally:
            await self._pool.release(connection)

    async def close(self) -> None:
        """Ends all connections, and takes leave of the server if it listens."""
        await self._pool
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT):
                await self._pool.close()


async def _keep(_connection: object) -> None:
    """Leaves a connection as it is when it goes back to the pool: one round trip less per use."""


def redis_client(settings: config.RedisCheck, connections: int) -> Redis:
    """A client of a Redis server, with connections that are made when they are needed."""
    pool = BlockingConnectionPool.from_url(
        settings.url,
        username=settings.username or None,
        password=settings.password or None,
        max_connections=connections,
        timeout=settings.timeout,
        socket_timeout=settings.timeout,
        socket_connect_timeout=settings.timeout,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    return Redis.from_pool(pool)


class Check(ABC):
    """One check of a backend."""

    def __init__(self, settings: config.Check) -> None:
        self.name = settings.name
        self.critical = settings.critical
        self.timeout = settings.timeout

    @abstractmethod
    async def probe(self) -> None:
        """Returns when all is well and raises otherwise."""

    async def close(self) -> None:  # noqa: B027 - most checks have nothing to close
        """Gives back what the check holds."""


class PostgresCheck(Check):
    """``SELECT 1``, in one round trip on a connection that is kept."""

    def __init__(self, settings: config.PostgresCheck, service: str) -> None:
        super().__init__(settings)
        self._database = Postgres(settings, f"{service} health", CHECK_CONNECTIONS)

    async def probe(self) -> None:
        async with self._database.connection() as connection:
            status = await connection.execute("SELECT 1")
        if status != "SELECT 1":
            raise CheckFailedError(f"the server answers {status!r} to SELECT 1")

    async def close(self) -> None:
        await self._database.close()


class RedisCheck(Check):
    """A new value under this process's own key, read back and compared, in one round trip."""

    def __init__(self, settings: config.RedisCheck, service: str) -> None:
        super().__init__(settings)
        self._client = redis_client(settings, CHECK_CONNECTIONS)
        self._key = f"{service}:health:{uuid4().hex}"

    async def probe(self) -> None:
        value = uuid4().hex
        pipeline = self._client.pipeline(transaction=False)
        pipeline.set(self._key, value, ex=KEY_LIFETIME)
        pipeline.get(self._key)
        _, found = await pipeline.execute()
        if found != value.encode():
            raise CheckFailedError("the value read back is not the value written")

    async def close(self) -> None:
        await self._client.aclose()


class HttpCheck(Check):
    """A GET request, without following redirects."""

    def __init__(self, settings: config.HttpCheck, service: str) -> None:
        super().__init__(settings)
        self._settings = settings
        self._client = httpx.AsyncClient(
            timeout=settings.timeout,
            verify=ssl.create_default_context(),
            headers={"User-Agent": f"{service}-health", "Accept-Encoding": "identity"},
            limits=httpx.Limits(max_connections=CHECK_CONNECTIONS),
        )

    async def probe(self) -> None:
        async with self._client.stream("GET", self._settings.url) as response:
            if response.status_code not in self._settings.status:
                expected = " or ".join(map(str, self._settings.status))
                raise CheckFailedError(f"status {response.status_code} instead of {expected}")
            if self._settings.contains and self._settings.contains.encode() not in await _start(response):
                raise CheckFailedError(f"the first {LONGEST_ANSWER} bytes do not contain the expected text")

    async def close(self) -> None:
        await self._client.aclose()


async def _start(response: httpx.Response) -> bytes:
    """The first bytes of an answer, however long it is."""
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) >= LONGEST_ANSWER:
            break
    return bytes(content[:LONGEST_ANSWER])


class TcpCheck(Check):
    """A connection that is opened and dropped."""

    def __init__(self, settings: config.TcpCheck) -> None:
        super().__init__(settings)
        self._host, self._port = settings.host, settings.port

    async def probe(self) -> None:
        _, writer = await asyncio.open_connection(self._host, self._port)
        writer.close()


class DiskCheck(Check):
    """The free share of a file system."""

    def __init__(self, settings: config.DiskCheck) -> None:
        super().__init__(settings)
        self._path, self._least = settings.path, settings.free_percent
        self._question: asyncio.Future[os.statvfs_result] | None = None

    async def probe(self) -> None:
        # A network file system that hangs is asked once, until it answers.
        if self._question is None or self._question.done():
            self._question = _statvfs(self._path)
        status = await asyncio.shield(self._question)
        size = status.f_blocks - status.f_bfree + status.f_bavail
        free = 100 * status.f_bavail / size if size else 0.0
        if free < self._least:
            raise CheckFailedError(f"{free:.1f} % of {self._path} is free, less than {self._least:g} %")


def _statvfs(path: str) -> asyncio.Future[os.statvfs_result]:
    """Asks for a file system in a thread of its own. Unlike asyncio's, it does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[os.statvfs_result] = loop.create_future()

    def tell(result: os.statvfs_result | OSError) -> None:
        if isinstance(result, OSError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    def ask() -> None:
        result: os.statvfs_result | OSError
        try:
            result = os.statvfs(path)
        except OSError as error:
            result = error
        # The loop may be gone when a late answer comes.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, result)

    threading.Thread(target=ask, name=f"statvfs {path}", daemon=True).start()
    return answer


def build(settings: config.Check, service: str) -> Check:
    """The check that belongs to an entry of the configuration, for the running event loop. Opens no connection."""
    match settings:
        case config.PostgresCheck():
            return PostgresCheck(settings, service)
        case config.RedisCheck():
            return RedisCheck(settings, service)
        case config.HttpCheck():
            return HttpCheck(settings, service)
        case config.TcpCheck():
            return TcpCheck(settings)
        case config.DiskCheck():
            return DiskCheck(settings)
    raise TypeError(f"no check for {type(settings).__name__}")
