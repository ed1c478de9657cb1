"""Business metrics, for any Python application to import.

    from watchkeeper_app.business import BusinessMetrics

    business = BusinessMetrics()
    business.order(amount=12.5)

The names are those of the business dashboard. `order_total_amount` is the sum of all orders in the application's
currency (units, not cents) and is read with ``increase()``.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class _Amount(Collector):
    """A sum that only grows. The library's Counter would add `_total` to the name."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._documentation = documentation
        self._lock = Lock()
        self._sum = 0.0

    def add(self, amount: float) -> None:
        with self._lock:
            self._sum += amount

    def collect(self) -> Iterator[Metric]:
        metric = Metric(self._name, self._documentation, "unknown")
        metric.add_sample(self._name, {}, self._sum)
        yield metric


class BusinessMetrics:
    """Counters of what happens in the business, and the number of active users. One per registry."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registrations = Counter("user_registrations_total", "Users registered.", registry=registry)
        self._orders = Counter("orders_created_total", "Orders created.", registry=registry)
        self._amount = _Amount("order_total_amount", "Sum of all orders, in units of the currency.")
        registry.register(self._amount)
        self._products = Counter("products_created_total", "Products created.", registry=registry)
        self._messages = Counter("messages_sent_total", "Messages sent.", registry=registry)
        self._active = Gauge("active_users", "Users active in the last five minutes.", registry=registry)

    def user_registered(self) -> None:
        """Counts a registration."""
        self._registrations.inc()

    def order(self, amount: float) -> None:
        """Counts an order and adds its amount, in units of the currency. A negative amount raises ValueError."""
        if amount < 0:
            raise ValueError("the amount of an order cannot be negative")
        self._orders.inc()
        self._amount.add(amount)

    def product_created(self) -> None:
        """Counts a new product."""
        self._products.inc()

    def message_sent(self) -> None:
        """Counts a message."""
        self._messages.inc()

    def active_users(self, number: int) -> None:
        """Sets the number of active users, which the application counts itself."""
        self._active.set(number)
