"""A bounded traffic source for the demo: visitors of the app's shop, one request after the other, until SIGTERM.

One request in a hundred fails on purpose, and some ask for what is not there or send what is not valid. The app may be
away: then the source waits for it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import signal
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

# Requests for each second, in all: what is asked for when nothing is said, and what cannot be exceeded.
RATE, MOST = 8.0, 50.0
# Seconds for one request, and between two tries while nobody answers.
TIMEOUT, PAUSE = 5.0, 2.0
# The shop has 200 items; most visitors look at the same few.
ITEMS, POPULAR = 200, 8

# How many of a thousand requests each kind is.
SHARES = {
    "item": 700,
    "order": 120,
    "message": 60,
    "user": 40,
    "product": 20,
    "health": 20,
    "missing": 20,
    "invalid": 10,
    "error": 10,
}


class Request(NamedTuple):
    """One request; without a body it is a GET."""

    path: str
    body: Mapping[str, Any] | None = None


def requests(chance: random.Random) -> Iterator[Request]:
    """Make up requests for ever, each kind by its share."""
    while True:
        item = 1 + min(int(chance.expovariate(1 / POPULAR)), ITEMS - 1)
        made = {
            "item": Request(f"/api/items/{item}"),
            "order": Request("/api/orders", {"item": item, "quantity": chance.randint(1, 3)}),
            "message": Request("/api/messages", {"text": "hello"}),
            "user": Request("/api/users", {"name": "A visitor", "email": "visitor@example.com"}),
            "product": Request("/api/products", {"name": "A novelty", "price_cents": chance.randint(100, 9900)}),
            "health": Request("/health"),
            "missing": Request("/api/missing"),
            "invalid": Request("/api/orders", {"item": "a lot"}),
            "error": Request("/api/error"),
        }
        yield made[chance.choices(list(SHARES), list(SHARES.values()))[0]]


def send(connection: http.client.HTTPConnection, request: Request) -> None:
    """Send one request and read its answer, whatever that is."""
    body = None if request.body is None else json.dumps(request.body)
    headers = {} if body is None else {"Content-Type": "application/json"}
    connection.request("GET" if body is None else "POST", request.path, body, headers)
    connection.getresponse().read()


def run(address: urllib.parse.SplitResult, rate: float, stop: threading.Event) -> None:
    """Send requests at this rate until told to stop. What could not be sent in time is not made up for."""
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT)
    trouble = ""
    due = time.monotonic()
    for request in requests(random.Random()):  # noqa: S311 - nothing secret about it
        before, trouble = trouble, ""
        try:
            send(connection, request)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            trouble = str(error) or type(error).__name__
        if trouble != before:
            print(f"{address.geturl()}: {trouble or 'answers'}", flush=True)
        due = max(due + 1 / rate, time.monotonic())
        if stop.wait(PAUSE if trouble else due - time.monotonic()):
            return


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", type=urllib.parse.urlsplit, help="the shop's address, such as http://127.0.0.1")
    parser.add_argument("--rate", type=float, default=RATE, help=f"requests for each second (default: {RATE:g})")
    arguments = parser.parse_args()
    if not 0 < arguments.rate <= MOST:
        parser.error(f"--rate {arguments.rate:g}: more than 0 and at most {MOST:g}")
    if arguments.url.scheme != "http" or not arguments.url.hostname:
        parser.error(f"{arguments.url.geturl()}: an address that starts with http://")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    run(arguments.url, arguments.rate, stop)


if __name__ == "__main__":
    main()
