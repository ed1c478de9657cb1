"""Slack's incoming webhooks: one path that takes messages as JSON and answers `ok` or the name of an error."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .base import Answer, HttpSink, Request, parser, serve

PATH = "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
MAX_ATTACHMENTS = 100
# An attachment with none of these shows nothing.
_VISIBLE = ("text", "fallback", "title", "pretext", "fields", "blocks", "image_url")


class SlackSink(HttpSink):
    """Takes messages on one webhook; `channels` limits the channels that exist (with `#`), empty means any."""

    def __init__(
        self,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        log: Path | None = None,
        path: str = PATH,
        channels: Sequence[str] = (),
    ) -> None:
        """`listen` and `log` as in HttpSink, `path` is the webhook's own."""
        super().__init__(listen, log)
        self._path = path
        self._channels = set(channels)

    @property
    def url(self) -> str:
        """The webhook's URL."""
        return self.base_url + self._path

    def answer(self, request: Request) -> Answer:
        """`ok`, or the error that Slack documents for what is wrong."""
        if request.path != self._path:
            return Answer(404, "no_service")
        if request.method != "POST":
            return Answer(405, "method_not_allowed", headers={"Allow": "POST"})
        if not request.headers.get("content-type", "").startswith("application/json"):
            return Answer(400, "invalid_payload")
        try:
            message = json.loads(request.body)
        except ValueError:
            return Answer(400, "invalid_payload")
        if not isinstance(message, Mapping):
            return Answer(400, "invalid_payload")
        attachments, blocks = message.get("attachments") or [], message.get("blocks") or []
        if not isinstance(attachments, list) or not isinstance(blocks, list):
            return Answer(400, "invalid_payload")
        if len(attachments) > MAX_ATTACHMENTS:
            return Answer(400, "too_many_attachments")
        if not message.get("text") and not blocks:
            if not attachments:
                return Answer(400, "no_text")
            if not all(_visible(attachment) for attachment in attachments):
                return Answer(400, "missing_text_or_fallback_or_attachments")
        channel = message.get("channel")
        if self._channels and channel and channel not in self._channels:
            return Answer(404, "channel_not_found")
        return Answer(200, "ok", accepted=True)


def _visible(attachment: Any) -> bool:
    return isinstance(attachment, Mapping) and any(attachment.get(key) for key in _VISIBLE)


def main() -> None:
    """Runs the sink from the command line."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--path", default=PATH, help="path of the webhook")
    arguments.add_argument("--channel", action="append", default=[], help="a channel that exists; none means any")
    arguments.add_argument("--rate-limit", type=int, default=0, metavar="N", help="refuse the first N requests")
    options = arguments.parse_args()
    sink = SlackSink(options.listen, options.log, options.path, options.channel)
    sink.fail_next(options.rate_limit)
    serve(sink)


if __name__ == "__main__":
    main()
