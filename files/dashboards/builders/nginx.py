"""nginx: requests and connections, and whether any was dropped."""

from __future__ import annotations

from files.dashboards.builders.library import Board, bottom, limit, query, step, top

OF = '{instance=~"$instance"}'
DROPPED = f"""
    clamp_min(
      sum by (instance) (increase(nginx_connections_accepted{OF}[5m]))
      - sum by (instance) (increase(nginx_connections_handled{OF}[5m])), 0
    )
"""
REQUESTS = f"sum by (instance) (rate(nginx_http_requests_total{OF}[$__rate_interval]))"
ACCEPTED = f"sum by (instance) (rate(nginx_connections_accepted{OF}[$__rate_interval]))"
RESTARTS = f"max by (instance) (resets(nginx_connections_accepted{OF}[30m]))"


def build() -> Board:
    """Return the dashboard."""
    board = Board(
        "nginx",
        "nginx",
        description="Requests, connections and what was dropped. Times and errors are on the dashboard Application.",
        tags=["web", "nginx"],
        needs=["nginx_exporter"],
    )
    board.variable("instance", "nginx_up", label="Server")
    board.row("Servers")
    board.stat(
        "Servers down",
        [query(f"sum(1 - nginx_up{OF})", instant=True)],
        unit="none",
        limits=[step(1)],
        alerts=["NginxDown"],
    )
    board.stat(
        "Requests per second",
        [query(f"sum(rate(nginx_http_requests_total{OF}[$__rate_interval])) or vector(0)")],
        unit="reqps",
        trend=True,
        width=5,
    )
    board.stat("Open connections", [query(f"sum(nginx_connections_active{OF})")], unit="short", trend=True, width=5)
    board.stat(
        "Dropped connections",
        [query(f"sum({DROPPED})", instant=True)],
        unit="short",
        decimals=0,
        width=5,
        limits=[limit("NginxDroppedConnections", "connections")],
        description="In the last five minutes. nginx had no worker connection or no file descriptor left for them.",
    )
    board.stat(
        "Restarts",
        [query(f"max({RESTARTS})", instant=True)],
        unit="none",
        width=5,
        limits=[limit("NginxRestarting", "restarts")],
        description="In the last half hour, of the server that restarted most.",
    )
    board.state_timeline(
        "Servers that answer",
        [query(bottom(10, f"min by (instance) (nginx_up{OF})"), "{{instance}}")],
        width=24,
        height=5,
        alerts=["NginxDown"],
    )
    board.row("Requests and connections")
    board.timeseries("Requests", [query(top(10, REQUESTS), "{{instance}}")], unit="reqps", stack=True)
    board.timeseries(
        "Connections by state",
        [
            query(f"sum(nginx_connections_{state}{OF})", legend)
            for state, legend in (
                ("reading", "reading a request"),
                ("writing", "answering"),
                ("waiting", "kept alive, idle"),
            )
        ],
        unit="short",
        stack=True,
        description="Many that are read for long: slow clients. Many that are answered: a slow application behind.",
    )
    board.timeseries(
        "Open connections of each server",
        [query(top(10, f"sum by (instance) (nginx_connections_active{OF})"), "{{instance}}")],
        unit="short",
    )
    board.timeseries(
        "New connections",
        [query(top(10, ACCEPTED), "{{instance}}")],
        unit="cps",
    )
    board.timeseries(
        "Requests for each connection",
        [query(top(10, f"{REQUESTS} / ({ACCEPTED} > 0) or 0 * {REQUESTS}"), "{{instance}}")],
        unit="short",
        description="Where clients keep their connections this is well above 1.",
    )
    board.timeseries(
        "Connections dropped in 5 minutes",
        [query(top(10, DROPPED), "{{instance}}")],
        unit="short",
        limits=[limit("NginxDroppedConnections", "connections")],
    )
    return board
