"""Keeps Loki's schema periods append-only: refuses what would make logs unreadable that are already there.

    schema_guard.py check WANTED RECORD    judge a configuration and change nothing
    schema_guard.py start WANTED RECORD    the same, and then write down what Loki starts with

WANTED is the schema of a configuration. RECORD is the one with which Loki started last; it lies beside the logs and
moves with them. Without a record there is nothing to lose. Loki finds a log by the period of its day, so a period that
has begun stays as it is, and a new one begins tomorrow at the earliest: today's logs are already in another form.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

WHERE = "set it in the inventory's group_vars or host_vars"


def flat(period: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of a period by their paths, without the name of the variable that it comes from."""
    for key, value in period.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}.")
        elif key != "variable":
            yield path + key, value


def altered(old: dict[str, Any], new: dict[str, Any], tomorrow: str) -> Iterator[str]:
    """Yield what is wrong with the new form of a period that has begun."""
    before, after = dict(flat(old)), dict(flat(new))
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            hint = ""
            if key == "object_store":
                hint = (
                    f" (to store new logs elsewhere, leave this period and add one to loki_schema_periods: "
                    f"{{from: '{tomorrow}', object_store: {after.get(key)}}})"
                )
            yield (
                f"{new['variable']}.{key} is {after.get(key)!r}, but must be {before.get(key)!r}, as it has been since "
                f"{old['from']}: the logs that are there could not be read any more{hint}; {WHERE}"
            )


def problems(wanted: dict[str, Any], record: dict[str, Any], today: date) -> list[str]:
    """Return one sentence for everything that would make logs unreadable."""
    now, tomorrow = today.isoformat(), (today + timedelta(days=1)).isoformat()
    new = {period["from"]: period for period in wanted["periods"]}
    known = {period["from"] for period in record["periods"]}
    begun = [period for period in record["periods"] if period["from"] <= now]
    found: list[str] = []
    for old in begun:
        if old["from"] in new:
            found += altered(old, new[old["from"]], tomorrow)
        else:
            form = ", ".join(f"{key}: {value}" for key, value in flat(old))
            found.append(
                f"{old['variable']} no longer has the period of {old['from']}, but must keep it ({form}): the logs "
                f"that are there could not be read any more; {WHERE}"
            )
    found += [
        f"{period['variable']}.from is {day!r}, but must be {tomorrow!r} (tomorrow, UTC) or later and not in the "
        f"past, because the logs up to today are already stored in another form; {WHERE}"
        for day, period in new.items()
        if day not in known and day < tomorrow
    ]
    for store, bucket in record["buckets"].items():
        used = any(period["object_store"] == store for period in begun)
        if used and wanted["buckets"].get(store) != bucket:
            found.append(
                f"loki_{store}.bucket is {wanted['buckets'].get(store)!r}, but must be {bucket!r}, where logs are that "
                f"could not be read any more; {WHERE}"
            )
    return found


def read(path: str) -> dict[str, Any]:
    """Read a schema."""
    with open(path, encoding="utf-8") as handle:
        found: dict[str, Any] = json.load(handle)
    return found


def write(path: str, schema: dict[str, Any]) -> None:
    """Replace the record in one rename, on disk before the name changes."""
    handle, temporary = tempfile.mkstemp(prefix=".schema-", dir=os.path.dirname(path))
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        json.dump(schema, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    os.chmod(temporary, 0o640)
    os.rename(temporary, path)


def main(job: str, wanted_path: str, record_path: str) -> int:
    """Return the exit status: 0 when nothing is lost."""
    wanted = read(wanted_path)
    record: dict[str, Any] | None = None
    try:
        record = read(record_path)
        found = problems(wanted, record, date(*time.gmtime()[:3]))
    except FileNotFoundError:
        found = []
    except (ValueError, LookupError, TypeError) as error:
        found = [f"{record_path} cannot be understood ({error}); put it back from a backup"]
    if found:
        print("\n".join(found), file=sys.stderr)
        print(f"Who has no logs to lose here removes {record_path}.", file=sys.stderr)
        return 1
    if job == "start" and record != wanted:
        write(record_path, wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
