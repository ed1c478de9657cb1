"""The demo's traffic source, against the app's own models and a loopback server."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import ValidationError

from tests.harness import traffic
from tests.harness.mirror import Server
from watchkeeper_app import demo

SOURCE = Path(traffic.__file__)
BODIES: dict[str, type[demo.Body]] = {
    "/api/orders": demo.Order,
    "/api/users": demo.User,
    "/api/products": demo.Product,
    "/api/messages": demo.ShopMessage,
}


def test_the_shop_understands_its_visitors() -> None:
    """Every request is for a route of the shop, with a body that it takes, but for the few wrong on purpose."""
    app = FastAPI()
    demo.add_routes(app)
    routes = [
        (method, re.compile(re.sub(r"{\w+}", r"\\d+", route.path)))
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    ]
    made = list(itertools.islice(traffic.requests(random.Random(7)), 5000))  # noqa: S311 - the same ones each time
    invalid = 0
    for path, body in made:
        assert path == "/health" or any(
            method == ("GET" if body is None else "POST") and pattern.fullmatch(path) for method, pattern in routes
        ), path
        if body is not None:
            try:
                BODIES[path].model_validate(body)
            except ValidationError:
                invalid += 1
    count = Counter(path for path, _body in made)
    assert 25 < count["/api/error"] < 100, "about one in a hundred"
    assert 50 < count["/api/missing"] < 200
    assert 25 < invalid < 100
    items = {path: number for path, number in count.items() if path.startswith("/api/items/")}
    assert sum(items.values()) > len(items) * 50, "most of them are for items that somebody has asked for before"
    assert set(BODIES) <= set(count)


class Shop(BaseHTTPRequestHandler):
    """Answers 503 to the first request and hangs up on the second; from then on, it serves."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[str]] = []
    busy: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append(f"{self.command} {self.path}")
        if len(self.seen) == 2:
            self.close_connection = True
            return
        if len(self.seen) == 10:
            self.busy.set()
        self.send_response(503 if len(self.seen) == 1 else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET  # noqa: N815 - the base class's name

    def log_message(self, *_arguments: object) -> None:
        """Stay quiet."""


def test_it_goes_on_until_it_is_told_to_stop() -> None:
    """An error and a broken connection do not end it, SIGTERM does."""
    with Server(("127.0.0.1", 0), Shop) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        command = [sys.executable, str(SOURCE), address, "--rate", "50"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert Shop.busy.wait(30)
            process.terminate()
            output, _ = process.communicate(timeout=30)
        server.shutdown()
        thread.join()
    assert process.returncode == 0
    assert output.splitlines() == [f"{address}: Remote end closed connection without response", f"{address}: answers"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["http://127.0.0.1", "--rate", "51"], "at most 50"),
        (["http://127.0.0.1", "--rate", "0"], "more than 0"),
        (["127.0.0.1"], "an address that starts with http://"),
    ],
)
def test_it_refuses_what_it_cannot_do(words: list[str], problem: str) -> None:
    """More requests than the limit, and what is no address."""
    done = subprocess.run([sys.executable, str(SOURCE), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert problem in done.stderr
