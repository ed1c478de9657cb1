"""A webhook that takes any JSON body: a dead man's switch, or a receiver that is one's own program."""

from __future__ import annotations

import json

from .base import Answer, HttpSink, Request, parser, serve

PATH = "/ping"


class WebhookSink(HttpSink):
    """Takes every POST of JSON on its path."""

    @property
    def url(self) -> str:
        """The webhook's URL."""
        return self.base_url + PATH

    def answer(self, request: Request) -> Answer:
        """200 for JSON, the usual status for anything else."""
        if request.path != PATH:
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
    options = parser(__doc__ or "").parse_args()
    serve(WebhookSink(options.listen, options.log))


if __name__ == "__main__":
    main()
