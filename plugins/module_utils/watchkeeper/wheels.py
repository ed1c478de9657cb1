"""The Python part of a mirror: the wheels that locked requirements name, and a static index of them (PEP 503)."""

from __future__ import annotations

import html
import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from .catalogue import ARCHITECTURES, CatalogueError, Project
from .declaration import digest
from .mirroring import Archive
from .release import Opener, download, without_login

# Below the mirror's folder.
PACKAGES = "python/packages"
INDEX = "python/simple"
RECORD = "python/wheels.json"
# What wheels call the architectures.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Wheel:
    """One wheel: its project, the link to it on the project's page of the index, and what it must be."""

    project: str
    link: str
    sha256: str

    @property
    def file(self) -> str:
        """Its file name."""
        return unquote(urlsplit(self.link).path).rpartition("/")[2]


@dataclass(frozen=True)
class Wheels:
    """The wheels of a mirror and a sentence for each that it cannot have; `key` stands for what they were chosen by."""

    key: str
    wheels: tuple[Wheel, ...]
    notes: tuple[str, ...]

    def archives(self, index: str) -> list[Archive]:
        """Return the wheels as files of the mirror, to be fetched by way of the index that offered them."""
        return [
            Archive(urljoin(_address(index, item.project), item.link), item.sha256, f"{PACKAGES}/{item.file}")
            for item in self.wheels
        ]


def locks_of(project: Project) -> list[str]:
    """Return the locks of all Python applications of the catalogue, and of what installs them."""
    paths = {project.root / entry.requirements for entry in project.components.values() if entry.kind == "python"}
    return [path.read_text(encoding="utf-8") for path in sorted(paths | {path.with_name("pip.lock") for path in paths})]


def choose(
    folder: Path,
    locks: Sequence[str],
    index: str,
    versions: Sequence[str],
    timeout: int,
    opener: Opener,
    architectures: Sequence[str] = ARCHITECTURES,
) -> Wheels:
    """Return the wheels that hosts with these Python versions may take when they install these locked requirements.

    A lock has hashes and no file names, so the index is asked, unless the mirror's folder has its answer from before.
    What the index offers and the lock does not know is not taken. Markers are not looked at: a wheel too many does no
    harm. `timeout` is in seconds and for one page.
    """
    key = digest([locks, without_login(index), versions, architectures])
    recorded = _recorded(folder / RECORD)
    if recorded and recorded.key == key:
        return recorded
    wanted = [(version, _tags(version), arch) for version in versions for arch in architectures]
    chosen: dict[str, Wheel] = {}
    notes = []
    for requirement, hashes in _pins(locks):
        project = requirement.partition("==")[0]
        offered = [
            Wheel(project, *link) for link in _links(_address(index, project), timeout, opener) if link[1] in hashes
        ]
        for version, tags, arch in wanted:
            fitting = [item for item in offered if _fits(item.file, tags, MACHINES[arch])]
            chosen.update((item.file, item) for item in fitting)
            if not fitting:
                notes.append(f"{requirement} has no wheel for Python {version} on {arch}, and none is mirrored")
    return Wheels(key, tuple(chosen[file] for file in sorted(chosen)), tuple(notes))


def publish(wheels: Wheels, folder: Path, check_only: bool = False) -> list[str]:
    """Write the index of wheels that are in the mirror's folder, and return the paths of the pages that changed."""
    projects: dict[str, list[tuple[str, str]]] = {}
    for item in wheels.wheels:
        link = (f"../../packages/{item.file}#sha256={item.sha256}", item.file)
        projects.setdefault(item.project, []).append(link)
    pages = {f"{INDEX}/{project}/index.html": _render(links) for project, links in projects.items()}
    pages[f"{INDEX}/index.html"] = _render((f"{project}/", project) for project in sorted(projects))
    # Last, because with it the next run asks nobody.
    pages[RECORD] = json.dumps(asdict(wheels), indent=1) + "\n"
    changed = []
    for path, content in pages.items():
        file = folder / path
        if file.is_file() and file.read_text(encoding="utf-8") == content:
            continue
        changed.append(path)
        if not check_only:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
    return changed


def _recorded(record: Path) -> Wheels | None:
    try:
        raw = json.loads(record.read_text(encoding="utf-8"))
        return Wheels(raw["key"], tuple(Wheel(**item) for item in raw["wheels"]), tuple(raw["notes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _address(index: str, project: str) -> str:
    return f"{index.rstrip('/')}/{project}/"


def _pins(locks: Iterable[str]) -> list[tuple[str, set[str]]]:
    """Return the requirements of locks as `name==version`, each with its hashes."""
    pins: dict[str, set[str]] = {}
    for lock in locks:
        for line in lock.replace("\\\n", " ").splitlines():
            name, found, rest = line.partition("==")
            if found and not line.lstrip().startswith("#"):
                version = re.split("[ ;]", rest)[0]
                project = canonicalize_name(name.partition("[")[0].strip())
                pins.setdefault(f"{project}=={version}", set()).update(_HASH.findall(rest))
    return sorted(pins.items())


class _Page(HTMLParser):
    """The addresses that a page links to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the address of a link."""
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]


def _links(address: str, timeout: int, opener: Opener) -> list[tuple[str, str]]:
    """Return what a page of an index links to, each with the SHA-256 that the page tells."""
    page = _Page()
    with tempfile.TemporaryDirectory() as work:
        download(address, Path(work, "page"), timeout, opener)
        page.feed(Path(work, "page").read_text(encoding="utf-8"))
    parts = [urldefrag(link) for link in page.links]
    return [(url, fragment.removeprefix("sha256=")) for url, fragment in parts]


def _tags(version: str) -> set[tuple[str, str]]:
    """Return interpreter and ABI of all wheels that this version of CPython takes."""
    if not re.fullmatch(r"3\.\d+", version):
        raise CatalogueError(
            f"watchkeeper_mirror_python_versions: {version!r} is no version such as '3.11' (in quotation marks)"
        )
    numbers, abi = (3, int(version[2:])), f"cp3{version[2:]}"
    tags = [*cpython_tags(numbers, [abi], ["any"]), *compatible_tags(numbers, abi, ["any"])]
    return {(tag.interpreter, tag.abi) for tag in tags}


def _fits(file: str, tags: set[tuple[str, str]], machine: str) -> bool:
    """Tell whether a file is a wheel for these interpreters on Linux with the GNU C library (PEP 600)."""
    try:
        found = parse_wheel_filename(file)[3]
    except InvalidWheelFilename:
        return False
    return any(
        (tag.interpreter, tag.abi) in tags
        and (tag.platform == "any" or (tag.platform.startswith("manylinux") and tag.platform.endswith(f"_{machine}")))
        for tag in found
    )


def _render(links: Iterable[tuple[str, str]]) -> str:
    lines = [f'<a href="{html.escape(address)}">{html.escape(text)}</a><br>' for address, text in links]
    head = ["<!DOCTYPE html>", '<html><head><meta charset="utf-8"><title>Links</title></head><body>']
    return "\n".join([*head, *lines, "</body></html>\n"])
