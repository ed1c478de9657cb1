"""A small application that reports its errors, and a run of it, for a process of its own.

The secrets that it is given must not stand in its code: the lines around an error are reported with it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from typing import Any, NoReturn

import fastapi
import httpx
import sentry_sdk
from pydantic import BaseModel

from watchkeeper_app import errors, logs, tracing

from .processes import served

PLANTED = os.environ.get("PLANTED", "")
log = logs.get("shop")


class Order(BaseModel):
    """What the shop sells."""

    number: int
    password: str


class GoneError(Exception):
    """An error of a library that knows the status of its answer."""

    status = 404


class OverloadError(Exception):
    """The same with another status."""

    status_code = 503


def fail(kind: type[Exception] = RuntimeError) -> NoReturn:
    """Raises an error with a secret in its text and one beside it."""
    password = beside = PLANTED
    raise kind(f"no connection to postgresql://shop:{password}@db/ with token={beside}")


def shop() -> fastapi.FastAPI:
    """One route for each way to fail."""
    app = fastapi.FastAPI()

    @app.get("/error/{item}")
    async def error(item: int) -> None:
        log.info("selling", item=item, password=PLANTED, url=f"redis://:{PLANTED}@cache/")
        fail()

    @app.get("/thread")
    def in_a_thread() -> None:
        fail(ConnectionError)

    @app.get("/logged")
    async def logged() -> str:
        try:
            fail(KeyError)
        except KeyError as error:
            log.error("not sold", error=error, order={"lines": [{"token": PLANTED}]})
        return "sorry"

    @app.get("/logged-and-raised")
    def logged_and_raised() -> None:
        try:
            fail(LookupError)
        except LookupError as error:
            log.error("not sold", error=error)
            errors.capture(error, order=1)
            raise

    @app.get("/overload")
    async def overload() -> None:
        raise fastapi.HTTPException(503, PLANTED and "busy")

    @app.get("/missing")
    async def missing() -> None:
        raise fastapi.HTTPException(404)

    @app.get("/invalid")
    async def invalid() -> None:
        Order.model_validate({"number": "many", "password": PLANTED})

    @app.post("/orders")
    async def order(order: Order) -> int:
        return order.number

    return app


def visit(client: httpx.Client) -> dict[str, int]:
    """Asks each route and gives the answers."""
    headers = {
        "authorization": f"Bearer {PLANTED}",
        "cookie": f"session={PLANTED}; theme=dark",
        "x-api-key": PLANTED,
        "x-forwarded-for": f"{PLANTED}.example.org",
        "x-custom": PLANTED,
    }
    query = {"token": PLANTED, "page": "2"}
    paths = ("error/7", "thread", "logged", "logged-and-raised", "overload", "missing", "invalid")
    found = {path: client.get(f"/{path}", params=query, headers=headers).status_code for path in paths}
    found["nowhere"] = client.get(f"/nowhere/token={PLANTED}", headers=headers).status_code
    found["orders"] = client.post(
        "/orders", json={"number": "x", "password": PLANTED}, params=query, headers=headers
    ).status_code
    return found


def speak() -> None:
    """Fails outside of a request in each way there is."""
    log.error("a line without an exception is no report", password=PLANTED)
    logging.getLogger("library").error("nor is a library's, password=%s", PLANTED)
    errors.capture(GoneError("not ours"))
    errors.capture(OverloadError("ours"), note=f"password={PLANTED}", nested={"a": [{"secret": PLANTED}]})
    thread = threading.Thread(target=fail, args=(TimeoutError,))
    thread.start()
    thread.join()


def main() -> None:
    """Reports to the DSN of the first argument; the second is JSON: what `errors.configure` gets besides."""
    settings: dict[str, Any] = {
        "environment": "production",
        "release": "backend@1.2.3",
        "server_name": "web-1",
        "traces_sample_rate": 1.0,
        "profiles_sample_rate": 0.0,
        **json.loads(sys.argv[2]),
    }
    endpoint = settings.pop("otlp_endpoint", "")
    logs.configure("backend", "info", "", 1, 1)
    on = errors.configure(sys.argv[1], traced_elsewhere=bool(endpoint), **settings)
    app = shop()
    shutdown = tracing.configure(
        app, service="backend", environment="test", version="1", endpoint=endpoint, sample_ratio=1.0, headers={}
    )
    with served(app) as client:
        log.info("answers", answers=visit(client))
    speak()
    shutdown()
    sentry_sdk.flush(30)
    log.info("end", on=on)


if __name__ == "__main__":
    main()
