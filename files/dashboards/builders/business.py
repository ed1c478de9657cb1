"""What the business does: users, orders, revenue, products and messages, as applications count them."""

from __future__ import annotations

from files.dashboards.builders.library import Board, Query, query

_CHOSEN = 'service=~"$service"'
_LAST_DAY = "Over the last 24 hours, whatever time the dashboard shows."
# Bars of one hour each.
_HOUR = "1h"


def _day(metric: str) -> Query:
    return query(f"round(sum(increase({metric}{{{_CHOSEN}}}[24h])))", instant=True)


def _hourly(metric: str, name: str) -> Query:
    return query(f"round(sum(increase({metric}{{{_CHOSEN}}}[1h])))", name, interval=_HOUR)


def build() -> Board:
    """Return the dashboard."""
    board = Board(
        "business",
        "Business",
        description="Users, orders, revenue, products and messages. The applications count them; those that do not "
        "have nothing to show here.",
        tags=["business", "analytics"],
        needs=["health_app", "app_observability"],
        refresh="5m",
        since="now-2d",
    )
    board.variable("service", "orders_created_total")
    _add_last_day(board)
    _add_hours(board)
    return board


def _add_last_day(board: Board) -> None:
    board.stat(
        "Active Users",
        [query(f"sum(active_users{{{_CHOSEN}}})")],
        unit="none",
        trend=True,
        decimals=0,
        description="Users of the last five minutes, as the application counts them. To count somebody once over a day "
        "takes an application that remembers; a label with a user's id would take a series for each of them.",
    )
    board.stat(
        "Registrations (Last 24h)",
        [_day("user_registrations_total")],
        unit="none",
        decimals=0,
        description=_LAST_DAY,
    )
    board.stat("Orders (Last 24h)", [_day("orders_created_total")], unit="none", decimals=0, description=_LAST_DAY)
    board.stat(
        "Revenue (Last 24h)",
        [query(f"sum(increase(order_total_amount{{{_CHOSEN}}}[24h]))", instant=True)],
        unit="currencyUSD",
        decimals=2,
        description=f"{_LAST_DAY} An estimate from the applications' counters, good for a trend and not for the books.",
    )
    board.stat(
        "Amount of an order",
        [
            query(
                f"""
                sum(increase(order_total_amount{{{_CHOSEN}}}[24h]))
                / (sum(increase(orders_created_total{{{_CHOSEN}}}[24h])) > 0)
                or 0 * sum(orders_created_total{{{_CHOSEN}}})
                """,
                instant=True,
            )
        ],
        unit="currencyUSD",
        decimals=2,
        description=f"The mean. {_LAST_DAY}",
    )
    board.stat("Messages (Last 24h)", [_day("messages_sent_total")], unit="none", decimals=0, description=_LAST_DAY)


def _add_hours(board: Board) -> None:
    for title, shown in (
        ("New User Registrations", _hourly("user_registrations_total", "registrations")),
        ("Orders Created", _hourly("orders_created_total", "orders")),
        ("Products Listed", _hourly("products_created_total", "products")),
        ("Messages Sent", _hourly("messages_sent_total", "messages")),
    ):
        board.timeseries(title, [shown], unit="none", bars=True, description="By hour.", decimals=0)
    board.timeseries(
        "Revenue",
        [query(f"sum(increase(order_total_amount{{{_CHOSEN}}}[1h]))", "revenue", interval=_HOUR)],
        unit="currencyUSD",
        bars=True,
        description="By hour.",
    )
    board.timeseries(
        "Users",
        [query(f"sum by (service) (active_users{{{_CHOSEN}}})", "{{service}}")],
        unit="none",
        decimals=0,
        description="Active within the last five minutes.",
    )
