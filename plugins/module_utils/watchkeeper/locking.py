"""The lock file's other side: what upstream publishes beside its archives becomes the pins of a version."""

from __future__ import annotations

import copy
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from .catalogue import ARCHITECTURES, Entry, Project
from .release import Opener, ReleaseError, download

TIMEOUT = 60
_LINE = re.compile(r"(?P<sha256>[0-9a-fA-F]{64}) [ *](?P<file>\S+)")
_ALONE = re.compile(r"\s*(?P<sha256>[0-9a-fA-F]{64})\s*")


class LockError(ValueError):
    """A checksum that upstream does not publish, or one that contradicts the lock file."""


def checksums_urls(entry: Entry, version: str) -> list[str]:
    """Return where upstream publishes the checksums of a release: one file, or one for each architecture."""
    names = dict.fromkeys(entry.checksums.format(version=version, arch=arch) for arch in ARCHITECTURES)
    folder = entry.archive_url(version, ARCHITECTURES[0]).rsplit("/", 1)[0]
    return [f"{folder}/{name}" for name in names]


def parse_checksums(text: str, origin: str) -> dict[str, str]:
    """Return SHA-256 by file name from what `sha256sum` writes; raise LockError for anything else.

    A checksum alone, in a file that ends with `.sha256`, is that of the file whose name stands before it.
    """
    if origin.endswith(".sha256") and (alone := _ALONE.fullmatch(text)):
        return {origin.rsplit("/", 1)[1].removesuffix(".sha256"): alone["sha256"].lower()}
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = _LINE.fullmatch(line)
        if match is None:
            raise LockError(f"{origin} holds the line {line[:80]!r}, which is no checksum; nothing was pinned")
        found[match["file"].removeprefix("./")] = match["sha256"].lower()
    return found


def pins_of(entry: Entry, version: str, checksums: Mapping[str, str], origin: str) -> dict[str, dict[str, str]]:
    """Return the pins of a version by architecture; raise LockError when there is none for any."""
    files = {arch: entry.archive_url(version, arch).rsplit("/", 1)[1] for arch in ARCHITECTURES}
    pins = {arch: {"sha256": checksums[file], "source": origin} for arch, file in files.items() if file in checksums}
    if not pins:
        raise LockError(f"{origin} lists none of {', '.join(files.values())}; nothing was pinned")
    return pins


def merge(lock: Mapping[str, Any], name: str, version: str, pins: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return the lock with these pins. One that is there with another value is a LockError: it is never overwritten."""
    merged: dict[str, Any] = copy.deepcopy(dict(lock))
    versions = merged.setdefault(name, {})
    known = versions.setdefault(version, {})
    for arch, pin in pins.items():
        before = known.get(arch)
        if before and before["sha256"] != pin["sha256"]:
            raise LockError(
                f"{name} {version} for {arch}: {pin['source']} says {pin['sha256']}, the lock file says "
                f"{before['sha256']} ({before['source']}). Nothing was changed: find out which of them is right"
            )
        known[arch] = dict(pin)
    merged[name] = dict(sorted(versions.items(), key=lambda item: _numbers(item[0])))
    return merged


def _numbers(version: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|[^\d.]+", version)]


def render(before: str, lock: Mapping[str, Any]) -> str:
    """Return the text of a lock file below the comments that `before` begins with."""
    lines = before.splitlines(keepends=True)
    header = []
    while lines and (lines[0].startswith(("#", "---")) or not lines[0].strip()):
        header.append(lines.pop(0))
    if any(line.lstrip().startswith("#") for line in lines):
        raise LockError(
            "the lock file has comments below its first lines; a rewrite would lose them, so nothing was changed"
        )
    body = yaml.safe_dump(dict(lock), sort_keys=False, width=120, allow_unicode=True)
    return "".join(header or ["---\n"]) + str(body)


def refresh(
    project: Project, file: Path, wanted: Iterable[tuple[str, str]], opener: Opener
) -> tuple[str, str, list[str]]:
    """Ask upstream for the checksums of these components and versions; an empty version is the catalogue's.

    Returns the lock file's text before and after, and a sentence for each version whose pins are new or have a better
    source. Nothing is written. Raises LockError, ReleaseError (upstream does not answer) and CatalogueError.
    """
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    lock = yaml.safe_load(before) or {}
    told = []
    for name, asked in wanted:
        entry = project.entry(name)
        if not entry.released:
            raise LockError(f"{name} has no release that the lock file could pin")
        version = asked or entry.version
        pins: dict[str, dict[str, str]] = {}
        for origin in checksums_urls(entry, version):
            pins.update(pins_of(entry, version, parse_checksums(_fetch(origin, opener), origin), origin))
        merged = merge(lock, name, version, pins)
        if merged != lock:
            told.append(f"{name} {version} ({', '.join(pins)})")
        lock = merged
    return before, render(before, lock) if told else before, told


def _fetch(url: str, opener: Opener) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "checksums")
        download(url, file, TIMEOUT, opener)
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ReleaseError(f"{url} is not text") from error


def write(file: Path, text: str) -> None:
    """Replace the lock file in one step."""
    part = file.with_name(f".{file.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
