"""The component engine on the host: candidate, checks, swap, proof, and the way back.

What is live is decided by two things, each replaced by one rename: the unit file (a new run: new binary, command line
or start-time file) and, inside a run, the link to its configuration (a reload). The unit names its run directory and
its release by their full paths, so whatever systemd has loaded stays complete until it loads the next one.

    /etc/watchkeeper/<name>/run-<id>/<name>.service   the unit of one run, and manifest.json: how to prove it
    /etc/watchkeeper/<name>/run-<id>/config           link to ../config-<id>
    /etc/watchkeeper/<name>/config-<id>/...           one checked set of files
    /etc/watchkeeper/<name>/state.json                the run that was last proven ready, and the one before
    /etc/watchkeeper/<name>/current                   link to the proven run, for people
    /var/lib/watchkeeper/<name>/secrets/...           secrets that were made here, for root alone
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import json
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from . import probe, release
from .declaration import Declaration, Layout, Manifest, OwnedFile, digest, expand
from .systemd import Runtime, ServiceError

RUN_LINE = re.compile(r"^# run: (\w+)$", re.MULTILINE)
POLL_SECONDS = 0.2
STEADY_PROBES = 3
HIDDEN = "(secret)\n"
# 256 bits, as RFC 4086 asks of a key that is to last.
GENERATED_BYTES = 32


class ComponentError(Exception):
    """A component that could not be converged; the message is for the person who reads the run."""


class NotReadyError(Exception):
    """The program did not prove itself; the message says how far it came."""


@dataclass(frozen=True)
class Applied:
    """One state of a component: a run, the configuration it serves, and the checks that this one has passed."""

    run: str
    config: str
    version: str
    checks: str = ""


@dataclass
class State:
    """What was proven: the present state, and the one to which a rollback returns."""

    applied: Applied | None = None
    previous: Applied | None = None


@dataclass
class Outcome:
    """What happened, for the result of the task."""

    changed: bool = False
    actions: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    version: str = ""
    state: str = "ready"
    previous_version: str = ""
    needs_archive: bool = False

    def note(self, action: str) -> None:
        """Record one change."""
        self.changed = True
        self.actions.append(action)


class Engine:
    """Carries out declarations on this host. `opener` fetches archives; `check_mode` only tells."""

    def __init__(
        self,
        layout: Layout,
        runtime: Runtime,
        opener: release.Opener,
        check_mode: bool = False,
        scratch: str = "",
    ) -> None:
        self.layout = layout
        self.runtime = runtime
        self.opener = opener
        self.check_mode = check_mode
        self.scratch = scratch or tempfile.gettempdir()

    # -- paths -----------------------------------------------------------------------------------------------------

    def _base(self, name: str) -> Path:
        return Path(self.layout.etc, name)

    def _unit_path(self, name: str) -> Path:
        return Path(self.layout.systemd, f"{name}.service")

    def _run_dir(self, name: str, run: str) -> Path:
        return Path(self.layout.run_dir(name, run))

    def _config_dir(self, name: str, config: str) -> Path:
        return self._base(name) / f"config-{config}"

    # -- what is there ---------------------------------------------------------------------------------------------

    def load_state(self, name: str) -> State:
        """Read what was last proven; nothing readable means nothing proven."""
        try:
            raw = json.loads((self._base(name) / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return State()
        return State(**{key: Applied(**value) if value else None for key, value in raw.items()})

    def _save_state(self, name: str, state: State) -> None:
        self.step("state")
        _write_atomically(self._base(name) / "state.json", json.dumps(asdict(state), indent=1), 0o644)

    def _live_unit(self, name: str) -> str | None:
        try:
            return self._unit_path(name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def _live_run(self, name: str) -> str:
        found = RUN_LINE.search(self._live_unit(name) or "")
        return found.group(1) if found else ""

    def _config_of(self, name: str, run: str) -> str:
        try:
            return Path(os.readlink(self._run_dir(name, run) / "config")).name[len("config-") :]
        except OSError:
            return ""

    def _manifest_of(self, name: str, run: str) -> Manifest | None:
        try:
            raw = json.loads((self._run_dir(name, run) / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return Manifest.from_dict(raw)

    def _live_files(self, name: str) -> tuple[dict[str, str], bool]:
        """Return the contents of the live configuration by relative path, and whether others cannot read it."""
        root = self._run_dir(name, self._live_run(name)) / "config"
        if not root.is_dir():
            return {}, True
        folder = root.resolve()
        entries = [folder, *sorted(folder.rglob("*"))]
        files = {
            str(path.relative_to(folder)): path.read_text(encoding="utf-8", errors="replace")
            for path in entries
            if path.is_file()
        }
        return files, not any(path.stat().st_mode & 0o027 for path in entries)

    def _with_generated(self, want: Declaration) -> Declaration:
        """Add the secrets that this host makes itself: those made before, and now those that are missing."""
        made = []
        for path in want.generate:
            place = Path(self.layout.generated(want.name), path)
            try:
                content = place.read_text(encoding="utf-8")
            except FileNotFoundError:
                content = secrets.token_urlsafe(GENERATED_BYTES)
                if not self.check_mode:
                    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    _write_atomically(place, content, 0o600)
            if not content.strip():
                raise ComponentError(
                    f"{want.name}: {place} is empty; put the secret back from a backup, or remove the file to have a "
                    "new one made (what was encrypted with the old one is then lost)"
                )
            made.append(OwnedFile(path, content, secret=True))
        return replace(want, files=tuple(sorted((*want.files, *made), key=lambda item: item.path)))

    def _start_secrets_changed(self, want: Declaration, live: dict[str, str], applied: Applied | None) -> bool:
        """Tell whether a secret that is read at the start only differs from what the program may have started with.

        That is what is live or, after a killed run, what was last proven.
        """
        wanted = {item.path: item.content for item in want.files}
        proven = self._config_dir(want.name, applied.config) if applied else None
        for path in want.start_secrets:
            if live.get(path) != wanted[path]:
                return True
            if proven and _content(proven / path) != wanted[path]:
                return True
        return False

    def _config_name(self, want: Declaration, intact: bool) -> str:
        """Name the configuration set. One that was damaged by hand is replaced by a twin, in one rename as always."""
        live = self._config_of(want.name, want.run)
        if live.split("-")[0] != want.config:
            return want.config
        if intact:
            return live
        return want.config if live != want.config else f"{want.config}-repaired"

    @staticmethod
    def step(name: str) -> None:
        """Mark a point at which a run may be killed; the tests kill it at each of them."""

    # -- the main job ----------------------------------------------------------------------------------------------

    def converge(self, want: Declaration, pushed: str = "", pull: bool = True) -> Outcome:
        """Make the component what the declaration says, or leave it as it was and raise ComponentError.

        With `pull` false a missing archive is not fetched: the outcome asks the controller to bring it. So it does for
        the package of a Python application, which is nowhere else.
        """
        with contextlib.ExitStack() as held:
            held.enter_context(self._one_at_a_time(want.name))
            for other in want.manifest.replaces:
                held.enter_context(self._locked(other))
            return self._converge(self._with_generated(want), pushed, pull)

    def _converge(self, want: Declaration, pushed: str, pull: bool) -> Outcome:
        name = want.name
        state = self.load_state(name)
        outcome = Outcome(
            version=want.manifest.version, previous_version=state.applied.version if state.applied else ""
        )

        status = self.runtime.status(name)
        has_release = release.installed(want.artefact, name, self.layout)
        files, guarded = self._live_files(name)
        wanted = {item.path: item.content for item in want.files}
        same_files = guarded and files == wanted
        live_unit = self._live_unit(name)
        same_unit = live_unit == want.unit
        target = Applied(want.run, self._config_name(want, same_files), want.manifest.version, digest(want.checks))
        pointed = same_unit and same_files and self._config_of(name, want.run) == target.config
        applied = replace(state.applied, checks=target.checks) if state.applied else None
        proven = applied == target and pointed and has_release and not status.stale
        replaced = [other for other in want.manifest.replaces if self._is_here(other)]
        if proven and status.active and status.enabled:
            if state.applied != target:
                self._check_again(want, target, state)
            try:
                self._prove(want.manifest, status.pid)
            except NotReadyError as error:
                raise ComponentError(f"{name} is as declared and runs, but {error}") from error
            # A run that was killed may have left them.
            self._take_over(replaced, outcome)
            return outcome

        if not has_release:
            outcome.note(f"release {want.manifest.version} installed")
        changed = sorted(path for path in {*files, *wanted} if files.get(path) != wanted.get(path))
        if changed:
            outcome.note(f"configuration changed: {', '.join(changed)}")
        elif files and not guarded:
            outcome.note("permissions restored")
        if not same_unit:
            outcome.note("unit changed" if live_unit else "unit created")
        needs_restart = (
            not (status.active and has_release and same_unit) or status.stale or want.manifest.reload is None
        )
        needs_restart = needs_restart or state.applied is None or state.applied.run != want.run
        needs_restart = needs_restart or self._start_secrets_changed(want, files, state.applied)
        outcome.note("restarted" if needs_restart and status.active else "started" if needs_restart else "reloaded")
        outcome.diff = self._diff(want, files)

        if self.check_mode:
            if has_release:
                self._check_aside(want)
            self._take_over(replaced, outcome)
            return outcome
        if not has_release and not pushed and (want.artefact.package or not pull):
            outcome.needs_archive = True
            return outcome

        self._prepare_host(want)
        if not has_release:
            self.step("release")
            release.install(want.artefact, name, self.layout, self.opener, pushed)
        self._check_ports(want.manifest, status.active, state)
        self._stage(want, target.config)
        self._switch(want, target, state, needs_restart)
        self._finish(name, target, state)
        self._take_over(replaced, outcome)
        return outcome

    def _check_aside(self, want: Declaration) -> None:
        """Let the checker judge the files without leaving anything on the host."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            self._rehearse(want, Path(folder, "config"))

    def _rehearse(self, want: Declaration, place: Path, gid: int | None = None, account: str | None = None) -> None:
        """Check a copy that refers to itself: a checker may follow paths that are not live yet."""
        live = f"{self.layout.live_config(want.name, want.run)}/"
        copies = tuple(replace(item, content=item.content.replace(live, f"{place}/")) for item in want.files)
        self._write_files(place, copies, gid)
        self._check(want, place, account)

    def _check_again(self, want: Declaration, target: Applied, state: State) -> None:
        """Let new checks judge a configuration that has not changed."""
        self._check_aside(want)
        if not self.check_mode:
            self._save_state(want.name, State(target, state.previous))

    @contextlib.contextmanager
    def _one_at_a_time(self, name: str) -> Iterator[None]:
        """Keep two runs off the same component, and turn what goes wrong into words for a person."""
        try:
            with self._locked(name):
                yield
        except (release.ReleaseError, ServiceError) as error:
            raise ComponentError(f"{name}: {error}") from error
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise ComponentError(f"{name}: {error.strerror or error}{where}; what was running still runs") from error

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        if self.check_mode:
            yield
            return
        with Path(self.layout.locks, f"watchkeeper-{name}.lock").open("w", encoding="ascii") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ComponentError(f"{name}: another run is converging it on this host right now") from error
            yield

    def _prepare_host(self, want: Declaration) -> None:
        account = want.manifest.account
        try:
            pwd.getpwnam(account)
        except KeyError:
            self.runtime.ensure_account(account)
        if any(not os.path.isdir(folder) for folder in want.manifest.data):
            self.runtime.ensure_data(want.name, account, want.manifest.data)
        # The names in it tell whether two hosts have the same secrets, so only the component's account may list them.
        base = self._base(want.name)
        base.mkdir(parents=True, exist_ok=True, mode=0o755)
        os.chown(base, -1, grp.getgrnam(account).gr_gid)
        base.chmod(0o750)

    def _check_ports(self, manifest: Manifest, active: bool, state: State) -> None:
        """Refuse a port that a stranger holds, before anything is switched."""
        own: set[int] = set()
        if active and state.applied:
            live = self._manifest_of(manifest.name, state.applied.run)
            own = {item.port for item in live.listen} if live else set()
        elif active:
            return  # a unit of this name that is not ours yet: it goes when ours starts
        for other in manifest.replaces:
            live = self._manifest_of(other, self._live_run(other))
            own |= {item.port for item in live.listen} if live else set()
        for endpoint in manifest.listen:
            holder = None if endpoint.port in own else probe.port_taken(endpoint.address, endpoint.port)
            if holder:
                raise ComponentError(
                    f"{manifest.name}: port {endpoint.port} on {endpoint.address} is taken by {holder}; stop it, or "
                    f"set {manifest.name}_port to a free port; what was running still runs"
                )

    # -- candidate -------------------------------------------------------------------------------------------------

    def _stage(self, want: Declaration, config: str) -> None:
        """Write and check the candidate configuration and the run directory; nothing live changes."""
        name = want.name
        gid = grp.getgrnam(want.manifest.account).gr_gid
        candidate = Path(tempfile.mkdtemp(prefix=".candidate-", dir=self._base(name)))
        try:
            os.chown(candidate, -1, gid)
            candidate.chmod(0o750)
            self.step("candidate")
            self._rehearse(want, candidate / "check", gid, want.manifest.account)
            self.step("check")
            staged = candidate / "config"
            self._write_files(staged, want.files, gid)
            self.step("configuration")
            # A set of this name that is live is intact, else the name were another one.
            place = self._config_dir(name, config)
            if config != self._config_of(name, self._live_run(name)):
                shutil.rmtree(place, ignore_errors=True)
                os.rename(staged, place)
        finally:
            shutil.rmtree(candidate, ignore_errors=True)
        run = self._run_dir(name, want.run)
        run.mkdir(exist_ok=True, mode=0o755)
        self.step("run")
        _write_atomically(run / f"{name}.service", want.unit, 0o644)
        _write_atomically(run / "manifest.json", json.dumps(want.manifest.to_dict(), indent=1), 0o644)

    @staticmethod
    def _write_files(root: Path, files: tuple[OwnedFile, ...], gid: int | None) -> None:
        """Write a configuration set, readable by root and the component's group alone."""
        root.mkdir(mode=0o750)
        for item in files:
            path = root / item.path
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                out.write(item.content)
                out.flush()
                os.fsync(out.fileno())
        if gid is not None:
            for path in [root, *root.rglob("*")]:
                os.chown(path, -1, gid)
                os.chmod(path, 0o750 if path.is_dir() else 0o640)

    def _check(self, want: Declaration, candidate: Path, account: str | None) -> None:
        """Let the candidate version's own checker judge the candidate files, as the component's account."""
        folder = self.layout.release_dir(want.name, want.artefact.version)
        identity: dict[str, Any] = {}
        if account and os.geteuid() == 0:
            entry = pwd.getpwnam(account)
            identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        for check in want.checks:
            command = [expand(word, {"config": str(candidate), "release": folder}) for word in check]
            try:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=120,
                    check=False,
                    cwd="/",
                    **identity,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ComponentError(
                    f"{want.name}: the checker could not be run: {error}; what was running still runs"
                ) from error
            if done.returncode:
                words = f"{done.stdout}\n{done.stderr}".strip().replace(str(candidate), "<candidate>")
                for item in want.files:
                    if item.secret and item.content.strip():
                        words = words.replace(item.content.strip(), HIDDEN.strip())
                shown = expand(" ".join([os.path.basename(check[0]), *check[1:]]), {"config": "<candidate>"})
                raise ComponentError(
                    f"{want.name}: the candidate configuration was refused by `{shown}`; what was running still runs:\n"
                    f"{words}"
                )

    # -- swap and proof --------------------------------------------------------------------------------------------

    def _switch(self, want: Declaration, target: Applied, state: State, needs_restart: bool) -> None:
        """Swap, start or reload, prove; on failure bring the last proven state back and raise."""
        since = time.time()
        was_active = self.runtime.status(want.name).active
        others = self._running(want.manifest)
        try:
            self._activate(target, want.unit, want.manifest, needs_restart)
            self._prove_samples(want)
        except (NotReadyError, ServiceError, OSError) as error:
            logs = self.runtime.logs(want.name, since)
            came_back, ready = self._return_to(want, state.applied, target, was_active)
            came_back += self._start_again(others, ready)
            raise ComponentError(
                f"{want.name} {target.version} did not become ready: {error}. {came_back}\n"
                f"Its last words:\n{logs or '(none)'}"
            ) from error

    # -- what does the same work -----------------------------------------------------------------------------------

    def _is_here(self, name: str) -> bool:
        """Tell whether there is something of a component on this host that its removal would take."""
        return bool(self._live_run(name)) or any(path.exists() for path in self._places(name))

    def _running(self, manifest: Manifest) -> dict[str, bool]:
        """Return which replaced components run, or ran until a killed run stopped them, and whether each still runs."""
        found = {other: self.runtime.status(other).active for other in manifest.replaces}
        return {
            other: active
            for other, active in found.items()
            if active or (self._live_run(other) and self.load_state(other).applied)
        }

    def _start_again(self, others: Mapping[str, bool], ready: bool) -> str:
        """Start what ran before instead of a component that did not become ready, and say how that went.

        Where that one is back in a proven state (`ready`), it goes on, unless another proven one had its place.
        """
        said = ""
        for other, active in others.items():
            if ready and not (active and self.load_state(other).applied):
                continue
            manifest = self._manifest_of(other, self._live_run(other))
            try:
                self.runtime.restart(other)
                if manifest:
                    self._prove(manifest)
            except (NotReadyError, ServiceError, OSError) as error:
                said += f" {other}, which it was to replace, did NOT come back: {error}. It needs a person now."
            else:
                said += f" {other}, which it was to replace, runs again."
        return said

    def _take_over(self, replaced: list[str], outcome: Outcome) -> None:
        """Remove what a proven component has replaced. Data and accounts stay."""
        for other in replaced:
            outcome.note(f"{other} removed, its work is done here now")
            if not self.check_mode:
                self.step("replaced")
                self._remove(other, set())

    def _activate(self, target: Applied, unit: str, manifest: Manifest, restart: bool) -> None:
        name = manifest.name
        link = self._run_dir(name, target.run) / "config"
        if restart:
            # The link first: the run is not live before its unit is.
            if self._live_run(name) != target.run:
                _link_atomically(link, f"../config-{target.config}")
                self.step("unit")
                _write_atomically(self._unit_path(name), unit, 0o644)
            else:
                _write_atomically(self._unit_path(name), unit, 0o644)
                self.step("link")
                _link_atomically(link, f"../config-{target.config}")
            self.step("restart")
            self.runtime.restart(name)
            self.step("prove")
            self._prove(manifest)
            return
        before = self._reload_metrics(manifest)
        self.step("link")
        _link_atomically(link, f"../config-{target.config}")
        self.step("reload")
        self.runtime.reload(name)
        self.step("prove")
        self._prove_reload(manifest, before)
        self._prove(manifest)

    @staticmethod
    def _reload_metrics(manifest: Manifest) -> dict[str, float]:
        if manifest.reload is None or not manifest.reload.metrics:
            return {}
        return probe.metrics(manifest.reload.metrics, manifest.reload.prefix)

    def _prove_reload(self, manifest: Manifest, before: dict[str, float]) -> None:
        """Wait until the program itself says that it has taken the configuration, or that it refuses it."""
        if manifest.reload is None or not manifest.reload.metrics:
            return
        stamp = f"{manifest.reload.prefix}_success_timestamp_seconds"
        verdict = f"{manifest.reload.prefix}_successful"
        deadline = time.monotonic() + manifest.ready.timeout
        while time.monotonic() < deadline:
            try:
                now = self._reload_metrics(manifest)
            except OSError as error:
                raise NotReadyError(f"it stopped answering during the reload ({error})") from error
            if now.get(verdict) == 0:
                raise NotReadyError("it refused the new configuration at the reload")
            if now.get(stamp, 0.0) > before.get(stamp, 0.0):
                return
            time.sleep(POLL_SECONDS)
        raise NotReadyError(f"it did not confirm the reload within {manifest.ready.timeout} s ({stamp} did not move)")

    def _prove(self, manifest: Manifest, pid: int = 0) -> None:
        """Wait for the ready probe to pass, several times in a row and in one process.

        A program that was ready before the run (`pid`) needs to answer once only.
        """
        started = None if pid else self.runtime.status(manifest.name)
        deadline = time.monotonic() + manifest.ready.timeout
        wanted, passed, last = 1 if pid else STEADY_PROBES, 0, "no answer"
        owner = started.pid if started else pid
        while True:
            if started:
                status = self.runtime.status(manifest.name)
                if status.failed or status.restarts > started.restarts:
                    raise NotReadyError(f"it stopped after its start ({status.words})")
                if status.pid != owner:
                    owner, passed = status.pid, 0
            try:
                answered, _body = (
                    probe.http_get(manifest.ready.url) if manifest.ready.url else (manifest.ready.status, "")
                )
                last = f"{manifest.ready.url} answered {answered}"
                passed = passed + 1 if answered == manifest.ready.status else 0
            except OSError as error:
                last, passed = f"{manifest.ready.url}: {getattr(error, 'reason', error)}", 0
            if passed >= wanted:
                return
            if time.monotonic() > deadline:
                raise NotReadyError(f"not ready within {manifest.ready.timeout} s ({last})")
            time.sleep(POLL_SECONDS)

    @staticmethod
    def _prove_samples(want: Declaration) -> None:
        """Wait until what the program measures answers it. A state that comes back is not asked for this.

        Then it may be the measured thing that is broken, and a person wants at least the exporter that tells so.
        """
        deadline = time.monotonic() + probe.PROOF_SECONDS
        for proof in want.proofs:
            while True:
                try:
                    wrong = probe.failing_samples(proof.url, proof.samples)
                except OSError as error:
                    wrong = f"{proof.url}: {getattr(error, 'reason', error)}"
                if not wrong:
                    break
                if time.monotonic() > deadline:
                    raise NotReadyError(f"it runs, but what it measures does not answer: {wrong}")
                time.sleep(POLL_SECONDS)

    def _return_to(self, want: Declaration, back: Applied | None, tried: Applied, was_active: bool) -> tuple[str, bool]:
        """Bring the last proven state back after a failure; say how that went, and whether it is ready."""
        name = want.name
        manifest = self._manifest_of(name, back.run) if back else None
        if back is None or manifest is None:
            self._take_away(name, want, was_active)
            return "There was no earlier state to return to: the unit has been removed again.", False
        if back == tried:
            return "The state it should return to is this very one; nothing was rolled back.", False
        same = back.run == tried.run and not self._start_secrets_changed(want, self._live_files(name)[0], back)
        return self._bring_back_proven(name, back, manifest, same_run=same)

    def _bring_back_proven(
        self, name: str, back: Applied, manifest: Manifest, same_run: bool = False
    ) -> tuple[str, bool]:
        """Make a state the live one again, by a reload where that may do; say how that went and whether it is ready."""
        try:
            reloadable = same_run and manifest.reload is not None and self.runtime.status(name).active
            try:
                self._bring_back(name, back, manifest, restart=not reloadable)
            except (NotReadyError, ServiceError, OSError):
                if not reloadable:
                    raise
                self._bring_back(name, back, manifest)
        except (NotReadyError, ServiceError, OSError) as error:
            return f"Returning to {back.version} FAILED as well: {error}. This component needs a person now.", False
        return f"Rolled back to {back.version}, which is ready.", True

    def _bring_back(self, name: str, back: Applied, manifest: Manifest, restart: bool = True) -> None:
        """Make a state that is still on the host the live one again."""
        unit = (self._run_dir(name, back.run) / f"{name}.service").read_text(encoding="utf-8")
        self._activate(back, unit, manifest, restart)

    def _take_away(self, name: str, want: Declaration, was_active: bool) -> None:
        """Remove a first installation that failed; a unit of the distribution that was running runs again."""
        with contextlib.suppress(ServiceError):
            self.runtime.enable(name, False)
        self._unit_path(name).unlink(missing_ok=True)
        with contextlib.suppress(ServiceError):
            self.runtime.stop(name)
            if was_active:
                self.runtime.restart(name)
        shutil.rmtree(self._run_dir(name, want.run), ignore_errors=True)
        for path in self._base(name).glob("config-*"):
            shutil.rmtree(path, ignore_errors=True)

    def _finish(self, name: str, target: Applied, state: State) -> None:
        """Write down what was proven, then tidy up."""
        if not self.runtime.status(name).enabled:
            self.runtime.enable(name, True)
        previous = state.previous if state.applied == target else state.applied
        self._save_state(name, State(target, previous))
        self.step("tidy")
        _link_atomically(self._base(name) / "current", f"run-{target.run}")
        kept = [item for item in (target, previous) if item]
        runs = {f"run-{item.run}" for item in kept}
        configs = {f"config-{item.config}" for item in kept}
        for path in self._base(name).iterdir():
            stale_run = path.name.startswith("run-") and path.name not in runs
            stale_config = path.name.startswith("config-") and path.name not in configs
            if stale_run or stale_config or path.name.startswith(".candidate-"):
                shutil.rmtree(path, ignore_errors=True)
        release.prune(name, self.layout, {item.version for item in kept})

    # -- on request ------------------------------------------------------------------------------------------------

    def rollback(self, name: str) -> Outcome:
        """Return to the state that was proven before the present one, and prove it again."""
        with contextlib.ExitStack() as held:
            held.enter_context(self._one_at_a_time(name))
            state = self.load_state(name)
            if state.applied is None or state.previous is None:
                raise ComponentError(f"{name}: there is no earlier state on this host to roll back to")
            manifest = self._manifest_of(name, state.previous.run)
            if manifest is None:
                raise ComponentError(f"{name}: the earlier state {state.previous.version} is no longer complete")
            for other in manifest.replaces:
                held.enter_context(self._locked(other))
            outcome = Outcome(version=state.previous.version, previous_version=state.applied.version)
            outcome.note(f"rolled back from {state.applied.version} to {state.previous.version}")
            # Another one is there after a killed run only.
            replaced = [other for other in manifest.replaces if self._is_here(other)]
            if self.check_mode:
                self._take_over(replaced, outcome)
                return outcome
            since = time.time()
            others = self._running(manifest)
            try:
                self._bring_back(name, state.previous, manifest)
            except (NotReadyError, ServiceError, OSError) as error:
                logs = self.runtime.logs(name, since)
                forth = self._manifest_of(name, state.applied.run)
                went, ready = "The state before is incomplete.", False
                if forth:
                    went, ready = self._bring_back_proven(name, state.applied, forth)
                went += self._start_again(others, ready)
                raise ComponentError(
                    f"{name} {state.previous.version} did not become ready: {error}. {went}\n"
                    f"Its last words:\n{logs or '(none)'}"
                ) from error
            self._finish(name, state.previous, state)
            self._take_over(replaced, outcome)
            return outcome

    def remove(self, name: str, data: tuple[str, ...] = (), purge: bool = False) -> Outcome:
        """Stop and remove the component. Its data stays unless `purge` asks for its removal."""
        with self._one_at_a_time(name):
            state = self.load_state(name)
            manifest = self._manifest_of(name, state.applied.run) if state.applied else None
            kept = {*data, *(manifest.data if manifest else ()), self.layout.generated(name)}
            folders = kept if purge else set()
            for folder in sorted(folders):
                if len(Path(folder).parts) < 4:
                    raise ComponentError(
                        f"{name}: refusing to purge {folder}: a data directory lies at least three levels deep"
                    )
            return self._remove(name, folders)

    def _places(self, name: str) -> list[Path]:
        """Return what is a component's own besides its unit, its data and its account."""
        own = Path(self.layout.tmpfiles, f"watchkeeper-{name}.conf")
        return [self._base(name), Path(self.layout.opt, name), own]

    def _remove(self, name: str, folders: set[str]) -> Outcome:
        outcome = Outcome(state="absent")
        # A unit file without our mark belongs to somebody else.
        mine = bool(self._live_run(name))
        found = [path for path in (*self._places(name), *map(Path, sorted(folders))) if path.exists()]
        if mine:
            outcome.note("stopped and removed")
        for path in found:
            outcome.note(f"removed {path}")
        if self.check_mode:
            return outcome
        if mine:
            self.runtime.enable(name, False)
            self.runtime.stop(name)
            self.step("stopped")
            self._unit_path(name).unlink(missing_ok=True)
            self.runtime.stop(name)
            self.step("unit removed")
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        return outcome

    # -- diff ------------------------------------------------------------------------------------------------------

    def _diff(self, want: Declaration, live: dict[str, str]) -> list[dict[str, str]]:
        """Describe every file before and after; run identifiers are noise and secrets are nobody's business."""
        shown = str(self._base(want.name) / "current")

        def plain(text: str) -> str:
            text = re.sub(re.escape(f"{self._base(want.name)}/run-") + r"\w+", shown, text)
            return RUN_LINE.sub("# run", text)

        wanted = {item.path: item for item in want.files}
        entries = []
        for path in sorted({*live, *wanted}):
            before, after = live.get(path, ""), wanted[path].content if path in wanted else ""
            if before == after:
                continue
            # Every file below secrets/ is one, also when the declaration no longer knows it.
            if path.startswith("secrets/") or (path in wanted and wanted[path].secret):
                before = HIDDEN if before else ""
                after = "(secret, changed)\n" if before and after else HIDDEN if after else ""
            header = f"{shown}/config/{path}"
            before, after = plain(before), plain(after)
            if before != after:
                entries.append({"before_header": header, "after_header": header, "before": before, "after": after})
        unit = self._live_unit(want.name) or ""
        if plain(unit) != plain(want.unit):
            header = str(self._unit_path(want.name))
            entries.append(
                {
                    "before_header": header,
                    "after_header": header,
                    "before": plain(unit),
                    "after": plain(want.unit),
                }
            )
        return entries


def _content(path: Path) -> str | None:
    """Return the text of a file, or nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _write_atomically(path: Path, content: str, mode: int) -> None:
    """Replace a file in one rename, on disk before the name changes."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(temporary, mode)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _link_atomically(path: Path, target: str) -> None:
    """Point a symbolic link elsewhere in one rename."""
    with contextlib.suppress(FileNotFoundError):
        if os.readlink(path) == target:
            return
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    os.symlink(target, temporary)
    os.rename(temporary, path)
