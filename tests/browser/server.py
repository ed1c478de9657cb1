"""Serves the pages of `pages/`, the SDK's modules as npm has installed them, and what the pages ask for.

A page can be made to report to this server instead of to an error tracker (`/?tunnel`): it then keeps all that leaves
the browser.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.emulators.base import Answer, HttpSink, Request

PAGES = Path(__file__).parent / "pages"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
}


class PageServer(HttpSink):
    """A web server for a browser that opens one page."""

    def __init__(self, modules: Path, files: Path, planted: Mapping[str, str]) -> None:
        """`modules` is npm's folder, `files` has what is served besides the pages, which are told what is `planted`."""
        super().__init__()
        self._folders = {"/modules/": modules, "/": files}
        self._planted = planted
        self.envelopes: list[bytes] = []

    def answer(self, request: Request) -> Answer:
        """A file, or what a page needs."""
        path = request.path.partition("?")[0]
        if path == "/errors":
            self.envelopes.append(request.body)
        if path in ("/errors", "/done"):
            return Answer(200, "{}", True, TYPES[".json"])
        if path == "/told":
            return Answer(200, json.dumps(self._planted), True, TYPES[".json"])
        if path == "/":
            # Scripts see this cookie, and so could the SDK.
            cookie = {"Set-Cookie": f"session={self._planted['cookie']}; Path=/"}
            return Answer(200, (PAGES / "index.html").read_text(encoding="utf-8"), True, TYPES[".html"], cookie)
        prefix = next(prefix for prefix in self._folders if path.startswith(prefix))
        for folder in (self._folders[prefix], PAGES):
            file = folder / path.removeprefix(prefix)
            if file.is_file() and file.suffix in TYPES and ".." not in file.parts:
                return Answer(200, file.read_text(encoding="utf-8"), True, TYPES[file.suffix])
        return Answer(404, "")

    def done(self) -> dict[str, Any]:
        """What the page has said at its end; AssertionError when it does not come to its end."""
        return dict(self.wait(lambda record: record["path"] == "/done", 60)["body"])

    def items(self) -> list[tuple[str, str]]:
        """Kind and content of all that the browser has reported, recordings unpacked."""
        return [item for envelope in self.envelopes for item in _items(envelope)]


def _items(envelope: bytes) -> list[tuple[str, str]]:
    found = []
    header, _newline, rest = envelope.partition(b"\n")
    found.append(("envelope", header.decode()))
    while rest:
        line, _newline, rest = rest.partition(b"\n")
        about = json.loads(line)
        length = about.get("length", len(rest.partition(b"\n")[0]))
        body, rest = rest[:length], rest[length:].removeprefix(b"\n")
        if about["type"] == "replay_recording":
            first, _newline, packed = body.partition(b"\n")
            body = first + b"\n" + zlib.decompress(packed)
        found.append((about["type"], body.decode()))
    return found
