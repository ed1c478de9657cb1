"""Delivers spans to a collector and says when that stops working and when it works again, each in one line."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

# What waits for the collector: more is dropped, so that an unreachable one costs no memory.
QUEUE = 2048
BATCH = 512
SEND_SECONDS = 2.0
# One delivery with its retries.
TIMEOUT_SECONDS = 5.0
LONGEST = 4096

_log = logging.getLogger("watchkeeper.tracing")


class Delivery(SpanExporter):
    """The OTLP exporter, without its line for each batch that is lost."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """`url` takes the traces, `headers` go with each delivery."""
        self._url = url
        self._exporter = OTLPSpanExporter(url, headers=headers, timeout=TIMEOUT_SECONDS, compression=Compression.Gzip)
        self._reason = ""
        self._failing = False
        self._closing = False
        logging.getLogger(OTLPSpanExporter.__module__).addFilter(self._heard)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends a batch; at the end of the process nothing is waited for twice."""
        if self._closing and self._failing:
            return SpanExportResult.FAILURE
        self._reason = ""
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            fields = {"endpoint": self._url, "reason": self._reason}
            _log.warning("traces cannot be delivered and are dropped", extra={"fields": fields})
        elif self._failing and not failing:
            _log.info("traces are delivered again", extra={"fields": {"endpoint": self._url}})
        self._failing = failing
        return result

    def close(self) -> None:
        """From now on a delivery that fails is the last one."""
        self._closing = True
        if self._failing:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def shutdown(self) -> None:
        """Ends it."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
        logging.getLogger(OTLPSpanExporter.__module__).removeFilter(self._heard)

    def _heard(self, record: logging.LogRecord) -> bool:
        """The first of the exporter's lines about a batch tells the cause, the others only follow from it."""
        self._reason = self._reason or record.getMessage()
        return False


def provider(delivery: Delivery, resource: Mapping[str, str], ratio: float) -> TracerProvider:
    """What makes spans, samples them and hands them to `delivery` in the background."""
    made = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(ratio)),
        resource=Resource.create(resource),
        span_limits=SpanLimits(max_attribute_length=LONGEST, max_event_attributes=16, max_events=16),
        shutdown_on_exit=False,
    )
    made.add_span_processor(
        BatchSpanProcessor(
            delivery, max_queue_size=QUEUE, max_export_batch_size=BATCH, schedule_delay_millis=SEND_SECONDS * 1000
        )
    )
    # It would tell of spans that found the queue full, while Delivery has said why.
    logging.getLogger("opentelemetry.sdk._shared_internal").disabled = True
    return made
