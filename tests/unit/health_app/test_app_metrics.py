"""The metrics: the names and labels that dashboards and alerts ask for."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from watchkeeper_app.business import BusinessMetrics
from watchkeeper_app.metrics import Metrics


def samples(metrics: Metrics) -> dict[str, float]:
    """All series of the page and their values."""
    return {
        sample.name + "".join(sorted(f" {name}={value}" for name, value in sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.page("")[0].decode())
        for sample in family.samples
    }


def test_requests_are_counted_and_measured_in_milliseconds() -> None:
    metrics = Metrics()
    metrics.request("GET", "/a", 200, 0.0042)
    metrics.request("BREW", "unmatched", 405, 2)
    found = samples(metrics)
    assert found["http_requests_total method=GET route=/a status_code=200"] == 1
    assert found["http_requests_total method=OTHER route=unmatched status_code=405"] == 1
    assert found["http_request_duration_ms_sum method=GET route=/a"] == pytest.approx(4.2)
    assert found["http_request_duration_ms_bucket le=5.0 method=GET route=/a"] == 1
    assert found["http_request_duration_ms_bucket le=1000.0 method=OTHER route=unmatched"] == 0
    assert found["http_request_duration_ms_bucket le=2000.0 method=OTHER route=unmatched"] == 1


def test_thresholds_of_alerts_are_bounds() -> None:
    metrics = Metrics()
    metrics.request("GET", "/a", 200, 0)
    with metrics.query("select"):
        pass
    found = samples(metrics)
    assert {f"http_request_duration_ms_bucket le={bound} method=GET route=/a" for bound in (500.0, 1000.0)} <= set(
        found
    )
    assert "db_query_duration_ms_bucket le=100.0 operation=select" in found


def test_expected_series_begin_at_zero() -> None:
    metrics = Metrics()
    metrics.expect_route("GET", "/a", 200, 500)
    metrics.expect_queries("select")
    found = samples(metrics)
    for name in (
        "http_requests_total method=GET route=/a status_code=200",
        "http_requests_total method=GET route=/a status_code=500",
        "http_request_duration_ms_count method=GET route=/a",
        "db_query_duration_ms_count operation=select",
        "cache_requests_total result=hit",
        "cache_requests_total result=miss",
    ):
        assert found[name] == 0


def test_a_query_that_fails_is_measured_too() -> None:
    metrics = Metrics()
    with pytest.raises(KeyError), metrics.query("select"):
        raise KeyError
    assert samples(metrics)["db_query_duration_ms_count operation=select"] == 1


def test_no_series_tells_when_another_was_made() -> None:
    metrics = Metrics()
    metrics.cache(True)
    assert not [name for name in samples(metrics) if "_created" in name]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [("", "text/plain"), ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text")],
)
def test_business_metrics_have_the_dashboards_names(accept: str, content_type: str) -> None:
    metrics = Metrics()
    business = BusinessMetrics(metrics.registry)
    business.user_registered()
    business.order(12.5)
    business.order(0.25)
    business.product_created()
    business.message_sent()
    business.active_users(7)
    page, found = metrics.page(accept)
    assert found.startswith(content_type)
    for line in (
        *("user_registrations_total 1.0", "orders_created_total 2.0", "order_total_amount 12.75"),
        *("products_created_total 1.0", "messages_sent_total 1.0", "active_users 7.0"),
    ):
        assert re.search(rf"^{line}$", page.decode(), re.MULTILINE)


def test_an_order_cannot_take_away() -> None:
    business = BusinessMetrics(CollectorRegistry())
    with pytest.raises(ValueError, match="negative"):
        business.order(-1)
