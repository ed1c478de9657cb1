"""Questions asked of a running program over loopback: is it ready, what do its metrics say, is its port free."""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterable

# What an exporter measures may be far away and slow.
PROOF_SECONDS = 10.0
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
# A proxy in the environment is for the outside world; a probe of this host must not go through it.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def http_get(url: str, timeout: float = 5.0) -> tuple[int, str]:
    """Return status and body of a GET; raise OSError when there is no HTTP answer within `timeout` seconds."""
    try:
        with _OPENER.open(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")
    except http.client.HTTPException as error:
        raise OSError(f"{url} did not answer in HTTP: {error!r}") from error


def metrics(url: str, prefix: str) -> dict[str, float]:
    """Return the values of the label-less metrics under `url` whose names start with `prefix`."""
    status, body = http_get(url)
    if status != 200:
        raise OSError(f"{url} answered {status}")
    found = re.findall(rf"^({re.escape(prefix)}\w*) (\S+)$", body, re.MULTILINE)
    return {name: float(value) for name, value in found}


def failing_samples(url: str, samples: Iterable[str]) -> str:
    """Return what is wrong with samples (`name` or `name{label="value"}`) that must not be zero under `url`.

    Raises OSError when there is no answer.
    """
    status, body = http_get(url, PROOF_SECONDS)
    if status != 200:
        return f"{url} answered {status}: {body.strip()[:300]}"
    series = re.findall(r"^([a-zA-Z_:][\w:]*)(\{.*\})? +(\S+)", body, re.MULTILINE)
    for sample in samples:
        name, _brace, wanted = sample.partition("{")
        labels = _LABEL.findall(wanted)
        values = [value for own, text, value in series if own == name and set(labels) <= set(_LABEL.findall(text))]
        if not values:
            return f"{sample} is not among the metrics of {url}"
        if any(float(value) == 0 for value in values):
            return f"{sample} is 0 at {url}"
    return ""


def port_taken(address: str, port: int) -> str | None:
    """Return who holds the TCP port (as far as it can be told), or None when it is free."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            trial.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return _owner(port) or "another process"
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                return None  # the program's own message is the better one
            raise
    return None


def _owner(port: int) -> str | None:
    """Name the process that listens on `port`, by way of the kernel's socket table."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as rows:
                for row in list(rows)[1:]:
                    cells = row.split()
                    if cells[3] == "0A" and int(cells[1].rsplit(":", 1)[1], 16) == port:
                        inodes.add(f"socket:[{cells[9]}]")
        except OSError:
            continue
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for handle in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{handle}") in inodes:
                    with open(f"/proc/{pid}/comm", encoding="utf-8") as comm:
                        return f"{comm.read().strip()} (process {pid})"
        except OSError:
            continue
    return None
