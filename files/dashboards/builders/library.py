"""What all dashboards share: variables, annotations, links, a grid that fills itself, and limits taken from the alerts.

A module describes its dashboard with a `Board` and returns it from `build()`:

    board = Board("redis", "Redis", tags=["cache"], needs=["redis_exporter"], description="...")
    board.variable("instance", "redis_up")
    board.row("Memory")
    board.timeseries(
        "Memory used",
        [query('redis_memory_used_bytes{instance=~"$instance"}', "{{instance}}")],
        unit="bytes",
        limits=[limit("HighRedisMemory"), limit("CriticalRedisMemory")],
        alerts=["RedisDown"],
    )
    return board

Panels of a board with `logs=True` may ask Loki instead, by `log_query()`.

Numbers that an alert knows are named, never repeated: a limit reads the alert's entry, and the dashboard notes which
step came from which entry, so that a user's own threshold replaces it at deployment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    logs,
    loki,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from plugins.module_utils.watchkeeper.alerts import Alert, load_catalogue
from plugins.module_utils.watchkeeper.durations import parse_duration

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "files" / "dashboards"
TAG = "watchkeeper"
COLUMNS = 24
# Where runbook links lead to; `watchkeeper_runbooks_url` takes its place at deployment.
RUNBOOKS = "${runbooks}"
# Stands for every value, for series without the label too, and costs Prometheus nothing.
EVERY = ".*"

GOOD, WARNING, CRITICAL, NEUTRAL = "green", "orange", "red", "blue"
# Stands in a cell that has no value.
NOTHING = "\N{EN DASH}"
SEVERITY_COLOURS = {"critical": CRITICAL, "warning": WARNING, "info": NEUTRAL}
# From the worst on; a line's label `level` is one of them.
LEVEL_COLOURS = {
    "critical": "dark-red",
    "error": CRITICAL,
    "warning": WARNING,
    "info": GOOD,
    "debug": NEUTRAL,
    "unknown": "gray",
}
UP_OR_DOWN = {"0": ("down", CRITICAL), "1": ("up", GOOD)}
YES_OR_NO = {"0": ("no", CRITICAL), "1": ("yes", GOOD)}

Mapped = Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Query:
    """One question to Prometheus, or to Loki. `lines` is how many lines of logs are wanted at most."""

    expr: str
    legend: str = ""
    instant: bool = False
    interval: str = ""
    exemplar: bool = False
    loki: bool = False
    lines: int = 0


def query(expr: str, legend: str = "", *, instant: bool = False, interval: str = "", exemplar: bool = False) -> Query:
    """Return a query over the dashboard's time, or, with `instant`, for its end only."""
    return Query(" ".join(expr.split()), legend, instant, interval, exemplar)


def log_query(expr: str, legend: str = "", *, instant: bool = False, lines: int = 0) -> Query:
    """Return a query to Loki over the dashboard's time, or, with `instant`, for its end only."""
    return Query(" ".join(expr.split()), legend, instant, loki=True, lines=lines)


@dataclass(frozen=True)
class Step:
    """From `value` on a panel has this colour. It comes from an alert's parameter when `alert` is set."""

    value: float
    colour: str
    alert: str = ""
    parameter: str = ""
    scale: float = 1


def limit(alert: str, parameter: str = "threshold", *, scale: float = 1) -> Step:
    """Return the step at an alert's parameter in its severity's colour; `scale` turns it into the panel's unit."""
    entry = alert_entry(alert)
    if parameter not in entry.parameters:
        raise ValueError(f"{alert}: {parameter!r} is not among its parameters {sorted(entry.parameters)}")
    value = entry.parameters[parameter]
    if isinstance(value, str):
        value = parse_duration(value)
    return Step(value * scale, SEVERITY_COLOURS[entry.severity], alert, parameter, scale)


def step(value: float, colour: str = CRITICAL) -> Step:
    """Return a step that no alert knows, such as the 1 between none and some."""
    return Step(value, colour)


@cache
def _alerts() -> Mapping[str, Alert]:
    return {entry.name: entry for entry in load_catalogue(ROOT / "files" / "alerts")}


def alert_entry(name: str) -> Alert:
    """Return an alert's entry of the catalogue."""
    if name not in _alerts():
        raise ValueError(f"{name}: there is no such alert in files/alerts")
    return _alerts()[name]


def parameter(alert: str, name: str) -> str:
    """Return an alert's parameter for use in an expression, such as the list of ignored file systems."""
    return str(alert_entry(alert).parameters[name])


@dataclass(frozen=True)
class Column:
    """A table's column. `source` is a label, or `Value`, with more than one query `Value #A` and so on.

    A cell takes the colour of its `limits` or its mapping when it is `coloured`, and is a bar up to 100 with `gauge`.
    `link` is a title and an address that a click leads to.
    """

    source: str
    title: str
    unit: str = ""
    decimals: int | None = None
    width: int = 0
    coloured: bool = False
    gauge: bool = False
    mappings: Mapped = field(default_factory=dict)
    link: tuple[str, str] = ("", "")
    limits: Sequence[Step] = ()
    below: bool = False


class _Panel(Protocol):
    """What the builders of all panels have in common."""

    def build(self) -> models.Panel: ...
    def id(self, id_val: int) -> Self: ...
    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def datasource(self, datasource: kinds.DataSourceRef) -> Self: ...
    def grid_pos(self, grid_pos: models.GridPos) -> Self: ...
    def links(self, links: list[Builder[models.DashboardLink]]) -> Self: ...
    def with_target(self, target: Any) -> Self: ...
    def interval(self, interval: str) -> Self: ...
    def unit(self, unit: str) -> Self: ...
    def decimals(self, decimals: float) -> Self: ...
    def min(self, min_val: float) -> Self: ...
    def max(self, max_val: float) -> Self: ...
    def mappings(self, mappings: list[models.ValueMapping]) -> Self: ...
    def thresholds(self, thresholds: Builder[models.ThresholdsConfig]) -> Self: ...
    def color_scheme(self, color: Builder[models.FieldColor]) -> Self: ...
    def no_value(self, no_value: str) -> Self: ...
    def override_by_name(self, name: str, properties: list[models.DynamicConfigValue]) -> Self: ...


class Board:
    """A dashboard in the making. Panels stand where they are put: left to right, then below."""

    def __init__(
        self,
        name: str,
        title: str,
        *,
        description: str,
        tags: Sequence[str] = (),
        needs: Sequence[str] = (),
        refresh: str = "30s",
        since: str = "now-6h",
        logs: bool = False,
    ) -> None:
        """Begin the dashboard `watchkeeper-<name>`; it is deployed where any component of `needs` is, or always.

        With `logs` it asks Loki, too.
        """
        self.name = name
        self._needs = list(needs)
        self._notes: list[dict[str, Any]] = []
        self._shown: dict[str, None] = {}
        self._id = 0
        self._x = self._y = self._height = 0
        self._every_alert = False
        self._board = (
            dashboard.Dashboard(title)
            .uid(f"{TAG}-{name}")
            .description(description)
            .tags([TAG, *tags])
            .timezone("browser")
            .refresh(refresh)
            .time(since, "now")
            .tooltip(models.DashboardCursorSync.CROSSHAIR)
            .link(
                dashboard.DashboardLink("Dashboards")
                .type(models.DashboardLinkType.DASHBOARDS)
                .tags([TAG])
                .as_dropdown(True)
                .keep_time(True)
                .include_vars(False)
            )
            .with_variable(
                dashboard.DatasourceVariable("datasource")
                .label("Prometheus")
                .type("prometheus")
                .current(models.VariableOption(selected=True, text="Prometheus", value="prometheus"))
            )
            .with_variable(dashboard.ConstantVariable("runbooks").label("Address of the runbooks").value(""))
        )
        if logs:
            self._board.with_variable(
                dashboard.DatasourceVariable("loki")
                .label("Loki")
                .type("loki")
                .current(models.VariableOption(selected=True, text="Loki", value="loki"))
            )

    def link(self, title: str, dashboard_name: str) -> None:
        """Add a link to another of our dashboards, for the same time; it goes where that one is not deployed."""
        built = dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK)
        self._board.link(built.url(f"/d/{TAG}-{dashboard_name}").icon("doc").keep_time(True).include_vars(False))

    # Variables

    def variable(
        self, name: str, series: str, *, label: str = "", of: str = "", multi: bool = True, every: bool = True
    ) -> None:
        """Add a choice among the values that the label `of` (or `name`) has in `series`."""
        text = f"label_values({series}, {of or name})"
        asked: dict[str, object] = {"query": text, "refId": f"variable-{name}", "qryType": 1}
        self._choice(name, label, _source(), asked, text, multi=multi, every=EVERY if every else "")

    def log_variable(self, name: str, streams: str = "", *, label: str = "", every: str = EVERY) -> None:
        """Add a choice among the values that a label has in streams of logs. `every` stands for all of them.

        Loki refuses a query in which each part could match streams without the label.
        """
        text = f"label_values({streams + ', ' if streams else ''}{name})"
        asked: dict[str, object] = {"label": name, "refId": f"variable-{name}", "stream": streams, "type": 1}
        self._choice(name, label, _source(loki=True), asked, text, multi=True, every=every)

    def text_variable(self, name: str, label: str, description: str) -> None:
        """Add a field for a text."""
        built = dashboard.TextBoxVariable(name).label(label).description(description).default_value("")
        self._board.with_variable(built.current(models.VariableOption(selected=True, text="", value="")))

    def _choice(
        self,
        name: str,
        label: str,
        source: kinds.DataSourceRef,
        asked: dict[str, object],
        text: str,
        *,
        multi: bool,
        every: str,
    ) -> None:
        built = (
            dashboard.QueryVariable(name)
            .label(label or name.capitalize())
            .datasource(source)
            .query(asked)
            .definition(text)
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
            .multi(multi)
            .include_all(bool(every))
        )
        if every:
            built.all_value(every)
            built.current(
                models.VariableOption(selected=True, text=["All"], value=["$__all"])
                if multi
                else models.VariableOption(selected=True, text="All", value="$__all")
            )
        self._board.with_variable(built)

    # The grid

    def row(self, title: str) -> None:
        """Begin a new row with a heading."""
        self._break()
        self._id += 1
        built = dashboard.Row(title).id(self._id)
        self._board.with_row(built.grid_pos(models.GridPos(h=1, w=COLUMNS, x=0, y=self._y)))
        self._y += 1

    def _break(self) -> None:
        self._x, self._y, self._height = 0, self._y + self._height, 0

    def _place(self, width: int, height: int) -> models.GridPos:
        if not 0 < width <= COLUMNS:
            raise ValueError(f"{self.name}: a panel cannot be {width} of {COLUMNS} columns wide")
        if self._x + width > COLUMNS:
            self._break()
        place = models.GridPos(h=height, w=width, x=self._x, y=self._y)
        self._x += width
        self._height = max(self._height, height)
        return place

    # Panels

    def timeseries(
        self,
        title: str,
        queries: Sequence[Query],
        *,
        unit: str,
        width: int = 12,
        height: int = 8,
        description: str = "",
        minimum: float | None = 0,
        maximum: float | None = None,
        decimals: int | None = None,
        limits: Sequence[Step] = (),
        below: bool = False,
        alerts: Sequence[str] = (),
        stack: bool = False,
        bars: bool = False,
        legend: Literal["list", "table", "hidden"] = "list",
        colours: Mapping[str, str] | None = None,
        interval: str = "",
        link: tuple[str, str] = ("", ""),
    ) -> None:
        """Add curves over time. `colours` gives series (by legend) their colour; limits are dashed lines."""
        built = (
            timeseries.Panel()
            .legend(_legend(legend))
            .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING))
            .line_width(1)
            .fill_opacity(60 if stack or bars else 10)
            .show_points(kinds.VisibilityMode.NEVER)
            .draw_style(kinds.GraphDrawStyle.BARS if bars else kinds.GraphDrawStyle.LINE)
        )
        if stack:
            built.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
        if limits:
            built.thresholds_style(common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED))
        for name, colour in (colours or {}).items():
            built.override_by_name(name, [_fixed(colour)])
        if link[1]:
            built.data_links([dashboard.DashboardLink(link[0]).url(link[1])])
        self._add(
            built,
            title,
            queries,
            unit=unit,
            place=(width, height),
            description=description,
            bounds=(minimum, maximum),
            decimals=decimals,
            limits=limits,
            below=below,
            alerts=alerts,
            interval=interval,
        )

    def stat(
        self,
        title: str,
        queries: Sequence[Query],
        *,
        unit: str,
        width: int = 4,
        height: int = 4,
        description: str = "",
        decimals: int | None = None,
        limits: Sequence[Step] = (),
        below: bool = False,
        alerts: Sequence[str] = (),
        mappings: Mapped | None = None,
        background: bool = True,
        names: bool = False,
        horizontal: bool = False,
        trend: bool = False,
        no_value: str = "",
        link: tuple[str, str] = ("", ""),
    ) -> None:
        """Add one number, or, with `names`, one tile for each series. `trend` draws the curve behind the number.

        Without a trend queries should be instant.
        """
        built = (
            stat.Panel()
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
            .color_mode(
                kinds.BigValueColorMode.BACKGROUND_SOLID
                if background and (limits or mappings)
                else kinds.BigValueColorMode.VALUE
            )
            .graph_mode(kinds.BigValueGraphMode.AREA if trend else kinds.BigValueGraphMode.NONE)
            .text_mode(kinds.BigValueTextMode.VALUE_AND_NAME if names else kinds.BigValueTextMode.VALUE)
            .justify_mode(kinds.BigValueJustifyMode.CENTER)
            .orientation(kinds.VizOrientation.HORIZONTAL if horizontal else kinds.VizOrientation.AUTO)
            .wide_layout(True)
        )
        if link[1]:
            built.data_links([dashboard.DashboardLink(link[0]).url(link[1])])
        self._add(
            built,
            title,
            queries,
            unit=unit,
            place=(width, height),
            description=description,
            decimals=decimals,
            limits=limits,
            below=below,
            alerts=alerts,
            mappings=mappings,
            no_value=no_value,
            base=GOOD if limits else NEUTRAL,
        )

    def bargauge(
        self,
        title: str,
        queries: Sequence[Query],
        *,
        unit: str,
        width: int = 8,
        height: int = 8,
        description: str = "",
        minimum: float | None = 0,
        maximum: float | None = None,
        decimals: int | None = None,
        limits: Sequence[Step] = (),
        below: bool = False,
        alerts: Sequence[str] = (),
        no_value: str = "",
        link: tuple[str, str] = ("", ""),
    ) -> None:
        """Add one bar for each series: what is fullest, slowest, soonest. Queries should be instant topk or bottomk."""
        built = (
            bargauge.Panel()
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
            .display_mode(kinds.BarGaugeDisplayMode.BASIC)
            .orientation(kinds.VizOrientation.HORIZONTAL)
            .value_mode(kinds.BarGaugeValueMode.TEXT)
            .name_placement(kinds.BarGaugeNamePlacement.LEFT)
            .show_unfilled(True)
            .sizing(kinds.BarGaugeSizing.AUTO)
        )
        if link[1]:
            built.data_links([dashboard.DashboardLink(link[0]).url(link[1])])
        self._add(
            built,
            title,
            queries,
            unit=unit,
            place=(width, height),
            description=description,
            bounds=(minimum, maximum),
            decimals=decimals,
            limits=limits,
            below=below,
            alerts=alerts,
            no_value=no_value,
            base=GOOD if limits else NEUTRAL,
        )

    def state_timeline(
        self,
        title: str,
        queries: Sequence[Query],
        *,
        width: int = 12,
        height: int = 8,
        description: str = "",
        mappings: Mapped | None = None,
        limits: Sequence[Step] = (),
        alerts: Sequence[str] = (),
        unit: str = "none",
    ) -> None:
        """Add one band for each series that shows when it was in which state."""
        built = (
            statetimeline.Panel()
            .merge_values(True)
            .show_value(kinds.VisibilityMode.NEVER)
            .align_value(kinds.TimelineValueAlignment.LEFT)
            .row_height(0.8)
            .fill_opacity(80)
            .line_width(0)
            .legend(_legend("hidden"))
        )
        self._add(
            built,
            title,
            queries,
            unit=unit,
            place=(width, height),
            description=description,
            limits=limits,
            alerts=alerts,
            mappings=UP_OR_DOWN if mappings is None and not limits else mappings,
        )

    def table(
        self,
        title: str,
        queries: Sequence[Query],
        columns: Sequence[Column],
        *,
        width: int = 12,
        height: int = 8,
        description: str = "",
        alerts: Sequence[str] = (),
        sort: str = "",
        ascending: bool = False,
        no_value: str = "",
    ) -> None:
        """Add a table of the present. Rows of several queries are merged where their labels agree.

        Only the listed columns are shown, in their order; `sort` is the title of one of them.
        """
        built = (
            table.Panel()
            .show_header(True)
            .cell_height(kinds.TableCellHeight.SM)
            .with_transformation(_transformation("merge"))
            .with_transformation(
                _transformation("filterFieldsByName", include={"names": [column.source for column in columns]})
            )
            .with_transformation(
                _transformation(
                    "organize",
                    excludeByName={},
                    indexByName={column.source: index for index, column in enumerate(columns)},
                    renameByName={column.source: column.title for column in columns},
                )
            )
        )
        if sort:
            built.sort_by([common.TableSortByFieldState().display_name(sort).desc(not ascending)])
        self._add(
            built,
            title,
            [Query(item.expr, item.legend, instant=True) for item in queries],
            unit="short",
            place=(width, height),
            description=description,
            alerts=alerts,
            no_value=no_value,
            columns=columns,
        )

    def logs(
        self, title: str, query: Query, *, height: int = 12, description: str = "", alerts: Sequence[str] = ()
    ) -> None:
        """Add lines of logs, the newest first."""
        built = (
            logs.Panel()
            .show_time(True)
            .wrap_log_message(True)
            .enable_log_details(True)
            .sort_order(kinds.LogsSortOrder.DESCENDING)
            .dedup_strategy(kinds.LogsDedupStrategy.NONE)
        )
        place = (COLUMNS, height)
        self._add(built, title, [query], unit="", place=place, description=description, alerts=alerts)

    def _add(
        self,
        panel: _Panel,
        title: str,
        queries: Sequence[Query],
        *,
        unit: str,
        place: tuple[int, int],
        description: str,
        bounds: tuple[float | None, float | None] = (None, None),
        decimals: int | None = None,
        limits: Sequence[Step] = (),
        below: bool = False,
        alerts: Sequence[str] = (),
        mappings: Mapped | None = None,
        no_value: str = "",
        interval: str = "",
        base: str = GOOD,
        columns: Sequence[Column] = (),
    ) -> None:
        self._id += 1
        [of_loki] = {item.loki for item in queries}
        panel.id(self._id).title(title).datasource(_source(loki=of_loki)).grid_pos(self._place(*place))
        if unit:
            panel.unit(unit)
        if description:
            panel.description(" ".join(description.split()))
        for ref, item in zip("ABCDEFGHIJKL", queries, strict=False):
            panel.with_target(_target(item, ref, tabular=bool(columns)))
        if interval:
            panel.interval(interval)
        if bounds[0] is not None:
            panel.min(bounds[0])
        if bounds[1] is not None:
            panel.max(bounds[1])
        if decimals is not None:
            panel.decimals(decimals)
        if no_value:
            panel.no_value(no_value)
        if called := _mappings(mappings or {}, "" if columns else no_value):
            panel.mappings(called)
        if not isinstance(panel, timeseries.Panel):
            panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        panel.thresholds(self._steps(limits, below, base))
        for index, column in enumerate(columns):
            properties = _column(column)
            if column.limits:
                properties.append(
                    _property("thresholds", self._steps(column.limits, column.below, GOOD, index).build())
                )
            panel.override_by_name(column.title, properties)
        every = [*limits, *(item for column in columns for item in column.limits)]
        linked = dict.fromkeys([*(item.alert for item in every if item.alert), *alerts])
        if linked:
            panel.links([_runbook(name) for name in linked])
            self._shown.update(linked)
        self._board.with_panel(panel)  # type: ignore[arg-type]

    def _steps(
        self, limits: Sequence[Step], below: bool, base: str, override: int | None = None
    ) -> dashboard.ThresholdsConfig:
        """Return the colours from low to high, and note which step belongs to which alert.

        Where low values are bad a step's own colour ends at its value, and the last one begins what is good.
        """
        ordered = sorted(limits, key=lambda item: item.value)
        colours = [item.colour for item in ordered]
        colours = [*colours, base] if below else [base, *colours]
        steps = [models.Threshold(value=None, color=colours[0])]
        for index, (item, colour) in enumerate(zip(ordered, colours[1:], strict=True), start=1):
            steps.append(models.Threshold(value=item.value, color=colour))
            if item.alert:
                where = {"panel": self._id, **({} if override is None else {"override": override})}
                source = {"alert": item.alert, "parameter": item.parameter, "scale": item.scale}
                self._notes.append({**where, "step": index, **source, **({"below": True} if below else {})})
        return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)

    # The whole

    def every_alert(self) -> None:
        """Mark all alerts on the curves, not only those that the panels show."""
        self._every_alert = True

    def data(self) -> dict[str, Any]:
        """Return the dashboard as Grafana's classic JSON, with our notes in the key `watchkeeper`."""
        self._board.annotations([*self._annotations()])
        data: dict[str, Any] = json.loads(json.dumps(self._board.build(), cls=JSONEncoder))
        for variable in data["templating"]["list"]:
            for key in ("auto", "auto_min", "auto_count"):
                del variable[key]
        # The library puts every link into a menu; ours belong where they are seen.
        for owner in (
            data,
            *data["panels"],
            *(panel.get("fieldConfig", {}).get("defaults", {}) for panel in data["panels"]),
        ):
            for link in owner.get("links", ()):
                del link["placement"]
        return {**data, "watchkeeper": {"needs": self._needs, "thresholds": self._notes}}

    def _annotations(self) -> list[dashboard.AnnotationQuery]:
        which = 'alertname!="Watchdog"' if self._every_alert else f'alertname=~"{"|".join(self._shown)}"'
        found = [
            dashboard.AnnotationQuery()
            .name("Annotations & Alerts")
            .datasource(kinds.DataSourceRef(type_val="grafana", uid="-- Grafana --"))
            .enable(True)
            .hide(True)
            .icon_color("rgba(0, 211, 255, 1)")
            .type("dashboard")
            .built_in(1),
            dashboard.AnnotationQuery()
            .name("Deployments")
            .datasource(kinds.DataSourceRef(type_val="grafana", uid="-- Grafana --"))
            .enable(True)
            .hide(False)
            .icon_color("purple")
            .target(_Tagged(["deployment"])),
            _from_prometheus(
                "Application started",
                'process_start_time_seconds{job="backend"} * 1000',
                colour="purple",
                title="{{service}} started on {{host}}",
                text="A deployment or a restart.",
                tags="service,instance",
                at_value=True,
            ),
        ]
        if self._every_alert or self._shown:
            firing = f'ALERTS{{alertstate="firing", {which}}}'
            found.append(
                _from_prometheus(
                    "Alerts",
                    f"max by (alertname, severity, what) ({joined(firing, 'instance', 'service', 'job')})",
                    colour=CRITICAL,
                    title="{{alertname}}",
                    text="{{severity}} {{what}}",
                    tags="severity",
                )
            )
        return found


class _Tagged(Builder[Any]):
    """Grafana's own annotations that carry tags."""

    def __init__(self, tags: Sequence[str]) -> None:
        self._tags = list(tags)

    def build(self) -> Any:
        return {"limit": 100, "matchAny": True, "tags": self._tags, "type": "tags", "refId": "Anno"}


def _from_prometheus(
    name: str, expr: str, *, colour: str, title: str, text: str, tags: str, at_value: bool = False
) -> dashboard.AnnotationQuery:
    """Return marks where a series is 1, or, with `at_value`, at the moment (in milliseconds) that is its value."""
    built = (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(_source())
        .enable(True)
        .hide(False)
        .icon_color(colour)
        .target(prometheus.Dataquery().expr(expr).ref_id("Anno").interval("60s").range())
        .title_format(title)
        .text_format(text)
        .tag_keys(tags)
    )
    return built.use_value_for_time(True) if at_value else built


def _source(*, loki: bool = False) -> kinds.DataSourceRef:
    if loki:
        return kinds.DataSourceRef(type_val="loki", uid="${loki}")
    return kinds.DataSourceRef(type_val="prometheus", uid="${datasource}")


def _log_target(item: Query, ref: str) -> loki.Dataquery:
    built = loki.Dataquery().expr(item.expr).ref_id(ref).datasource(_source(loki=True))
    if item.legend:
        built.legend_format(item.legend)
    if item.lines:
        built.max_lines(item.lines)
    return built.query_type("instant" if item.instant else "range")


def _target(item: Query, ref: str, *, tabular: bool) -> prometheus.Dataquery | loki.Dataquery:
    if item.loki:
        return _log_target(item, ref)
    built = prometheus.Dataquery().expr(item.expr).ref_id(ref).datasource(_source()).legend_format(item.legend)
    if item.interval:
        built.interval(item.interval)
    if item.exemplar:
        built.exemplar(True)
    built.format(PromQueryFormat.TABLE if tabular else PromQueryFormat.TIME_SERIES)
    return built.instant() if item.instant else built.range()


def _runbook(name: str) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(f"Runbook: {alert_entry(name).name}").url(f"{RUNBOOKS}/{name}.md").target_blank(True)


def _legend(kind: str) -> common.VizLegendOptions:
    built = common.VizLegendOptions().show_legend(kind != "hidden").placement(kinds.LegendPlacement.BOTTOM)
    if kind == "table":
        built.display_mode(kinds.LegendDisplayMode.TABLE).calcs(["mean", "max", "lastNotNull"])
        return built.sort_by("Max").sort_desc(True)
    return built.display_mode(kinds.LegendDisplayMode.LIST if kind == "list" else kinds.LegendDisplayMode.HIDDEN)


def joined(alerts: str, *labels: str) -> str:
    """Return alerts with a label `what`: the given labels that they have, a space between."""
    names = ", ".join(f'"{label}"' for label in labels)
    words = " *([^ ]*) *([^ ]*) *([^ ]*) *(.*?) *"
    return f"""label_replace(label_join({alerts}, "what", " ", {names}), "what", "$1 $2 $3 $4", "what", "{words}")"""


def top(count: int, expr: str) -> str:
    """Return the curves that are highest at any moment of the chosen time.

    In a query over time `topk` itself would choose anew at each moment, so that more curves than it names come and go.
    """
    return f"({expr}) and topk({count}, max_over_time(({expr})[$__range:$__interval] @ end()))"


def bottom(count: int, expr: str) -> str:
    """Return the curves that are lowest at any moment of the chosen time."""
    return f"({expr}) and bottomk({count}, min_over_time(({expr})[$__range:$__interval] @ end()))"


def _value_map(mappings: Mapped) -> models.ValueMap:
    results = [
        (value, models.ValueMappingResult(text=text, color=colour, index=index))
        for index, (value, (text, colour)) in enumerate(mappings.items())
    ]
    return models.ValueMap(options=dict(results))


def _mappings(mappings: Mapped, nothing: str) -> list[models.ValueMapping]:
    """Return what values are called, and, unless it is empty, the neutral text that stands where there is none."""
    found: list[models.ValueMapping] = [_value_map(mappings)] if mappings else []
    if nothing:
        result = models.ValueMappingResult(text=nothing, color=NEUTRAL, index=99)
        match = models.SpecialValueMatch.NULL_AND_NAN
        found.append(models.SpecialValueMap(options=models.DashboardSpecialValueMapOptions(match=match, result=result)))
    return found


def _transformation(name: str, **options: Any) -> models.DataTransformerConfig:
    return models.DataTransformerConfig(id_val=name, options=options)


def _property(name: str, value: object) -> models.DynamicConfigValue:
    return models.DynamicConfigValue(id_val=name, value=value)


def _fixed(colour: str) -> models.DynamicConfigValue:
    return _property("color", {"mode": "fixed", "fixedColor": colour})


def _column(column: Column) -> list[models.DynamicConfigValue]:
    # The panel's own text is for a table without rows.
    found = [_property("noValue", NOTHING)]
    if column.unit:
        found.append(_property("unit", column.unit))
    if column.decimals is not None:
        found.append(_property("decimals", column.decimals))
    if column.width:
        found.append(_property("custom.width", column.width))
    if column.gauge:
        found.append(_property("custom.cellOptions", {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}))
        found += [_property("min", 0), _property("max", 100)]
    elif column.coloured:
        found.append(_property("custom.cellOptions", {"type": "color-background", "mode": "basic"}))
    if mappings := _mappings(column.mappings, NOTHING if column.coloured else ""):
        found.append(_property("mappings", mappings))
    if column.link[1]:
        found.append(_property("links", [{"title": column.link[0], "url": column.link[1]}]))
    return found
