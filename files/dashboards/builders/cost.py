"""Cost: what the hosts cost, and how much of it is paid for processors and memory that nothing uses."""

from __future__ import annotations

from files.dashboards.builders.library import Board, Column, query, step

HOSTS = '{host=~"$host"}'
EACH = "host, currency"
PRICE = f"max by ({EACH}) (watchkeeper_host_price{HOSTS})"
IDLE = f'{{mode="idle", {HOSTS[1:-1]}}}'
NO_PRICE = "Set watchkeeper_price"


def processor(window: str) -> str:
    """Return the share of a host's processors that was used."""
    return f"(1 - avg by (host) (rate(node_cpu_seconds_total{IDLE}[{window}])))"


def memory(window: str) -> str:
    """Return the share of a host's memory that was used."""
    free = f"max by (host) (avg_over_time(node_memory_MemAvailable_bytes{HOSTS}[{window}]))"
    return f"(1 - {free} / max by (host) (node_memory_MemTotal_bytes{HOSTS}))"


def used(window: str) -> str:
    """Return the used share of what a host has least to spare of."""
    return f"({processor(window)} > {memory(window)} or {memory(window)})"


def unused(window: str) -> str:
    """Return the share that was free of it."""
    return f"(1 - {used(window)})"


def priced(share: str) -> str:
    """Return that share of each host's price."""
    return f"{PRICE} * on (host) group_left () {share}"


UNUSED = priced(unused("$__range"))
USED_PROCESSORS = f"(sum by (host) (1 - rate(node_cpu_seconds_total{IDLE}[$__range])) > 0)"
USED_MEMORY = f"({memory('$__range')} * max by (host) (node_memory_MemTotal_bytes{HOSTS}) / 1073741824 > 0)"
WITHOUT_PRICE = f"""
    count(group by (host) (up{{job="node", {HOSTS[1:-1]}}}) unless on (host) (watchkeeper_host_price{HOSTS} > 0))
    or vector(0)
"""


def build() -> Board:
    """Return the dashboard."""
    board = Board(
        "cost",
        "Cost",
        description="The price of each host for a month (watchkeeper_price), and how much of it is used.",
        tags=["cost", "hosts"],
        needs=["node_exporter"],
        since="now-7d",
        refresh="15m",
    )
    board.variable("host", 'up{job="node"}')
    board.row("All hosts")
    board.stat(
        "A month",
        [query(f"sum by (currency) ({PRICE})", "{{currency}}", instant=True)],
        unit="none",
        decimals=2,
        width=6,
        names=True,
        no_value=NO_PRICE,
    )
    board.stat(
        "A year",
        [query(f"12 * sum by (currency) ({PRICE})", "{{currency}}", instant=True)],
        unit="none",
        decimals=2,
        width=6,
        names=True,
        no_value=NO_PRICE,
    )
    board.stat(
        "Not used, a month",
        [query(f"sum by (currency) ({UNUSED})", "{{currency}}", instant=True)],
        unit="none",
        decimals=2,
        width=6,
        names=True,
        description="Each host's price times the share that is free of its processors or of its memory, whichever has "
        "less to spare.",
        no_value=NO_PRICE,
    )
    board.stat(
        "Hosts without a price",
        [query(WITHOUT_PRICE, instant=True)],
        unit="none",
        width=6,
        limits=[step(1, "orange")],
        description="They are missing in all sums. Set watchkeeper_price for them.",
    )
    board.row("By host")
    board.table(
        "Hosts",
        [
            query(PRICE),
            query(f"100 * {priced(processor('$__range'))} / {PRICE}"),
            query(f"100 * {priced(memory('$__range'))} / {PRICE}"),
            query(UNUSED),
            query(f"{PRICE} / on (host) group_left () {USED_PROCESSORS}"),
            query(f"{PRICE} / on (host) group_left () {USED_MEMORY}"),
        ],
        [
            Column("host", "Host"),
            Column("currency", "Currency"),
            Column("Value #A", "A month", decimals=2),
            Column("Value #B", "Processors used", unit="percent", decimals=0),
            Column("Value #C", "Memory used", unit="percent", decimals=0),
            Column("Value #D", "Not used, a month", decimals=2),
            Column("Value #E", "For a used processor", decimals=2),
            Column("Value #F", "For a used GiB", decimals=2),
        ],
        sort="Not used, a month",
        width=24,
        height=10,
        description="The whole price divided by the processors, or the memory, that are used on average. Where it is "
        "high, much is paid for little.",
        no_value=NO_PRICE,
    )
    board.bargauge(
        "The ten most expensive hosts",
        [query(f"topk(10, {PRICE})", "{{host}} {{currency}}", instant=True)],
        unit="none",
        decimals=2,
        width=12,
        height=9,
        no_value=NO_PRICE,
    )
    board.bargauge(
        "The ten most paid for nothing",
        [query(f"topk(10, {UNUSED})", "{{host}} {{currency}}", instant=True)],
        unit="none",
        decimals=2,
        width=12,
        height=9,
        description="Hosts that could be smaller, or take over the work of another.",
        no_value=NO_PRICE,
    )
    board.row("Over time")
    board.timeseries(
        "Used and not used, a month",
        [
            query(f"sum by (currency) ({priced(used('$__rate_interval'))})", "{{currency}} used"),
            query(f"sum by (currency) ({priced(unused('$__rate_interval'))})", "{{currency}} not used"),
        ],
        unit="none",
        decimals=2,
        stack=True,
        description="The price of a month, split by what was used at the time.",
    )
    board.timeseries(
        "Price of a month",
        [query(f"sum by (currency) ({PRICE})", "{{currency}}")],
        unit="none",
        decimals=2,
        description="Hosts that come and go change it.",
    )
    return board
