"""The catalogue and the lock file on the controller: what exists, who runs it, and where its release comes from."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from .declaration import Artefact, Source
from .instances import Instances
from .packing import Package, pack
from .settings import read_setting

ARCHITECTURES = ("amd64", "arm64")
PYPI = "https://pypi.org/simple/"
# The group every host is in, unless the inventory narrows it.
DEFAULT_GROUPS = {"nodes": "all"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


class CatalogueError(ValueError):
    """Something that the catalogue, the lock file or the inventory does not provide."""


@dataclass(frozen=True)
class Entry:
    """One component of the catalogue; `files/components.yml` explains the fields.

    `chosen` is what the setting `chosen_by` says where the inventory is silent.
    """

    name: str
    title: str
    kind: str
    group: str
    version: str = ""
    port: int = 0
    state: str = "present"
    chosen_by: str = ""
    chosen: str = ""
    early: bool = False
    documentation: str = ""
    url: str = ""
    checksums: str = "sha256sums.txt"
    requirements: str = ""
    source: str = ""
    job: str = ""
    metrics_path: str = "/metrics"
    labels: Mapping[str, str] = field(default_factory=dict)
    samples: tuple[str, ...] = ()
    instances: Instances | None = None
    ready: str = ""
    ui: str = ""

    @classmethod
    def from_dict(cls, name: str, fields: Mapping[str, Any]) -> Entry:
        """Build an entry from its fields in the catalogue."""
        nested: dict[str, Any] = {}
        if "samples" in fields:
            nested["samples"] = tuple(fields["samples"])
        if "instances" in fields:
            nested["instances"] = Instances.from_dict(name, fields["instances"])
        return cls(name=name, **{**fields, **nested})

    @property
    def released(self) -> bool:
        """Whether upstream publishes a file of it, which the lock file pins and a mirror holds."""
        return self.kind in ("archive", "binary")

    @property
    def jobs(self) -> tuple[str, ...]:
        """Names of its scrape jobs."""
        own = (self.job,) if self.job else ()
        return (*own, self.instances.detail.job) if self.instances and self.instances.detail else own

    def wanted(self, variables: Mapping[str, Any]) -> bool:
        """Tell by a host's variables whether the host, being in the group, is to have it."""
        state = variables.get(f"{self.name}_state")
        if state is None and self.chosen_by:
            return bool(variables.get(self.chosen_by, self.chosen) == self.name)
        return (self.state if state is None else state) != "absent"

    def archive_url(self, version: str, arch: str, mirror: str = "") -> str:
        """Return the address of the release archive, upstream or below `mirror`."""
        url = self.url.format(version=version, arch=arch)
        if mirror:
            return f"{mirror.rstrip('/')}/{self.name}/{version}/{url.rsplit('/', 1)[1]}"
        return url


@dataclass(frozen=True)
class Project:
    """The checkout: its catalogue and where its files are."""

    root: Path
    components: Mapping[str, Entry]

    @classmethod
    def load(cls, root: Path) -> Project:
        """Read the catalogue below `root`."""
        raw = yaml.safe_load((root / "files" / "components.yml").read_text(encoding="utf-8"))
        entries = {name: Entry.from_dict(name, fields) for name, fields in raw.items()}
        for name, entry in entries.items():
            if entry.chosen_by:
                entries[name] = replace(entry, chosen=read_setting(root, {}, entry.chosen_by))
        return cls(root, entries)

    def entry(self, name: str) -> Entry:
        """Return a component or say which ones there are."""
        if name not in self.components:
            raise CatalogueError(f"there is no component {name!r}{suggestion(name, self.components)}")
        return self.components[name]

    def package(self, entry: Entry) -> Package:
        """Return a Python application's requirements and code, packed."""
        return pack(self.root / entry.requirements, self.root / entry.source if entry.source else None)

    def artefact(self, name: str, version: str, settings: Mapping[str, Any]) -> Artefact:
        """Return a component's release as the settings (`watchkeeper_*`) want it; refuse one without a checksum."""
        entry = self.entry(name)
        version = version or entry.version
        timeout = int(settings["watchkeeper_download_timeout"])
        if entry.kind == "python":
            package = self.package(entry)
            return Artefact(
                kind="python",
                # Another set of requirements, or another state of our own code, is another release.
                version=f"{version}-{package.sha256[:8]}",
                package=package.sha256,
                index=python_index(settings),
                timeout=timeout,
            )
        mirror = settings["watchkeeper_mirror_url"]
        pins = load_lock(self.root, settings["watchkeeper_lock_file"]).get(name, {}).get(version, {})
        unpinned = name in settings["watchkeeper_allow_unpinned"]
        if not pins and not unpinned:
            raise CatalogueError(
                f"{name} {version} has no checksum in the lock file and is refused. Set {name}_version to a pinned "
                f"version, pin it with 'make lock COMPONENT={name} VERSION={version}', or add {name} to "
                "watchkeeper_allow_unpinned"
            )
        sources = {
            arch: Source(entry.archive_url(version, arch, mirror), _pinned(f"{name} {version} {arch}", pin))
            for arch, pin in pins.items()
        }
        if unpinned:
            for arch in ARCHITECTURES:
                sources.setdefault(arch, Source(entry.archive_url(version, arch, mirror)))
        return Artefact(kind=entry.kind, version=version, sources=sources, timeout=timeout)

    def components_of(self, host_groups: Iterable[str], mapping: Mapping[str, str]) -> list[str]:
        """Return the components that a host in `host_groups` runs, in the order of a rollout."""
        member = {*host_groups, "all"}
        return [name for name, entry in self.components.items() if group_of(entry.group, mapping) in member]


def python_index(settings: Mapping[str, Any]) -> str:
    """Return the package index for Python applications: the one that is set, else the mirror's, else PyPI."""
    mirror = settings["watchkeeper_mirror_url"]
    return str(settings["watchkeeper_python_index_url"] or (f"{mirror.rstrip('/')}/python/simple/" if mirror else PYPI))


def group_of(key: str, mapping: Mapping[str, str]) -> str:
    """Return the inventory group that plays the part `key` (`watchkeeper_groups`)."""
    return mapping.get(key, DEFAULT_GROUPS.get(key, key))


@functools.cache
def _parse(path: Path) -> Any:
    """Read a YAML file once, with libyaml where there is one: a run looks at the lock file for every host."""
    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506


def load_lock(root: Path, other: str = "") -> dict[str, Any]:
    """Read the lock file: the project's, or the one that `watchkeeper_lock_file` names."""
    path = Path(other).expanduser() if other else root / "files" / "lock.yml"
    try:
        lock = _parse(path) or {}
    except OSError as error:
        raise CatalogueError(f"the lock file {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CatalogueError(f"the lock file {path} is not valid YAML: {error}") from error
    if not isinstance(lock, dict):
        raise CatalogueError(f"the lock file {path} must map components to versions to architectures")
    return lock


def _pinned(what: str, pin: Any) -> str:
    """Return the checksum of a lock entry. An empty one would mean that the user allowed the archive unpinned."""
    sha256 = pin.get("sha256") if isinstance(pin, Mapping) else None
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise CatalogueError(f"the lock file's entry for {what} is {pin!r}, but must have a sha256 of 64 hex digits")
    return sha256


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean …` or the list of what is known, to end an error message with."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}"
