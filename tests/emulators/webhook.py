"""A webhook that takes any JSON body: a dead man's switch, or a receiver that is one's own program."""

from __future__ import annotations

import json
from pathlib import Path

from .base import Answer, HttpSink, Request, parser, serve

PATH = "/ping"


class WebhookSink(HttpSink):
    """Takes every POST of JSON on its path."""

    def __init__(self, listen: tuple[str, int] = ("127.0.0.1", 0), log: Path | None = None, path: str = PATH) -> None:
        """`path` is the only one that is served; it may hold a secret, as those of such services do."""
        super().__init__(listen, log)
        self._path = path

    @property
    def url(self) -> str:
        """The webhook's URL."""
        return self.base_url + self._path

    def answer(self, request: Request) -> Answer:
        """200 for JSON, the usual status for anything else."""
        if request.path != self._path:
            return Answer(404, "not found")
        if request.method != "POST":
            return Answer(405, "method not allowed", headers={"Allow": "POST"})
        try:
            json.loads(request.body)
        except ValueError:
            return Answer(400, "the body is not JSON")
        return Answer(200, "ok", accepted=True)


def main() -> None:
    """Runs the sink from the command line."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--path", default=PATH, help="path of the webhook")
    options = arguments.parse_args()
    serve(WebhookSink(options.listen, options.log, options.path))


if __name__ == "__main__":
    main()
