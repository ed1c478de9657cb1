"""Files outside any component that a role owns on a host: written whole, and gone once they are no longer declared.

A record on the host lists what was written. It is brought up to date before the first file and again after the last
one, so that a run that was killed leaves nothing behind that the next one does not know.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

HIDDEN = "(secret)\n"


class OwnedFilesError(Exception):
    """Files that cannot be brought to what is declared; the message is for the person who reads the run."""


@dataclass(frozen=True)
class HostPath:
    """A path and whom it is to belong to. By itself it is a directory; what is in that belongs to somebody else."""

    path: str
    owner: str
    group: str
    mode: int


@dataclass(frozen=True)
class HostFile(HostPath):
    """One file as it is to be."""

    content: str = ""
    secret: bool = False


@dataclass(frozen=True)
class Record:
    """What was written: the files, each with whether it is secret, and the directories made for them."""

    files: dict[str, bool] = field(default_factory=dict)
    folders: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What happened, or would in check mode."""

    actions: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)

    def note(self, action: str, path: str, before: str, after: str) -> None:
        """Add one change; `before` and `after` are for the diff."""
        self.actions.append(f"{action} {path}")
        if before != after:
            self.diff.append({"before_header": path, "after_header": path, "before": before, "after": after})


@dataclass(frozen=True)
class _Found:
    content: str
    owner: int
    group: int
    mode: int


def converge(place: str, paths: Sequence[HostPath], check_mode: bool = False) -> Outcome:
    """Write what is declared and remove what is in the record at `place` and no longer declared."""
    try:
        return _converge(Path(place), paths, check_mode)
    except OSError as error:
        raise OwnedFilesError(f"{error.filename or place}: {error.strerror or error}") from error


def _converge(place: Path, paths: Sequence[HostPath], check_mode: bool) -> Outcome:
    outcome = Outcome()
    known = _read_record(place)
    files = [item for item in paths if isinstance(item, HostFile)]
    wanted = {item.path: item.secret for item in files}
    accounts = {item.path: _accounts(item) for item in paths}
    missing = [item for item in paths if not isinstance(item, HostFile) and not os.path.isdir(item.path)]
    for folder in missing:
        outcome.note("created", folder.path, "", f"{folder.owner}:{folder.group} {folder.mode:04o}\n")
    stale = [item for item in files if _compare(item, accounts[item.path], item.path in known.files, outcome)]
    leftovers = [path for path in known.files if path not in wanted]
    for path in leftovers:
        found = _look(path)
        outcome.note("removed", path, HIDDEN if known.files[path] else found.content if found else "", "")
    if check_mode or not outcome.actions:
        return outcome

    os.makedirs(place.parent, exist_ok=True)
    parents = sorted({str(parent) for item in files for parent in Path(item.path).parents})
    lacking = [path for path in parents if not os.path.isdir(path)]
    made = (*known.folders, *(path for path in lacking if path not in known.folders))
    _write_record(place, Record({**known.files, **wanted}, made))
    for path in lacking:
        os.mkdir(path)
    for folder in missing:
        os.makedirs(folder.path)
        os.chmod(folder.path, folder.mode)
        os.chown(folder.path, *accounts[folder.path])
    for item in stale:
        _write(Path(item.path), item.content, item.mode, accounts[item.path])
    for path in leftovers:
        _remove(_candidate(Path(path)))
        _remove(Path(path))
    for path in reversed(made):
        if path not in parents:
            with contextlib.suppress(OSError):  # somebody keeps files of his own there
                os.rmdir(path)
    if wanted:
        _write_record(place, Record(wanted, tuple(path for path in made if path in parents)))
    else:
        os.unlink(place)
        with contextlib.suppress(OSError):
            os.rmdir(place.parent)
    return outcome


def _accounts(item: HostPath) -> tuple[int, int]:
    """Return the numbers of owner and group; those of this process where they are left open."""
    owner, group = os.geteuid(), os.getegid()
    try:
        if item.owner:
            owner = int(item.owner) if item.owner.isdigit() else pwd.getpwnam(item.owner).pw_uid
    except KeyError:
        raise OwnedFilesError(f"{item.path}: this host has no account {item.owner!r}") from None
    try:
        if item.group:
            group = int(item.group) if item.group.isdigit() else grp.getgrnam(item.group).gr_gid
    except KeyError:
        raise OwnedFilesError(f"{item.path}: this host has no group {item.group!r}") from None
    return owner, group


def _look(path: str) -> _Found | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise OwnedFilesError(f"{path} is there already and is no file; move it away, or name another directory")
    content = Path(path).read_bytes().decode("utf-8", "replace")
    return _Found(content, status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


def _compare(item: HostFile, accounts: tuple[int, int], ours: bool, outcome: Outcome) -> bool:
    """Note what a file needs, and tell whether it needs anything. A stranger's file is not overwritten."""
    found = _look(item.path)
    before, after = found.content if found else "", item.content
    if found and not ours and before != after:
        raise OwnedFilesError(
            f"{item.path} is there already and was not written by this role; move it away, or name another directory"
        )
    if item.secret:
        before, after = HIDDEN if found else "", HIDDEN if not found else "(secret, changed)\n"
    if found is None:
        outcome.note("created", item.path, "", after)
    elif found.content != item.content:
        outcome.note("changed", item.path, before, after)
    elif (found.owner, found.group, found.mode) != (*accounts, item.mode):
        was = f"{found.owner}:{found.group} {found.mode:04o}\n"
        outcome.note("permissions restored of", item.path, was, f"{accounts[0]}:{accounts[1]} {item.mode:04o}\n")
    elif not ours:
        outcome.note("taken over", item.path, "", "")
    else:
        return False
    return True


def _read_record(place: Path) -> Record:
    try:
        raw = json.loads(place.read_text(encoding="utf-8"))
        return Record(dict(raw["files"]), tuple(raw["folders"]))
    except FileNotFoundError:
        return Record()
    except (ValueError, KeyError, TypeError) as error:
        raise OwnedFilesError(f"{place} is damaged; remove it, and the next run writes it anew ({error})") from error


def _write_record(place: Path, record: Record) -> None:
    _write(place, json.dumps(asdict(record), indent=1) + "\n", 0o644)


def _candidate(path: Path) -> Path:
    """Return where a file is written first; by its fixed name the next run finds what a killed one has left."""
    return path.with_name(f".{path.name}.new")


def _write(path: Path, content: str, mode: int, accounts: tuple[int, int] = (-1, -1)) -> None:
    """Replace a file in one rename, on disk before the name changes; nobody else reads it before it is right."""
    candidate = _candidate(path)
    _remove(candidate)
    handle = os.open(candidate, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
        out.write(content)
        out.flush()
        os.fchown(out.fileno(), *accounts)
        os.fchmod(out.fileno(), mode)
        os.fsync(out.fileno())
    os.rename(candidate, path)


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
