"""What hosts cost: a recorded series that a dashboard sets against their use.

`watchkeeper_host_price` is a host's price for a month, with the labels ``host`` and ``currency``. Hosts whose price is
unknown have none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .catalogue import CatalogueError

PRICE_RULES = "prices"
SERIES = "watchkeeper_host_price"
CURRENCY = "USD"


@dataclass(frozen=True)
class Price:
    """What a host costs in a month."""

    amount: float
    currency: str


def allowed_price(value: Any) -> str:
    """Return what a price must be, or nothing when this is one."""
    fine = math.isfinite(float(value)) and float(value) >= 0
    return "" if fine else "what the host costs in a month, 0 or more (0 is unknown)"


def allowed_currency(value: Any) -> str:
    """Return what a currency must be, or nothing when this is one."""
    return "" if re.fullmatch(r"[A-Z]{3}", str(value)) else "a currency as ISO 4217 writes it, such as USD or EUR"


def read(host: str, variables: Mapping[str, Any]) -> Price | None:
    """Return a host's price by its variables, or nothing when it is unknown."""
    amount, currency = variables.get("watchkeeper_price") or 0, variables.get("watchkeeper_currency") or CURRENCY
    try:
        wrong = allowed_price(amount)
    except (TypeError, ValueError):
        wrong = "a number"
    if wrong:
        raise CatalogueError(f"watchkeeper_price of {host} is {amount!r}, but must be {wrong}; set it in the inventory")
    wrong = allowed_currency(currency)
    if wrong:
        raise CatalogueError(
            f"watchkeeper_currency of {host} is {currency!r}, but must be {wrong}; set it in the inventory"
        )
    return Price(float(amount), str(currency)) if float(amount) else None


def recording_rules(prices: Mapping[str, Price]) -> dict[str, Any]:
    """Return the rule file, by name, that records the prices of these hosts; none where no price is known."""
    rules = [
        {
            "record": SERIES,
            "labels": {"host": host, "currency": price.currency},
            "expr": f"vector({price.amount:.12g})",
        }
        for host, price in prices.items()
    ]
    return {PRICE_RULES: {"groups": [{"name": PRICE_RULES, "rules": rules}]}} if rules else {}
