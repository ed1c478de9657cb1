"""Waits until the sinks have what is expected, and says what is missing.

FOLDER [--wait SECONDS] [--absent] WORD...: each WORD is `sink: words`; a record of that sink must hold all words.
With --absent the words must not be there when the time is over.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path


def lines(folder: Path, sink: str) -> list[str]:
    """Return what a sink accepted, each record as one line."""
    path = folder / f"{sink}.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return [json.dumps(record) for record in records if record["accepted"]]


def missing(folder: Path, wanted: list[str]) -> list[str]:
    """Return the expectations that no record fulfils."""
    found = []
    for want in wanted:
        sink, _colon, words = want.partition(": ")
        if not any(all(word in line for word in words.split(" ")) for line in lines(folder, sink)):
            found.append(want)
    return found


def main() -> None:
    """Wait."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wait", type=float, default=60)
    parser.add_argument("--absent", action="store_true")
    parser.add_argument("words", nargs="+")
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.wait
    while time.monotonic() < deadline:
        left = missing(arguments.folder, arguments.words)
        if not left and not arguments.absent:
            print("all arrived")
            return
        time.sleep(0.5)
    left = missing(arguments.folder, arguments.words)
    if arguments.absent:
        there = [want for want in arguments.words if want not in left]
        sys.exit(f"should not have arrived: {there}" if there else 0)
    if left:
        sys.exit(f"did not arrive within {arguments.wait:.0f} s: {left}")


if __name__ == "__main__":
    main()
