"""What a component is: the declaration that the controller sends and the host carries out.

A declaration is complete. It names the release, the files, the unit, the checks and the probes, so that the host can
compare it with what is there and answer "nothing to do" without asking anything else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

ETC = "/etc/watchkeeper"
OPT = "/opt/watchkeeper"


class DeclarationError(ValueError):
    """A declaration that cannot be carried out; the message names the key and what is allowed."""


def digest(value: Any, length: int = 12) -> str:
    """Return the first `length` hexadecimal digits of the SHA-256 of `value` in canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@dataclass(frozen=True)
class Layout:
    """Where the engine keeps its things on a host. Tests move it; nobody else does."""

    etc: str = ETC
    opt: str = OPT
    systemd: str = "/etc/systemd/system"
    sysusers: str = "/etc/sysusers.d"
    tmpfiles: str = "/etc/tmpfiles.d"
    locks: str = "/run"
    store: str = "/var/lib/watchkeeper"

    def run_dir(self, name: str, run: str) -> str:
        """Directory of one run: a unit and the link to its configuration."""
        return f"{self.etc}/{name}/run-{run}"

    def live_config(self, name: str, run: str) -> str:
        """Path under which a running program sees its configuration; what it leads to is swapped by one rename."""
        return f"{self.run_dir(name, run)}/config"

    def release_dir(self, name: str, version: str) -> str:
        """Directory of one unpacked release."""
        return f"{self.opt}/{name}/{version}"

    def generated(self, name: str) -> str:
        """Directory of the secrets that were made on this host: they are kept like data."""
        return f"{self.store}/{name}"


@dataclass(frozen=True)
class OwnedFile:
    """One file of the configuration; `path` is relative to the configuration directory."""

    path: str
    content: str
    secret: bool = False

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        if self.path.startswith("/") or not all(parts) or ".." in parts or "." in parts:
            raise DeclarationError(f"files: {self.path!r} must be a relative path inside the configuration directory")


@dataclass(frozen=True)
class Source:
    """Where a release archive comes from. An empty `sha256` means that the user allowed it unpinned."""

    url: str
    sha256: str = ""


@dataclass(frozen=True)
class Artefact:
    """The release: an upstream archive or executable (which may be zipped) per architecture, or a Python application.

    Of the latter `package` is the SHA-256 of its locked requirements and its code, which the controller brings, and
    `index` is the package index that has the requirements.
    """

    kind: str
    version: str
    sources: dict[str, Source] = field(default_factory=dict)
    package: str = ""
    index: str = ""
    timeout: int = 600


@dataclass(frozen=True)
class Reload:
    """How the program re-reads its configuration: SIGHUP, proven by its own two metrics where it has them.

    `metrics` is a URL; `prefix` stands before `_successful` and `_success_timestamp_seconds`.
    """

    metrics: str = ""
    prefix: str = ""


@dataclass(frozen=True)
class Ready:
    """The readiness probe: `url` must answer `status`; without a URL an active unit is ready. `timeout` in seconds."""

    url: str = ""
    status: int = 200
    timeout: int = 60


@dataclass(frozen=True)
class Proof:
    """Metrics under `url` that must be there and not zero: what the program measures answers it.

    A sample is a metric's name, with labels in braces where not every series of it counts.
    """

    url: str
    samples: tuple[str, ...]


@dataclass(frozen=True)
class Endpoint:
    """A TCP address on which the program listens."""

    address: str
    port: int


@dataclass(frozen=True)
class Manifest:
    """What is needed later to start, prove or remove a run; kept beside its unit, without secrets.

    `replaces` names other components that do the same work: they stop when this one starts, and go when it is proven.
    """

    name: str
    account: str
    version: str
    ready: Ready
    reload: Reload | None
    listen: tuple[Endpoint, ...]
    data: tuple[str, ...]
    replaces: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        raw = asdict(self)
        # Runs are named after this, and most replace nothing: they keep the names that they have always had.
        if not self.replaces:
            del raw["replaces"]
        return raw

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Manifest:
        """Build a manifest from what `to_dict` gave."""
        reload_raw = raw.get("reload")
        return cls(
            name=raw["name"],
            account=raw["account"],
            version=raw["version"],
            ready=Ready(**raw["ready"]),
            reload=Reload(**reload_raw) if reload_raw is not None else None,
            listen=tuple(Endpoint(**item) for item in raw["listen"]),
            data=tuple(raw["data"]),
            replaces=tuple(raw.get("replaces", ())),
        )


@dataclass(frozen=True)
class Declaration:
    """Everything the host needs for one component.

    `generate` names secrets that the host makes itself, once. `start_secrets` are those that the program reads at its
    start only: they cannot be part of the run's identifier, which everybody may read.
    """

    manifest: Manifest
    artefact: Artefact
    files: tuple[OwnedFile, ...]
    unit: str
    run: str
    config: str
    checks: tuple[tuple[str, ...], ...]
    proofs: tuple[Proof, ...] = ()
    generate: tuple[str, ...] = ()
    start_secrets: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the component and of its unit."""
        return self.manifest.name

    def to_dict(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the declaration as plain data and, apart from it, the secret contents by path."""
        secrets = {item.path: item.content for item in self.files if item.secret}
        raw = {
            "manifest": self.manifest.to_dict(),
            "artefact": asdict(self.artefact),
            "files": [{"path": item.path, "content": item.content} for item in self.files if not item.secret],
            "unit": self.unit,
            "run": self.run,
            "config": self.config,
            "checks": [list(check) for check in self.checks],
            "proofs": [asdict(proof) for proof in self.proofs],
            "generate": list(self.generate),
            "start_secrets": list(self.start_secrets),
        }
        return raw, secrets

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], secrets: Mapping[str, str]) -> Declaration:
        """Build a declaration from what `to_dict` gave."""
        artefact = dict(raw["artefact"])
        artefact["sources"] = {arch: Source(**item) for arch, item in artefact["sources"].items()}
        files = [OwnedFile(item["path"], item["content"]) for item in raw["files"]]
        files += [OwnedFile(path, content, secret=True) for path, content in secrets.items()]
        return cls(
            manifest=Manifest.from_dict(raw["manifest"]),
            artefact=Artefact(**artefact),
            files=tuple(sorted(files, key=lambda item: item.path)),
            unit=raw["unit"],
            run=raw["run"],
            config=raw["config"],
            checks=tuple(tuple(check) for check in raw["checks"]),
            proofs=tuple(Proof(item["url"], tuple(item["samples"])) for item in raw["proofs"]),
            generate=tuple(raw["generate"]),
            start_secrets=tuple(raw["start_secrets"]),
        )


@dataclass(frozen=True)
class Unit:
    """The program as a service: its command line, its limits and the holes its sandbox needs."""

    description: str
    command: tuple[str, ...]
    documentation: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


# systemd.exec(5): what every component lives with unless its unit says otherwise in `settings`.
SANDBOX: dict[str, Any] = {
    "UMask": "0027",
    "NoNewPrivileges": True,
    "ProtectSystem": "strict",
    "ProtectHome": True,
    "PrivateTmp": True,
    "PrivateDevices": True,
    "ProtectProc": "invisible",
    "ProtectClock": True,
    "ProtectHostname": True,
    "ProtectKernelLogs": True,
    "ProtectKernelModules": True,
    "ProtectKernelTunables": True,
    "ProtectControlGroups": True,
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces": True,
    "RestrictRealtime": True,
    "RestrictSUIDSGID": True,
    "LockPersonality": True,
    "MemoryDenyWriteExecute": True,
    "RemoveIPC": True,
    "SystemCallArchitectures": "native",
    "SystemCallFilter": ["@system-service", "~@privileged @resources"],
    "SystemCallErrorNumber": "EPERM",
}


def _quote(word: str) -> str:
    """Quote one word of a systemd command line; `%` and `$` lose their special meaning."""
    word = word.replace("%", "%%").replace("$", "$$")
    if word and not any(char in word for char in " \t\n\"'\\;"):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def render_unit(unit: Unit, manifest: Manifest, run: str, paths: Mapping[str, str]) -> str:
    """Return the text of the systemd unit. `paths` are the values of the tokens in the command and the environment."""
    service: dict[str, Any] = {
        "Type": "exec",
        "User": manifest.account,
        "Group": manifest.account,
        "ExecStart": " ".join(_quote(expand(word, paths)) for word in unit.command),
    }
    if manifest.reload is not None:
        service["ExecReload"] = "/bin/kill -HUP $MAINPID"
    service["Environment"] = [
        _quote(f"{key}={expand(value, paths)}") for key, value in sorted(unit.environment.items())
    ]
    service.update({"Restart": "always", "RestartSec": "5s"})
    service.update(SANDBOX)
    service["ReadWritePaths"] = list(manifest.data)
    service["CapabilityBoundingSet"] = " ".join(unit.capabilities)
    service["AmbientCapabilities"] = " ".join(unit.capabilities)
    service.update(
        {key: expand(value, paths) if isinstance(value, str) else value for key, value in unit.settings.items()}
    )
    lines = [
        "# Managed by Watchkeeper: changes made here are undone by the next run.",
        f"# run: {run}",
        "[Unit]",
        f"Description={unit.description}",
    ]
    if unit.documentation:
        lines.append(f"Documentation={unit.documentation}")
    # With either order systemd stops the other one completely before it starts this one (systemd.unit(5)). Two that
    # replace each other must give the same one: it calls a restart of one that is after the other, and the other after
    # it, cyclic, and refuses it.
    for other in manifest.replaces:
        order = "After" if manifest.name > other else "Before"
        lines += [f"Conflicts={other}.service", f"{order}={other}.service"]
    # Without a start limit a component that lost its disk for an hour still comes back by itself.
    lines += [
        "After=network-online.target",
        "Wants=network-online.target",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
    ]
    for key, value in service.items():
        lines += [f"{key}={_setting(item)}" for item in (value if isinstance(value, list) else [value])]
    lines += ["", "[Install]", "WantedBy=multi-user.target", ""]
    return "\n".join(lines)


def expand(text: str, paths: Mapping[str, str]) -> str:
    """Replace the tokens `{config}`, `{release}` and `{data}` in one word; other braces stay."""
    for token, value in paths.items():
        text = text.replace("{" + token + "}", value)
    return text


def declare(
    manifest: Manifest,
    artefact: Artefact,
    unit: Unit,
    files: Sequence[OwnedFile],
    checks: Sequence[Sequence[str]],
    restart_on: Sequence[str] = (),
    layout: Layout | None = None,
    proofs: Sequence[Proof] = (),
    generate: Sequence[str] = (),
    start_secrets: Sequence[str] = (),
) -> Declaration:
    """Build the declaration: fix the identifiers, then put the final paths into unit and files.

    `restart_on` names files that the program reads at its start only: a change of one is a new run. `generate` names
    secrets that the host makes unless they are among the files.
    """
    layout = layout or Layout()
    if manifest.name in manifest.replaces:
        raise DeclarationError(f"component {manifest.name}: replaces: a component cannot replace itself")
    paths_of_files = [item.path for item in files]
    made = tuple(OwnedFile(path, "", secret=True).path for path in generate if path not in paths_of_files)
    for path in paths_of_files:
        if paths_of_files.count(path) > 1:
            raise DeclarationError(f"files: {path!r} is declared more than once")
    for path in restart_on:
        if path not in paths_of_files:
            raise DeclarationError(f"restart_on: {path!r} is none of the files: {', '.join(paths_of_files)}")
    for path in start_secrets:
        if path not in (*paths_of_files, *made):
            raise DeclarationError(f"start_secrets: {path!r} is none of the files: {', '.join(paths_of_files)}")
    run = digest(
        {
            "manifest": manifest.to_dict(),
            "artefact": {
                "kind": artefact.kind,
                "version": artefact.version,
                "package": artefact.package,
            },
            "unit": asdict(unit),
            "sandbox": SANDBOX,
            "start_files": {item.path: item.content for item in files if item.path in restart_on},
        }
    )
    paths = {
        "config": layout.live_config(manifest.name, run),
        "release": layout.release_dir(manifest.name, artefact.version),
        "data": manifest.data[0] if manifest.data else "",
    }
    final: list[OwnedFile] = [
        OwnedFile(item.path, item.content.replace("{config}/", paths["config"] + "/"), item.secret) for item in files
    ]
    return Declaration(
        manifest=manifest,
        artefact=artefact,
        files=tuple(sorted(final, key=lambda item: item.path)),
        unit=render_unit(unit, manifest, run, paths),
        run=run,
        config=digest([[item.path, item.content, item.secret] for item in sorted(final, key=lambda item: item.path)]),
        checks=tuple(tuple(check) for check in checks),
        proofs=tuple(proofs),
        generate=made,
        start_secrets=tuple(start_secrets),
    )
