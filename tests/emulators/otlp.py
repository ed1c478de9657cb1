"""An OpenTelemetry collector's OTLP/HTTP receiver for traces: `POST /v1/traces`, protobuf, plain or gzip.

Bodies are parsed with OpenTelemetry's own messages. Every span is a record of its own, with the attributes of its
resource; the log of the command line has one JSON line for each.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus

from .base import Answer, HttpSink, Record, Request, parser, serve

PATH = "/v1/traces"
CONTENT_TYPE = "application/x-protobuf"
# google.rpc.Code
INVALID_ARGUMENT = 3
UNAVAILABLE = 14


class OtlpSink(HttpSink):
    """Takes spans as a collector does."""

    @property
    def url(self) -> str:
        """The endpoint's URL."""
        return self.base_url + PATH

    @property
    def spans(self) -> list[Record]:
        """Every span taken in so far."""
        return [record["span"] for record in self.accepted]

    def rate_limited(self) -> Answer:
        """A collector that is overloaded asks to come back."""
        return _answer(503, Status(code=UNAVAILABLE, message="overloaded"), {"Retry-After": "1"})

    def answer(self, request: Request) -> Answer:
        """200 and an empty response, or what the protocol demands for a request that cannot be taken."""
        if request.path != PATH:
            return Answer(404, "404 page not found")
        if request.method != "POST":
            return Answer(405, "405 method not allowed, supported: [POST]", headers={"Allow": "POST"})
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT_TYPE:
            return Answer(415, f"415 unsupported media type, supported: [{CONTENT_TYPE}]")
        try:
            _message(request)
        except (DecodeError, OSError, EOFError, ValueError, zlib.error):
            return _answer(400, Status(code=INVALID_ARGUMENT, message="the body is no such message"))
        return _answer(200, ExportTraceServiceResponse())

    def _handle(self, request: Request) -> Answer:
        answer = self._faults.pop(0) if self._faults else self.answer(request)
        details = {
            "status": answer.status,
            "method": request.method,
            "path": request.path,
            "headers": dict(request.headers),
        }
        if answer.accepted:
            for span in _spans(_message(request)):
                self.keep(True, "", **details, span=span)
        else:
            self.keep(False, answer.body, **details)
        return answer


def _message(request: Request) -> ExportTraceServiceRequest:
    body = request.body
    match request.headers.get("content-encoding", "identity"):
        case "gzip":
            body = gzip.decompress(body)
        case "deflate":
            body = zlib.decompress(body)
        case "identity":
            pass
        case other:
            raise ValueError(other)
    message = ExportTraceServiceRequest()
    message.ParseFromString(body)
    return message


def _spans(message: ExportTraceServiceRequest) -> Iterator[Record]:
    """Each span with what the collector would show of it."""
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield {
                    "trace_id": span.trace_id.hex(),
                    "span_id": span.span_id.hex(),
                    "parent_span_id": span.parent_span_id.hex(),
                    "name": span.name,
                    "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    "status": SpanStatus.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_").lower(),
                    "nanoseconds": span.end_time_unix_nano - span.start_time_unix_nano,
                    "attributes": _attributes(span.attributes),
                    "events": [
                        {"name": event.name, "attributes": _attributes(event.attributes)} for event in span.events
                    ],
                    "resource": _attributes(resource.resource.attributes),
                    "scope": scope.scope.name,
                }


def _attributes(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case "bytes_value":
            return value.bytes_value.hex()
        case kind:
            return getattr(value, kind)


def _answer(status: int, message: Message, headers: Mapping[str, str] | None = None) -> Answer:
    # A message this short is text in UTF-8 as well.
    body = message.SerializeToString().decode()
    return Answer(status, body, status == 200, CONTENT_TYPE, headers or {})


def main() -> None:
    """Runs the sink from the command line."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--unavailable", type=int, default=0, metavar="N", help="refuse the first N requests")
    options = arguments.parse_args()
    sink = OtlpSink(options.listen, options.log)
    sink.fail_next(options.unavailable)
    serve(sink)


if __name__ == "__main__":
    main()
