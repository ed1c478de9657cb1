"""Routes of a small shop, so that dashboards and alerts have something true to show; only with ``demo: true``.

They use the first PostgreSQL and the first Redis of the checks: one table, ``watchkeeper_demo_items``, made when it is
needed and bounded in size, and keys that expire. A backend that is down or hangs is an answer 503 within its check's
time limit. Prices are cents; `order_total_amount` counts whole units.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal
from uuid import uuid4

import asyncpg
from fastapi import FastAPI, Path, Request
from fastapi.exceptions import HTTPException
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from redis.exceptions import RedisError

from watchkeeper_app import checks, config, logs, tracing
from watchkeeper_app.business import BusinessMetrics
from watchkeeper_app.metrics import Metrics

CONNECTIONS = 10
# The items that are always there, and how many of those added later are kept.
FIRST_ITEMS, LATER_ITEMS = 200, 1000
# Seconds that an item stays in the cache, and that a user counts as active.
CACHE_LIFETIME, ACTIVE_LIFETIME = 30, 300
LARGEST_ID = 2**31 - 1
# The kinds of queries that are measured.
OPERATIONS = ("select", "insert", "update", "delete")

_TABLE = """
CREATE TABLE IF NOT EXISTS watchkeeper_demo_items (
    id serial PRIMARY KEY, name text NOT NULL, price_cents integer NOT NULL, sold bigint NOT NULL DEFAULT 0
)
"""
_ITEMS = """
INSERT INTO watchkeeper_demo_items (name, price_cents)
SELECT 'Item ' || number, 100 + number * 37 % 9900 FROM generate_series(1, $1::integer) AS number
WHERE NOT EXISTS (SELECT FROM watchkeeper_demo_items)
"""
_UNAVAILABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError)

# PostgreSQL's text has no zero bytes, and nobody's name has control characters.
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


def _whole(value: object) -> object:
    """JSON's 2.0 is a whole number too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(_whole)
Id = Annotated[int, Field(ge=1, le=LARGEST_ID), Whole]


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Order(Body):
    """Some of an item."""

    item: Id
    quantity: Annotated[int, Field(ge=1, le=100), Whole] = 1


class User(Body):
    """Somebody who registers."""

    name: Text
    email: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$")]


class Product(Body):
    """A new item."""

    name: Text
    price_cents: Annotated[int, Field(ge=1, le=10_000_000), Whole]


class ShopMessage(Body):
    """A message to all who listen."""

    text: Text


class Item(BaseModel):
    """What is for sale."""

    id: int
    name: str
    price_cents: int


class Ordered(BaseModel):
    """What an order costs."""

    amount_cents: int


class Created(BaseModel):
    """The id of what was made."""

    id: str


class Problem(BaseModel):
    """Why a request was not served."""

    detail: str


class Invalid(BaseModel):
    """What is wrong with a request."""

    class Place(BaseModel):
        """One fault: its kind, where it is and what was expected."""

        type: str
        loc: list[str | int]
        msg: str

    detail: list[Place]


def _responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Invalid if status == 422 else Problem} for status in statuses}


class Shop:
    """The shop's backends."""

    def __init__(self, settings: config.Config, metrics: Metrics, business: BusinessMetrics) -> None:
        database = next(check for check in settings.checks if isinstance(check, config.PostgresCheck))
        cache = next(check for check in settings.checks if isinstance(check, config.RedisCheck))
        self._database = checks.Postgres(database, settings.service, CONNECTIONS)
        self._cache = checks.redis_client(cache, CONNECTIONS)
        self._limits = {"postgresql": database.timeout, "redis": cache.timeout}
        self._metrics = metrics
        self._business = business
        self._log = logs.get("demo")
        self._prefix = f"{settings.service}:demo"
        self._prepared = False

    async def close(self) -> None:
        """Ends all connections."""
        await self._database.close()
        await self._cache.aclose()

    async def item(self, number: int) -> Item:
        """An item from the cache, or else from the database."""
        key = f"{self._prefix}:item:{number}"
        async with self._backend("redis", "GET"):
            cached = await self._cache.get(key)
        self._metrics.cache(cached is not None)
        if cached is not None:
            return Item.model_validate_json(cached)
        row = await self._row(
            "select", "SELECT id, name, price_cents FROM watchkeeper_demo_items WHERE id = $1", number
        )
        if row is None:
            raise HTTPException(404, "No such item")
        item = Item(**row)
        async with self._backend("redis", "SET"):
            await self._cache.set(key, item.model_dump_json(), ex=CACHE_LIFETIME)
        return item

    async def order(self, order: Order) -> Ordered:
        """Sells an item."""
        row = await self._row(
            "update",
            "UPDATE watchkeeper_demo_items SET sold = sold + $2 WHERE id = $1 RETURNING price_cents",
            order.item,
            order.quantity,
        )
        if row is None:
            raise HTTPException(404, "No such item")
        cents = row["price_cents"] * order.quantity
        self._business.order(cents / 100)
        return Ordered(amount_cents=cents)

    async def product(self, product: Product) -> Created:
        """Adds an item and lets go of the oldest that was added."""
        row = await self._row(
            "insert",
            "INSERT INTO watchkeeper_demo_items (name, price_cents) VALUES ($1, $2) RETURNING id",
            product.name,
            product.price_cents,
        )
        assert row is not None  # noqa: S101 - an INSERT gives a row or an error
        oldest = row["id"] - LATER_ITEMS
        delete = "DELETE FROM watchkeeper_demo_items WHERE id > $1 AND id <= $2 RETURNING id"
        await self._row("delete", delete, FIRST_ITEMS, oldest)
        self._business.product_created()
        return Created(id=str(row["id"]))

    async def user(self) -> Created:
        """Counts a user as active for a while; who it is, is kept nowhere."""
        user, key, now = uuid4().hex, f"{self._prefix}:active", time.time()
        async with self._backend("redis", "ZADD"):
            pipeline = self._cache.pipeline(transaction=False)
            pipeline.zadd(key, {user: now})
            pipeline.zremrangebyscore(key, 0, now - ACTIVE_LIFETIME)
            pipeline.expire(key, ACTIVE_LIFETIME)
            pipeline.zcard(key)
            *_, active = await pipeline.execute()
        self._business.user_registered()
        self._business.active_users(active)
        return Created(id=user)

    async def message(self, message: ShopMessage) -> Created:
        """Tells a message to all who listen."""
        identity = uuid4().hex
        async with self._backend("redis", "PUBLISH"):
            await self._cache.publish(f"{self._prefix}:messages", json.dumps({"id": identity, "text": message.text}))
        self._business.message_sent()
        return Created(id=identity)

    async def _row(self, operation: str, statement: str, *values: object) -> asyncpg.Record | None:
        async with self._backend("postgresql", operation.upper()), self._database.connection() as connection:
            if not self._prepared:
                await connection.execute(_TABLE)
                await connection.execute(_ITEMS, FIRST_ITEMS)
                self._prepared = True
            with self._metrics.query(operation):
                return await connection.fetchrow(statement, *values)

    @asynccontextmanager
    async def _backend(self, system: Literal["postgresql", "redis"], operation: str) -> AsyncIterator[None]:
        """Turns a backend that is down or hangs into an answer 503."""
        limit = self._limits[system]
        try:
            with tracing.span(f"{system} {operation}", **{"db.system.name": system, "db.operation.name": operation}):
                async with asyncio.timeout(limit):
                    yield
        except _UNAVAILABLE as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else f"no answer within {limit:g} s"
            self._log.warning("Backend not available", backend=system, reason=reason)
            raise HTTPException(503, "A backend is not available") from None


def add_routes(app: FastAPI) -> None:
    """Adds the shop's routes; the shop itself is looked for in the application's state."""

    def shop(request: Request) -> Shop:
        found: Shop = request.app.state.shop
        return found

    @app.get("/api/items/{number}", responses=_responses(404, 422, 503), tags=["shop"])
    async def item(request: Request, number: Annotated[int, Path(ge=1, le=LARGEST_ID)]) -> Item:
        """An item, through the cache."""
        return await shop(request).item(number)

    @app.post("/api/orders", status_code=201, responses=_responses(400, 404, 413, 422, 503), tags=["shop"])
    async def order(request: Request, body: Order) -> Ordered:
        """Orders an item."""
        return await shop(request).order(body)

    @app.post("/api/users", status_code=201, responses=_responses(400, 413, 422, 503), tags=["shop"])
    async def user(request: Request, body: User) -> Created:  # noqa: ARG001 - validated, and then forgotten
        """Registers a user."""
        return await shop(request).user()

    @app.post("/api/products", status_code=201, responses=_responses(400, 413, 422, 503), tags=["shop"])
    async def product(request: Request, body: Product) -> Created:
        """Adds a product."""
        return await shop(request).product(body)

    @app.post("/api/messages", status_code=201, responses=_responses(400, 413, 422, 503), tags=["shop"])
    async def message(request: Request, body: ShopMessage) -> Created:
        """Sends a message."""
        return await shop(request).message(body)

    @app.get("/api/error", status_code=500, response_model=Problem, tags=["shop"])
    async def error() -> None:
        """Fails on purpose, for the error tracker."""
        raise RuntimeError("an error on purpose")

    @app.get("/api/missing", status_code=404, response_model=Problem, tags=["shop"])
    async def missing() -> None:
        """Is not there, on purpose."""
        raise HTTPException(404, "Not Found")
