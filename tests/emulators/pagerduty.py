"""PagerDuty's Events API v2: `POST /v2/enqueue` with trigger, acknowledge and resolve events."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from .base import Answer, HttpSink, Request, parser, serve

PATH = "/v2/enqueue"
ACTIONS = ("trigger", "acknowledge", "resolve")
SEVERITIES = ("critical", "error", "warning", "info")
MAX_BODY = 512 * 1024
MAX_SUMMARY = 1024
MAX_DEDUP_KEY = 255
KEY_LENGTH = 32


class PagerDutySink(HttpSink):
    """Takes events as PagerDuty does."""

    @property
    def url(self) -> str:
        """The endpoint's URL."""
        return self.base_url + PATH

    def rate_limited(self) -> Answer:
        """PagerDuty refuses with a JSON body."""
        return _json(
            429, {"status": "throttle exceeded", "message": "Requests for this service are arriving too quickly."}
        )

    def answer(self, request: Request) -> Answer:
        """202 and the key of the incident, or 400 and everything that is wrong."""
        if request.path != PATH:
            return _json(404, {"status": "not found", "message": "Not Found"})
        if request.method != "POST":
            return _json(405, {"status": "method not allowed", "message": "Method Not Allowed"})
        if len(request.body) > MAX_BODY:
            return _json(413, {"status": "payload too large", "message": "Payload Too Large"})
        try:
            event = json.loads(request.body)
        except ValueError:
            return _invalid(["JSON is malformed"])
        if not isinstance(event, Mapping):
            return _invalid(["Event must be a JSON object"])
        errors = _errors(event)
        if errors:
            return _invalid(errors)
        key = event.get("dedup_key") or uuid.uuid4().hex
        body = {"status": "success", "message": "Event processed", "dedup_key": key}
        return _json(202, body, accepted=True)


def _errors(event: Mapping[str, Any]) -> list[str]:
    """What PagerDuty finds wrong with an event."""
    errors = []
    key = event.get("routing_key")
    if not isinstance(key, str) or not key:
        errors.append("'routing_key' is missing or blank")
    elif len(key) != KEY_LENGTH:
        errors.append(f"Length of 'routing_key' is incorrect (should be {KEY_LENGTH} characters)")
    action = event.get("event_action")
    if action not in ACTIONS:
        errors.append(f"'event_action' is missing or none of {', '.join(ACTIONS)}")
    dedup_key = event.get("dedup_key")
    if action in ("acknowledge", "resolve") and not dedup_key:
        errors.append("'dedup_key' is missing or blank")
    if dedup_key is not None and (not isinstance(dedup_key, str) or len(dedup_key) > MAX_DEDUP_KEY):
        errors.append(f"'dedup_key' is no text of up to {MAX_DEDUP_KEY} characters")
    if action == "trigger":
        payload = event.get("payload")
        payload = payload if isinstance(payload, Mapping) else {}
        for field in ("summary", "source", "severity"):
            if not isinstance(payload.get(field), str) or not payload[field]:
                errors.append(f"'payload.{field}' is missing or blank")
        if isinstance(payload.get("summary"), str) and len(payload["summary"]) > MAX_SUMMARY:
            errors.append(f"'payload.summary' is longer than {MAX_SUMMARY} characters")
        if payload.get("severity") and payload["severity"] not in SEVERITIES:
            errors.append(f"'payload.severity' is none of {', '.join(SEVERITIES)}")
    for name, needed in (("links", "href"), ("images", "src")):
        for item in event.get(name) or []:
            if not isinstance(item, Mapping) or not item.get(needed):
                errors.append(f"'{name}' has an entry without {needed}")
    return errors


def _invalid(errors: list[str]) -> Answer:
    return _json(400, {"status": "invalid event", "message": "Event object is invalid", "errors": errors})


def _json(status: int, body: Mapping[str, Any], accepted: bool = False) -> Answer:
    return Answer(status, json.dumps(body), accepted, "application/json")


def main() -> None:
    """Runs the sink from the command line."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--rate-limit", type=int, default=0, metavar="N", help="refuse the first N requests")
    options = arguments.parse_args()
    sink = PagerDutySink(options.listen, options.log)
    sink.fail_next(options.rate_limit)
    serve(sink)


if __name__ == "__main__":
    main()
