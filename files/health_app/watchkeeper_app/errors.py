"""Reports of errors to Sentry or a server that speaks its protocol; off without a DSN.

Validation errors and 404s are the caller's and are not reported. Nothing personal and no body, cookie or local
variable is collected, and what is collected is scrubbed once more before it leaves.

Traces and profiles are Sentry's only where nobody else traces: `traced_elsewhere` switches them off, so that no
request is instrumented twice. Reports then carry the ids of the other tracer's trace.
"""

from __future__ import annotations

import contextlib
import logging
from typing import cast

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.argv import ArgvIntegration
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.scope import register_external_propagation_context, remove_external_propagation_context
from sentry_sdk.transport import HttpTransport
from sentry_sdk.types import Event, Hint
from sentry_sdk.utils import BadDsn, Dsn

from watchkeeper_app import tracing
from watchkeeper_app.scrub import scrub

# pydantic, FastAPI and most other libraries name them so; FastAPI's ResponseValidationError is the server's own fault.
VALIDATION = {"ValidationError", "RequestValidationError", "WebSocketRequestValidationError"}
# Request headers that say nothing about a person; of all others only the name is reported.
HEADERS = ["accept", "content-length", "content-type", "host", "user-agent", "x-request-id", "traceparent"]
_REPORTED = "_watchkeeper_reported"

_log = logging.getLogger("watchkeeper.errors")


class _Transport(HttpTransport):
    """Says in one line that the server takes no reports and in one that it does again; the SDK says nothing."""

    _failing = False
    _reason = ""

    def on_dropped_event(self, _reason: str) -> None:
        self._reason = _reason

    def _send_envelope(self, envelope: Envelope) -> None:
        self._reason = ""
        try:
            super()._send_envelope(envelope)
        finally:
            # Not every server takes traces and the like.
            if envelope.get_event() is not None:
                self._tell()

    def _tell(self) -> None:
        if self._reason and not self._failing:
            fields = {"server": self.parsed_dsn.netloc if self.parsed_dsn else "", "reason": self._reason}
            _log.warning("error reports cannot be delivered and are dropped", extra={"fields": fields})
        elif self._failing and not self._reason:
            _log.info("error reports are delivered again")
        self._failing = bool(self._reason)


def configure(
    dsn: str,
    *,
    environment: str,
    release: str,
    server_name: str,
    traces_sample_rate: float | None,
    profiles_sample_rate: float | None,
    traced_elsewhere: bool = False,
) -> bool:
    """Reports errors to the server of `dsn` from now on; False without one, ValueError for a malformed one.

    A rate that is None is 0.1 in production and 1.0 elsewhere.
    """
    if not dsn:
        return False
    check(dsn)
    traces = 0.0 if traced_elsewhere else tracing.rate(environment, traces_sample_rate)
    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        release=release,
        server_name=server_name,
        # None and not 0: with a rate, even of 0, the SDK goes on with a trace that a caller has begun.
        traces_sample_rate=traces or None,
        profile_session_sample_rate=tracing.rate(environment, profiles_sample_rate) if traces else 0.0,
        profile_lifecycle="trace",
        before_send=_before_send,
        before_send_transaction=_scrubbed,
        # Takes the place of send_default_pii=False and is stricter: that one still collects cookies and bodies.
        data_collection={
            "user_info": False,
            "cookies": {"mode": "off"},
            "http_headers": {"request": {"mode": "allowlist", "terms": HEADERS}},
            "http_bodies": [],
            "url_query_params": {"mode": "denylist"},
            "graphql": {"document": False, "variables": False},
            "gen_ai": {"inputs": False, "outputs": False},
            "database_query_data": False,
            "queues": False,
            "stack_frame_variables": False,
        },
        # Both are what the SDK goes by where it does not ask data_collection.
        include_local_variables=False,
        max_request_body_size="never",
        # Callers' traces are nobody else's business: no header of ours goes to the servers that are called.
        trace_propagation_targets=[],
        spotlight=False,
        transport=_Transport,
        integrations=[
            # An error in the log that has an exception is a report; the rest are breadcrumbs of the next one.
            LoggingIntegration(level=logging.INFO, event_level=logging.ERROR),
            AtexitIntegration(callback=lambda _pending, _timeout: None),
        ],
        # A command line may hold anything.
        disabled_integrations=[ArgvIntegration],
    )
    if traced_elsewhere:
        register_external_propagation_context(_ids)
    else:
        remove_external_propagation_context()
    return True


def capture(exception: BaseException, **context: object) -> None:
    """Reports an exception with what else is known, unless it was reported before."""
    sentry_sdk.capture_exception(exception, contexts={"context": scrub(context)} if context else {})


def check(dsn: str) -> None:
    """The SDK's own messages quote parts of the DSN, which may be parts of its key."""
    try:
        Dsn(dsn)
        fine = dsn == dsn.strip() and dsn.isprintable()
    except (BadDsn, ValueError):
        fine = False
    if not fine:
        raise ValueError("the DSN is malformed: it must look like https://<key>@<host>/<number of the project>")


def _ids() -> tuple[str, str] | None:
    ids = tracing.current_ids()
    return ids if ids[0] else None


def _before_send(event: Event, hint: Hint) -> Event | None:
    """What is reported, and None for what is not."""
    error = (hint.get("exc_info") or (None, None, None))[1]
    if error is None:
        # A line in the log without an exception is a breadcrumb only.
        return None if "log_record" in hint else _scrubbed(event, hint)
    if _unwanted(error) or getattr(error, _REPORTED, False):
        return None
    # The log, the framework and the last resort of a thread all come by with the same exception.
    with contextlib.suppress(AttributeError, TypeError):
        setattr(error, _REPORTED, True)
    return _scrubbed(event, hint)


def _unwanted(error: BaseException) -> bool:
    return (
        any(kind.__name__ in VALIDATION for kind in type(error).__mro__)
        or getattr(error, "status_code", None) == 404
        or getattr(error, "status", None) == 404
    )


def _scrubbed(event: Event, _hint: Hint) -> Event:
    return cast(Event, scrub(event))
