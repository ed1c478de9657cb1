"""Writes numbered log lines, and counts them in Loki: what is missing there, and what is there twice.

lines.py write FILE FIRST COUNT RATE        JSON lines with the numbers from FIRST on, RATE each second
lines.py check URL SELECTOR COUNT WAIT      asks Loki until all are there, for WAIT seconds at most; prints JSON.
                                            With a COUNT of 0 all up to the highest number that is there.
"""

from __future__ import annotations

import collections
import json
import re
import sys
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime

PAGE = 5000
NUMBER = re.compile(r"\bline (\d+)\b")


def stamp(nanoseconds: int) -> str:
    """An instant in RFC 3339."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def write(path: str, first: int, count: int, rate: float) -> None:
    """Append the lines; each has an instant of its own."""
    start, last = time.time(), 0
    with open(path, "a", encoding="utf-8", buffering=1) as file:
        for number in range(first, first + count):
            ahead = start + (number - first) / rate - time.time()
            if ahead > 0:
                time.sleep(ahead)
            last = max(last + 1, time.time_ns())
            level = ("info", "warn", "debug", "error")[number % 4]
            entry = {"timestamp": stamp(last), "level": level, "context": "writer", "message": f"line {number}"}
            file.write(json.dumps({**entry, "request_id": f"r{number}"}, separators=(",", ":")) + "\n")


def ask(url: str, selector: str, start: int) -> list[tuple[int, str]]:
    """One page of entries from an instant on."""
    query = {"query": selector, "start": start, "end": time.time_ns() + 10**10, "limit": PAGE, "direction": "forward"}
    with urllib.request.urlopen(f"{url}/loki/api/v1/query_range?{urllib.parse.urlencode(query)}", timeout=60) as answer:
        streams = json.load(answer)["data"]["result"]
    return sorted((int(value[0]), value[1]) for stream in streams for value in stream["values"])


def count(url: str, selector: str) -> collections.Counter[int]:
    """How often each number is there. Entries of one instant are not torn apart by a page's end: each has its own."""
    found: collections.Counter[int] = collections.Counter()
    start = time.time_ns() - 3600 * 10**9
    while True:
        page = ask(url, selector, start)
        found.update(int(match[1]) for _, line in page if (match := NUMBER.search(line)))
        if len(page) < PAGE:
            return found
        start = page[-1][0] + 1


def check(url: str, selector: str, expected: int, wait: float) -> None:
    """Wait for the lines, then look once more for such as come twice."""
    deadline = time.monotonic() + wait
    found = count(url, selector)
    while len(found) < expected and time.monotonic() < deadline:
        time.sleep(2)
        found = count(url, selector)
    time.sleep(5)
    found = count(url, selector)
    numbers = range(expected) if expected else range(min(found), max(found) + 1)
    missing = [number for number in numbers if number not in found]
    doubled = [number for number, times in found.items() if times > 1]
    print(json.dumps({"found": len(found), "missing": missing[:20], "lost": len(missing), "doubled": len(doubled)}))


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
    else:
        check(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
