"""The metrics of an HTTP service, with the names and units that the dashboards and the alerts ask for.

Durations of requests and queries are milliseconds, those of health checks seconds. Every label has few values: a route
is its template, a method one of the known ones. Series that are awaited are there from the start, at zero, so that the
first error and the first miss are an increase.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import disable_created_metrics

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OTHER_METHOD = "OTHER"
UNMATCHED = "unmatched"
# Alerts ask for 100, 500 and 1000 ms: each is a bound, so that no quantile around them is a guess.
REQUEST_BUCKETS = (5, 10, 25, 50, 100, 200, 300, 500, 750, 1000, 2000, 5000, 10000)
QUERY_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)


class Metrics:
    """What the app measures of itself, in a registry of its own."""

    def __init__(self) -> None:
        # A series with the time of creation per counter would double the page, and nothing reads it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "http_requests_total",
            "HTTP requests answered.",
            ["method", "route", "status_code"],
            registry=self.registry,
        )
        self._request_duration = Histogram(
            "http_request_duration_ms",
            "Time to answer an HTTP request, in milliseconds.",
            ["method", "route"],
            buckets=REQUEST_BUCKETS,
            registry=self.registry,
        )
        self._cache = Counter(
            "cache_requests_total", "Look-ups in the cache, by result.", ["result"], registry=self.registry
        )
        self._query_duration = Histogram(
            "db_query_duration_ms",
            "Time of a database query, in milliseconds.",
            ["operation"],
            buckets=QUERY_BUCKETS,
            registry=self.registry,
        )
        self._check_up = Gauge(
            "health_check_up", "Whether the last run of a health check passed.", ["check"], registry=self.registry
        )
        self._check_duration = Gauge(
            "health_check_duration_seconds",
            "Time of the last run of a health check, in seconds.",
            ["check"],
            registry=self.registry,
        )
        for result in ("hit", "miss"):
            self._cache.labels(result)

    def expect_route(self, method: str, route: str, *statuses: int) -> None:
        """Makes the series of a route, at zero."""
        self._request_duration.labels(method, route)
        for status in statuses:
            self._requests.labels(method, route, str(status))

    def expect_queries(self, *operations: str) -> None:
        """Makes the series of the kinds of queries, at zero."""
        for operation in operations:
            self._query_duration.labels(operation)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts an answered request. `route` is a template, never a path as it came in."""
        method = method if method in METHODS else OTHER_METHOD
        self._requests.labels(method, route, str(status)).inc()
        self._request_duration.labels(method, route).observe(seconds * 1000)

    def cache(self, hit: bool) -> None:
        """Counts a look-up in the cache."""
        self._cache.labels("hit" if hit else "miss").inc()

    @contextmanager
    def query(self, operation: str) -> Iterator[None]:
        """Measures a database query, one that fails too."""
        start = perf_counter()
        try:
            yield
        finally:
            self._query_duration.labels(operation).observe((perf_counter() - start) * 1000)

    def check(self, name: str, up: bool, seconds: float) -> None:
        """Keeps the last result of a health check."""
        self._check_up.labels(name).set(up)
        self._check_duration.labels(name).set(seconds)

    def page(self, accept: str) -> tuple[bytes, str]:
        """The page for a scraper that accepts these content types, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
