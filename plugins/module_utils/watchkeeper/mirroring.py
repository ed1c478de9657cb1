"""A mirror of release files: which ones an inventory needs, and a folder that holds exactly these, each checked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .catalogue import CatalogueError, Project
from .release import Opener, ReleaseError, download, file_digest

CHECKSUMS = "sha256sums.txt"


@dataclass(frozen=True)
class Archive:
    """One file of a release: where it comes from, what it must be, and its place below the mirror's folder."""

    url: str
    sha256: str
    path: str


def versions_in_use(
    project: Project,
    hosts: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Iterable[str]],
    mapping: Mapping[str, str],
) -> dict[str, list[str]]:
    """Return the versions of each component that the hosts run; the catalogue's of a component that none of them runs.

    `hosts` holds each host's variables, `groups` the inventory's groups, `mapping` is `watchkeeper_groups`.
    """
    member: dict[str, list[str]] = {}
    for group, names in groups.items():
        for name in names:
            member.setdefault(name, []).append(group)
    used: dict[str, dict[str, None]] = {name: {} for name in project.components}
    for host, variables in hosts.items():
        for name in project.components_of(member.get(host, []), mapping):
            if project.components[name].wanted(variables):
                used[name][str(variables.get(f"{name}_version") or project.components[name].version)] = None
    return {name: list(versions) or [project.components[name].version] for name, versions in used.items()}


def plan(
    project: Project, versions: Mapping[str, Iterable[str]], settings: Mapping[str, Any]
) -> tuple[list[Archive], list[str]]:
    """Return the archives of these versions, and a sentence for each that a mirror cannot have.

    Raises CatalogueError for unknown components and for versions that the lock file does not pin.
    """
    archives, notes, problems = [], [], []
    for name, wanted in versions.items():
        if not project.entry(name).released:
            continue
        for version in wanted:
            try:
                sources = project.artefact(name, version, settings).sources
            except CatalogueError as error:
                problems.append(str(error))
                continue
            for arch, source in sources.items():
                if not source.sha256:
                    notes.append(f"{name} {version} for {arch} has no checksum in the lock file and is not mirrored")
                    continue
                file = source.url.rsplit("/", 1)[1]
                archives.append(Archive(source.url, source.sha256, f"{name}/{version}/{file}"))
    if problems:
        raise CatalogueError("\n".join(problems))
    return archives, notes


def fill(
    archives: Iterable[Archive], folder: Path, timeout: int, opener: Opener, check_only: bool = False
) -> list[str]:
    """Bring every archive into the folder and return the paths of the files that changed.

    An archive that is there and right is not asked for again. What arrives is checked before it gets its name: after a
    ReleaseError nothing of the archive in question is left. `timeout` is in seconds and for one archive.
    """
    changed = []
    sums: dict[str, list[str]] = {}
    for archive in archives:
        target = folder / archive.path
        sums.setdefault(str(Path(archive.path).parent), []).append(f"{archive.sha256}  {target.name}\n")
        if target.is_file() and file_digest(target) == archive.sha256:
            continue
        changed.append(archive.path)
        if not check_only:
            _fetch(archive, target, timeout, opener)
    for place, lines in sums.items():
        file, content = folder / place / CHECKSUMS, "".join(sorted(lines))
        if file.is_file() and file.read_text(encoding="utf-8") == content:
            continue
        changed.append(f"{place}/{CHECKSUMS}")
        if not check_only:
            file.write_text(content, encoding="utf-8")
    return changed


def _fetch(archive: Archive, target: Path, timeout: int, opener: Opener) -> None:
    made = []
    for place in (target.parent, *target.parent.parents):
        if place.exists():
            break
        made.append(place)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        sha256 = download(archive.url, part, timeout, opener)
        if sha256 != archive.sha256:
            raise ReleaseError(
                f"{archive.url} has SHA-256 {sha256}, but the lock file says {archive.sha256}; it was not kept"
            )
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        for place in made:
            place.rmdir()
        raise
