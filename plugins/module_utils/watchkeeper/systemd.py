"""systemd as the runtime of components, and the seam behind which another runtime would stand."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .declaration import Layout


class ServiceError(Exception):
    """The runtime refused or could not do what was asked; the message holds its words."""


@dataclass(frozen=True)
class Status:
    """What the runtime says of a component. `failed` covers a crash that waits for its restart."""

    active: bool
    failed: bool
    pid: int
    restarts: int
    stale: bool
    enabled: bool
    words: str


class Runtime(Protocol):
    """What the engine asks of whatever runs a component."""

    def status(self, name: str) -> Status:
        """Return the present state."""

    def restart(self, name: str) -> None:
        """Start or restart with the definition that is on disk."""

    def reload(self, name: str) -> None:
        """Make the running program read its configuration again."""

    def stop(self, name: str) -> None:
        """Stop and forget; not an error when it does not run."""

    def enable(self, name: str, on: bool) -> None:
        """Start at boot, or no longer."""

    def ensure_account(self, account: str) -> None:
        """Create the system account when it is missing."""

    def ensure_data(self, name: str, account: str, folders: tuple[str, ...]) -> None:
        """Create the data directories that are missing."""

    def logs(self, name: str, since: float, lines: int = 15) -> str:
        """Return the last lines the program wrote since `since` (Unix time)."""


class Systemd:
    """Runtime on systemd's own tools; it writes nothing but sysusers.d and tmpfiles.d entries."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @staticmethod
    def _call(*command: str, check: bool = True, timeout: int = 360) -> str:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServiceError(f"{' '.join(command)}: {error}") from error
        if check and done.returncode:
            raise ServiceError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def status(self, name: str) -> Status:
        """Return the present state, in one call."""
        wanted = "ActiveState,SubState,MainPID,NRestarts,NeedDaemonReload,UnitFileState,Result,ExecMainStatus"
        output = self._call("systemctl", "show", f"{name}.service", f"--property={wanted}", check=False)
        values = dict(line.partition("=")[::2] for line in output.splitlines())
        if "ActiveState" not in values:
            raise ServiceError(f"systemctl show {name}.service gave no state: is systemd running on this host?")
        state, sub = values["ActiveState"], values.get("SubState", "")
        words = f"{state}/{sub}, result {values.get('Result', '?')}, exit status {values.get('ExecMainStatus', '?')}"
        return Status(
            active=state in ("active", "reloading"),
            failed=state == "failed" or sub == "auto-restart",
            pid=int(values.get("MainPID") or 0),
            restarts=int(values.get("NRestarts") or 0),
            stale=values.get("NeedDaemonReload") == "yes",
            enabled=values.get("UnitFileState") == "enabled",
            words=words,
        )

    def restart(self, name: str) -> None:
        """Restart with the unit on disk; counters of earlier failures are cleared first."""
        self._call("systemctl", "daemon-reload")
        self._call("systemctl", "reset-failed", f"{name}.service", check=False)
        self._call("systemctl", "restart", f"{name}.service")

    def reload(self, name: str) -> None:
        """Send what the unit's ExecReload says."""
        self._call("systemctl", "reload", f"{name}.service")

    def stop(self, name: str) -> None:
        """Stop the unit and let systemd forget that it failed."""
        self._call("systemctl", "stop", f"{name}.service", check=False)
        self._call("systemctl", "reset-failed", f"{name}.service", check=False)
        self._call("systemctl", "daemon-reload")

    def enable(self, name: str, on: bool) -> None:
        """Link the unit into multi-user.target, or take the link away."""
        self._call("systemctl", "--quiet", "enable" if on else "disable", f"{name}.service", check=on)

    def ensure_account(self, account: str) -> None:
        """Create the account through sysusers.d."""
        entry = f'u {account} - "Watchkeeper component" - /usr/sbin/nologin\n'
        path = self._declare(self.layout.sysusers, account, entry)
        self._call("systemd-sysusers", path)

    def ensure_data(self, name: str, account: str, folders: tuple[str, ...]) -> None:
        """Create the data directories through tmpfiles.d; what is in them is never touched."""
        entries = "".join(f"d {folder} 0750 {account} {account} -\n" for folder in folders)
        path = self._declare(self.layout.tmpfiles, name, entries)
        self._call("systemd-tmpfiles", "--create", path)

    @staticmethod
    def _declare(folder: str, name: str, content: str) -> str:
        path = Path(folder, f"watchkeeper-{name}.conf")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        os.chmod(path, 0o644)
        return str(path)

    def logs(self, name: str, since: float, lines: int = 15) -> str:
        """Read the journal of the unit, with what is still on its way to it."""
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
        try:
            self._call("journalctl", "--sync", check=False, timeout=30)
            journal = ("journalctl", f"--unit={name}.service", f"--since={at}", "--output=cat", "--no-pager")
            # Some versions of --lines take the first ones after --since instead of the last.
            return "\n".join(self._call(*journal, check=False, timeout=30).splitlines()[-lines:])
        except ServiceError as error:
            return str(error)
