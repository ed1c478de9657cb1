"""Releases on the host: fetched once, checked before anything is unpacked, kept side by side."""

from __future__ import annotations

import hashlib
import html
import json
import os
import platform
import re
import shutil
import socket
import stat
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Callable, Protocol

from .declaration import Artefact, Layout, Source

RELEASE_FILE = ".release.json"
# A mirror that sends nothing for so long is given up.
STALL_SECONDS = 30
CHUNK = 1 << 20
# uname -m to the architecture names of Go releases
ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "armv7",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
}


class ReleaseError(Exception):
    """A release that cannot be had; nothing of it is left on the host."""


class Opener(Protocol):
    """Opens a URL for reading; `ansible.module_utils.urls.open_url` is one."""

    def __call__(self, url: str, *, timeout: int) -> IO[bytes]:
        """Return the open answer; raise OSError when there is none."""


def architecture() -> str:
    """Return this host's architecture as release archives name it."""
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


def source_for(artefact: Artefact, name: str) -> Source:
    """Return the archive for this host's architecture or say what is missing."""
    arch = architecture()
    if arch not in artefact.sources:
        known = ", ".join(sorted(artefact.sources)) or "none"
        raise ReleaseError(
            f"{name} {artefact.version} has no checksum for {arch} in the lock file (known: {known}). Pin it with "
            f"'make lock', or name {name} in watchkeeper_allow_unpinned to install it unchecked"
        )
    return artefact.sources[arch]


def installed(artefact: Artefact, name: str, layout: Layout) -> bool:
    """Tell whether the release is on the host, whole and unchanged since it was unpacked."""
    folder = Path(layout.release_dir(name, artefact.version))
    record = _record(folder)
    if record is None:
        return False
    for path, (size, mtime) in record.files.items():
        try:
            status = (folder / path).stat()
        except OSError:
            return False
        if (status.st_size, status.st_mtime_ns) != (size, mtime):
            return False
    if artefact.kind != "python":
        pinned = source_for(artefact, name).sha256
        if pinned and pinned != record.sha256:
            raise ReleaseError(
                f"{folder} was unpacked from an archive with SHA-256 {record.sha256}, the lock file says {pinned}. "
                "One of them is wrong; find out which, remove the folder, and run again"
            )
    return True


@dataclass(frozen=True)
class _Record:
    """What makes a release whole: its archive's checksum, and size and time of its files."""

    sha256: str
    files: dict[str, tuple[int, int]]


def _record(folder: Path) -> _Record | None:
    try:
        raw = json.loads((folder / RELEASE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return _Record(raw["sha256"], {path: (values[0], values[1]) for path, values in raw["files"].items()})


def _seal(folder: Path, sha256: str) -> None:
    """Write down what makes the release whole; a folder without this record does not count."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            files[path.name] = (status.st_size, status.st_mtime_ns)
    (folder / RELEASE_FILE).write_text(json.dumps({"sha256": sha256, "files": files}), encoding="utf-8")


def install(artefact: Artefact, name: str, layout: Layout, opener: Opener, pushed: str = "") -> None:
    """Put the release on the host. `pushed` is a file that the controller has already brought."""
    target = Path(layout.release_dir(name, artefact.version))
    target.parent.mkdir(parents=True, exist_ok=True)
    if artefact.kind == "python":
        _build_python(artefact, target, Path(pushed), opener)
        return
    source = source_for(artefact, name)
    work = Path(tempfile.mkdtemp(prefix=".incoming-", dir=target.parent))
    try:
        archive = work / "archive"
        sha256 = file_digest(Path(pushed)) if pushed else download(source.url, archive, artefact.timeout, opener)
        if source.sha256 and sha256 != source.sha256:
            raise ReleaseError(
                f"{source.url} has SHA-256 {sha256}, but the lock file says {source.sha256}; nothing was unpacked"
            )
        unpacked = work / "release"
        if artefact.kind == "binary":
            unpacked.mkdir(mode=0o755)
            if urllib.parse.urlsplit(source.url).path.endswith(".zip"):
                unpack_program(Path(pushed) if pushed else archive, unpacked / name, without_login(source.url))
            else:
                shutil.copyfile(Path(pushed) if pushed else archive, unpacked / name)
            (unpacked / name).chmod(0o755)
        else:
            unpack(Path(pushed) if pushed else archive, unpacked)
        _seal(unpacked, sha256)
        _replace_folder(unpacked, target, work / "old")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _replace_folder(new: Path, target: Path, aside: Path) -> None:
    if target.exists():
        os.rename(target, aside)
    os.rename(new, target)


def file_digest(path: Path) -> str:
    checksum = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(CHUNK), b""):
            checksum.update(block)
    return checksum.hexdigest()


def without_login(url: str) -> str:
    """Return an address without the user and the password that it may hold."""
    return re.sub(r"//[^/@]*@", "//", url)


def download(url: str, target: Path, timeout: int, opener: Opener, clock: Callable[[], float] = time.monotonic) -> str:
    """Fetch `url` into `target` and return its SHA-256. A stall of 30 s or `timeout` seconds in all is an error."""
    checksum = hashlib.sha256()
    deadline = clock() + timeout
    address, url = url, without_login(url)
    try:
        answer = opener(address, timeout=STALL_SECONDS)
        with answer, target.open("wb") as out:
            expected = getattr(answer, "headers", {}).get("Content-Length")
            received = 0
            while True:
                block = answer.read(CHUNK)
                if not block:
                    break
                if clock() > deadline:
                    raise ReleaseError(f"{url} was not complete after {timeout} s")
                checksum.update(block)
                out.write(block)
                received += len(block)
    except urllib.error.HTTPError as error:
        raise ReleaseError(f"{url} answered {error.code} {error.reason}") from error
    except (socket.timeout, TimeoutError) as error:
        raise ReleaseError(f"{url} did not answer within {STALL_SECONDS} s") from error
    except urllib.error.URLError as error:
        raise ReleaseError(f"{url} cannot be fetched: {error.reason}") from error
    except OSError as error:
        raise ReleaseError(f"{url} cannot be fetched: {error}") from error
    except Exception as error:  # open_url wraps what it meets in exceptions of its own
        if isinstance(error, ReleaseError):
            raise
        raise ReleaseError(f"{url} cannot be fetched: {error}") from error
    if expected is not None and received != int(expected):
        raise ReleaseError(f"{url} is truncated: {received} of {expected} bytes arrived; nothing was unpacked")
    return checksum.hexdigest()


def unpack(archive: Path, target: Path) -> None:
    """Unpack a release archive without its top folder: plain files only, not writable by others."""
    target.mkdir(mode=0o755)
    try:
        with tarfile.open(archive) as tar:
            members = [(Path(member.name.removeprefix("./")), member) for member in tar if member.isfile()]
            # Most upstreams pack one folder; a few pack the files alone.
            wrapped = all(len(path.parts) > 1 for path, _member in members)
            for path, member in members:
                if path.is_absolute() or ".." in path.parts:
                    raise ReleaseError(f"{archive} holds the unsafe path {member.name!r}")
                place = target.joinpath(*path.parts[1 if wrapped else 0 :])
                place.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                if content is None:
                    continue
                with content, place.open("wb") as out:
                    shutil.copyfileobj(content, out)
                place.chmod(0o755 if member.mode & 0o111 else 0o644)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ReleaseError(f"the archive cannot be unpacked: {error}") from error


def unpack_program(archive: Path, target: Path, url: str) -> None:
    """Take the one file that a zip holds, whatever it is called there. `url` names the archive in messages."""
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [member for member in packed.infolist() if not member.is_dir()]
            for member in members:
                path = Path(member.filename)
                if path.is_absolute() or ".." in path.parts:
                    raise ReleaseError(f"{url} holds the unsafe path {member.filename!r}; nothing was unpacked")
                # Upper half of the attributes: the file's mode, where the one who packed it has written it down.
                if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
                    raise ReleaseError(f"{url} holds {member.filename!r}, which is no plain file; nothing was unpacked")
            if len(members) != 1:
                raise ReleaseError(
                    f"{url} holds {len(members)} files, but must hold one, the program; nothing was unpacked"
                )
            with packed.open(members[0]) as content, target.open("wb") as out:
                shutil.copyfileobj(content, out, CHUNK)
    # A method of compression that Python does not know is a NotImplementedError, a password a RuntimeError.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ReleaseError(f"{url} cannot be unpacked: {error}") from error


def _build_python(artefact: Artefact, target: Path, pushed: Path, opener: Opener) -> None:
    """Install locked requirements into a virtual environment and put the application's own package on its path.

    Such an environment cannot be moved, so it is built in its place; without its seal it is not a release yet. Debian's
    Python has no pip and nothing to make one from, so pip comes from the index too, and runs out of its wheel.
    """
    if file_digest(pushed) != artefact.package:
        raise ReleaseError(f"{pushed} is not the package of {artefact.version}; nothing was unpacked")
    if target.exists():
        shutil.rmtree(target)
    try:
        venv = ["python3", "-m", "venv", "--without-pip", str(target)]
        _run(venv, artefact.timeout, "Python and its module venv are needed on the host")
        package = target / "package"
        unpack(pushed, package)
        wheel = _fetch_pip(artefact, (package / "pip.lock").read_text(encoding="utf-8"), package, opener)
        pip = [str(target / "bin" / "python"), f"{wheel}/pip", "install", "--quiet", "--no-input"]
        # What has no wheel would be built with tools that nothing pins.
        pip += ["--disable-pip-version-check", "--only-binary=:all:", "--require-hashes", "--no-deps"]
        pip += ["--requirement", str(package / "requirements.lock")]
        # An index may hold a login, so it does not stand on the command line.
        index = {"PIP_INDEX_URL": artefact.index}
        if artefact.index.startswith("http://"):
            index["PIP_TRUSTED_HOST"] = urllib.parse.urlsplit(artefact.index).hostname or ""
        _run(pip, artefact.timeout, "every requirement needs its version and hashes in the lock file", index)
        wheel.unlink()
        [packages] = target.glob("lib/python*/site-packages")
        (packages / "package.pth").write_text(f"{package}\n", encoding="utf-8")
        _seal(target, artefact.package)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _fetch_pip(artefact: Artefact, lock: str, folder: Path, opener: Opener) -> Path:
    """Fetch the wheel of pip that its lock pins; the page of a project is PEP 503's, which every index serves."""
    pin = re.search(r"^pip==([\w.]+)", lock, re.MULTILINE)
    if pin is None:
        raise ReleaseError("the lock file of pip pins no pip")
    name, address = f"pip-{pin[1]}-py3-none-any.whl", f"{artefact.index.rstrip('/')}/pip/"
    page, wheel = folder / "pip.html", folder / name
    download(address, page, artefact.timeout, opener)
    link = re.search(rf'href="([^"]*{re.escape(name)})["#]', page.read_text(encoding="utf-8"))
    page.unlink()
    if link is None:
        raise ReleaseError(f"the package index has no {name}")
    sha256 = download(urllib.parse.urljoin(address, html.unescape(link[1])), wheel, artefact.timeout, opener)
    if f"--hash=sha256:{sha256}" not in lock:
        raise ReleaseError(f"{name} has SHA-256 {sha256}, which its lock file does not know; nothing was installed")
    return wheel


def _run(command: list[str], timeout: int, hint: str, environment: Mapping[str, str] | None = None) -> None:
    env = {**os.environ, **(environment or {})}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=env)
    except subprocess.TimeoutExpired as error:
        raise ReleaseError(f"{' '.join(command)} took more than {timeout} s") from error
    except OSError as error:
        raise ReleaseError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode:
        raise ReleaseError(f"{' '.join(command)} failed ({hint}): {(done.stderr or done.stdout).strip()[-2000:]}")


def prune(name: str, layout: Layout, keep: set[str], most: int = 3) -> None:
    """Remove old releases: those in `keep` stay, and the newest others up to `most` in all."""
    base = Path(layout.opt, name)
    releases = [path for path in base.iterdir() if path.is_dir() and not path.name.startswith(".")]
    others = sorted((path for path in releases if path.name not in keep), key=lambda path: -path.stat().st_mtime_ns)
    for path in others[max(0, most - len(keep)) :]:
        shutil.rmtree(path, ignore_errors=True)
    for path in base.glob(".incoming-*"):
        shutil.rmtree(path, ignore_errors=True)
