"""Endpoints as they are seen from outside: whether they answer, how fast, and how long their certificates are valid."""

from __future__ import annotations

from files.dashboards.builders.library import CRITICAL, GOOD, Board, Column, bottom, limit, query, step, top

OF = '{job="blackbox", instance=~"$endpoint"}'
HOSTS = '{job="ping", host=~"$host"}'
SUCCESS = f"min by (instance) (probe_success{OF})"
DURATION = f"max by (instance) (avg_over_time(probe_duration_seconds{OF}[5m]))"
DAYS_LEFT = f"(min by (instance) (probe_ssl_earliest_cert_expiry{OF}) - time()) / 86400"
NONE = "No endpoint is probed: name some in watchkeeper_probes"


def build() -> Board:
    """Return the dashboard."""
    board = Board(
        "endpoints",
        "Endpoints",
        description="The addresses in watchkeeper_probes and the hosts, as the monitoring host reaches them.",
        tags=["endpoints", "blackbox"],
        needs=["blackbox_exporter"],
    )
    board.variable("endpoint", 'probe_success{job="blackbox"}', of="instance")
    board.variable("host", 'probe_success{job="ping"}')
    _summary(board)
    _endpoints(board)
    _certificates(board)
    _hosts(board)
    return board


def _summary(board: Board) -> None:
    board.row("Now")
    board.stat(
        "Endpoints failing",
        [query(f"count(probe_success{OF} == 0) or 0 * count(probe_success{OF})", instant=True)],
        unit="none",
        limits=[step(1)],
        alerts=["ProbeFailing"],
        no_value="none probed",
    )
    board.stat(
        "Slowest endpoint",
        [query(f"max({DURATION})", instant=True)],
        unit="s",
        limits=[limit("ProbeSlow", "max_seconds")],
        description="The mean of the last five minutes, with name resolution and TLS.",
        no_value="none probed",
    )
    board.stat(
        "Available",
        [query(f"100 * avg(avg_over_time(probe_success{OF}[$__range]))", instant=True)],
        unit="percent",
        decimals=2,
        description="The share of probes in the chosen range that succeeded.",
        no_value="none probed",
    )
    board.stat(
        "First certificate to expire",
        [query(f"min({DAYS_LEFT})", instant=True)],
        unit="suffix:days",
        decimals=0,
        limits=[limit("CertificateExpiresSoon", "days"), limit("CertificateExpiresCritical", "days")],
        below=True,
        no_value="no TLS",
    )
    board.stat(
        "Hosts that do not answer",
        [query(f"count(probe_success{HOSTS} == 0) or 0 * count(probe_success{HOSTS})", instant=True)],
        unit="none",
        limits=[step(1)],
        alerts=["HostDown"],
        description="To an ICMP echo request.",
    )
    board.stat(
        "Probes that do not run",
        [query('count(up{job=~"blackbox|ping"} == 0) or 0 * count(up{job=~"blackbox|ping"})', instant=True)],
        unit="none",
        limits=[step(1)],
        alerts=["ProbeNotRunning"],
        description="The blackbox exporter does not answer for them, so nobody knows how these endpoints are.",
    )


def _endpoints(board: Board) -> None:
    board.row("Endpoints")
    board.state_timeline(
        "Endpoints that answer",
        [query(bottom(20, SUCCESS), "{{instance}}")],
        mappings={"0": ("fails", CRITICAL), "1": ("answers", GOOD)},
        alerts=["ProbeFailing"],
    )
    board.table(
        "All endpoints",
        [
            query(SUCCESS),
            query(f"100 * min by (instance) (avg_over_time(probe_success{OF}[$__range]))"),
            query(DURATION),
            query(f"max by (instance) (probe_http_status_code{OF})"),
        ],
        [
            Column("instance", "Endpoint"),
            Column("Value #A", "Now", coloured=True, mappings={"0": ("fails", CRITICAL), "1": ("answers", GOOD)}),
            Column("Value #B", "Available", unit="percent", decimals=2),
            Column("Value #C", "Time", unit="s"),
            Column("Value #D", "Status code", unit="none"),
        ],
        sort="Available",
        ascending=True,
        alerts=["ProbeFailing"],
        description="Availability over the chosen range; the time is the mean of five minutes. Only HTTP has a status "
        "code, and 0 means that there was no answer.",
        no_value=NONE,
    )
    board.timeseries(
        "Time to answer",
        [query(top(10, DURATION), "{{instance}}")],
        unit="s",
        limits=[limit("ProbeSlow", "max_seconds")],
    )
    board.timeseries(
        "Where the time goes",
        [query(f"avg by (phase) (probe_http_duration_seconds{OF})", "{{phase}}")],
        unit="s",
        stack=True,
        description="The mean of the chosen HTTP endpoints. Processing is the server's own time.",
    )


def _certificates(board: Board) -> None:
    board.row("Certificates")
    board.bargauge(
        "Days until certificates expire",
        [query(f"bottomk(10, {DAYS_LEFT})", "{{instance}}", instant=True)],
        unit="suffix:days",
        decimals=0,
        width=24,
        height=9,
        limits=[limit("CertificateExpiresSoon", "days"), limit("CertificateExpiresCritical", "days")],
        below=True,
        description="The ten that expire first. In a chain it is the certificate that expires first that counts.",
        no_value="No endpoint is probed over TLS",
    )


def _hosts(board: Board) -> None:
    board.row("Hosts")
    board.state_timeline(
        "Hosts that answer",
        [query(bottom(20, f"min by (host) (probe_success{HOSTS})"), "{{host}}")],
        mappings={"0": ("silent", CRITICAL), "1": ("answers", GOOD)},
        alerts=["HostDown"],
    )
    board.timeseries(
        "Round trip",
        [
            query(
                top(
                    10,
                    f'max by (host) (probe_icmp_duration_seconds{{phase="rtt", {HOSTS[1:-1]}}})'
                    f" or 0 * max by (host) (probe_success{HOSTS})",
                ),
                "{{host}}",
            )
        ],
        unit="s",
        description="The ten slowest hosts; 0 for one that does not answer.",
    )
