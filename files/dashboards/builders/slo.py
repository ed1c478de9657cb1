"""Objectives: how much of the error budget is left, and how fast it is being used."""

from __future__ import annotations

from files.dashboards.builders.library import CRITICAL, WARNING, Board, Column, limit, parameter, query, step

_SLO = 'slo=~"$slo"'
_BUDGET = [step(0, CRITICAL), step(0.25, WARNING)]
_FAST = parameter("CriticalErrorBudgetBurn", "long_window")
_SLOW = parameter("CriticalErrorBudgetBurn", "slower_long_window")
_DAY = parameter("HighErrorBudgetBurn", "long_window")
_ALERTS = ["CriticalErrorBudgetBurn", "HighErrorBudgetBurn", "SLOWithoutData"]


def _burn(window: str) -> str:
    """Return how many times faster than the objective allows the budget is used; 0 while nobody asks."""
    return (
        f"(slo:errors:ratio_rate{window}{{{_SLO}}} or 0 * slo:requests:rate{window}{{{_SLO}}}) "
        "/ on (slo) group_left () (1 - slo:objective:ratio)"
    )


def build() -> Board:
    """Return the dashboard."""
    board = Board(
        "slo",
        "SLO",
        description="Service level objectives and their error budgets. An objective of 99.9% leaves 0.1% of the "
        "requests as budget; a burn rate of 1 uses it up exactly by the end of the objective's window.",
        tags=["slo"],
        since="now-24h",
    )
    board.variable("slo", "slo:objective:ratio", label="Objective")
    _add_budget(board)
    _add_burn(board)
    _add_requests(board)
    return board


def _add_budget(board: Board) -> None:
    board.row("Error budget")
    board.stat(
        "Budget left",
        [query(f"slo:error_budget_remaining:ratio{{{_SLO}}}", "{{slo}} {{service}}", instant=True)],
        unit="percentunit",
        decimals=1,
        width=10,
        height=8,
        names=True,
        description="Over the objective's own window. Below 0 the objective is missed.",
        limits=_BUDGET,
        below=True,
        alerts=_ALERTS,
        no_value="no requests",
    )
    board.table(
        "Objectives",
        [
            query(f"max by (slo) (slo:objective:ratio{{{_SLO}}})"),
            query(f"min by (slo) (slo:error_budget_remaining:ratio{{{_SLO}}})"),
            query(f"1 - max by (slo) (slo:errors:ratio_rate{_DAY}{{{_SLO}}})"),
            query(f"max by (slo) ({_burn(_FAST)})"),
            query(f"max by (slo) ({_burn(_SLOW)})"),
            query(f"sum by (slo) (slo:requests:rate{_FAST}{{{_SLO}}})"),
        ],
        [
            Column("slo", "Objective"),
            Column("Value #A", "Wanted", unit="percentunit", width=90),
            Column(
                "Value #B",
                "Budget left",
                unit="percentunit",
                decimals=1,
                width=110,
                coloured=True,
                limits=_BUDGET,
                below=True,
            ),
            Column("Value #C", f"Good, {_DAY}", unit="percentunit", decimals=3, width=100),
            Column(
                "Value #D",
                f"Burn rate, {_FAST}",
                unit="none",
                decimals=1,
                width=120,
                coloured=True,
                limits=[limit("CriticalErrorBudgetBurn", "factor")],
            ),
            Column(
                "Value #E",
                f"Burn rate, {_SLOW}",
                unit="none",
                decimals=1,
                width=120,
                coloured=True,
                limits=[limit("CriticalErrorBudgetBurn", "slower_factor")],
            ),
            Column("Value #F", f"Requests, {_FAST}", unit="reqps", width=130),
        ],
        width=14,
        height=8,
        sort="Budget left",
        ascending=True,
    )
    board.timeseries(
        "Budget left over time",
        [query(f"slo:error_budget_remaining:ratio{{{_SLO}}}", "{{slo}} {{service}}", interval="1m")],
        unit="percentunit",
        minimum=None,
        maximum=1,
        width=24,
        limits=_BUDGET,
        below=True,
        alerts=_ALERTS,
    )


def _add_burn(board: Board) -> None:
    board.row("Burn rate")
    for window, limits, advice in (
        (_FAST, [limit("CriticalErrorBudgetBurn", "factor")], "A loud failure: within hours nothing is left."),
        (_SLOW, [limit("CriticalErrorBudgetBurn", "slower_factor")], "A failure that lasts."),
        (
            _DAY,
            [limit("HighErrorBudgetBurn", "factor")],
            "A quiet loss: nobody complains yet, and the budget goes all the same.",
        ),
    ):
        board.timeseries(
            f"Burn rate over {window}",
            [query(_burn(window), "{{slo}} {{service}}", interval="1m")],
            unit="none",
            width=8,
            decimals=1,
            limits=limits,
            description=f"{advice} The alert asks a shorter window as well, so it ends soon after the loss does.",
        )


def _add_requests(board: Board) -> None:
    board.row("Requests")
    board.timeseries(
        "Requests",
        [query(f"slo:requests:rate5m{{{_SLO}}}", "{{slo}} {{service}}", interval="1m")],
        unit="reqps",
        width=8,
        alerts=["SLOWithoutData"],
    )
    board.timeseries(
        "Bad requests",
        [query(f"slo:errors:rate5m{{{_SLO}}}", "{{slo}} {{service}}", interval="1m")],
        unit="reqps",
        width=8,
        description="Server errors, or requests slower than the objective's threshold.",
    )
    board.timeseries(
        "Share of bad requests",
        [
            query(
                f"slo:errors:ratio_rate5m{{{_SLO}}} or 0 * slo:requests:rate5m{{{_SLO}}}",
                "{{slo}} {{service}}",
                interval="1m",
            )
        ],
        unit="percentunit",
        width=8,
    )
