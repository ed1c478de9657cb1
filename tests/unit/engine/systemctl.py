"""systemd's part in the engine's unit tests: real processes, and units that stay loaded until a daemon-reload.

One file, used under the names systemctl, systemd-tmpfiles and journalctl. Its state is in $WATCHKEEPER_TEST_SYSTEMD.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BASE = Path(os.environ["WATCHKEEPER_TEST_SYSTEMD"])
UNITS = BASE / "units"


def read(name: str) -> dict[str, Any]:
    """Return what is known of a unit."""
    try:
        return dict(json.loads((BASE / f"{name}.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {"loaded": None, "pid": 0, "restarts": 0, "enabled": False}


def write(name: str, state: dict[str, Any]) -> None:
    """Remember it."""
    (BASE / f"{name}.json").write_text(json.dumps(state), encoding="utf-8")


def on_disk(name: str) -> str | None:
    """Return the unit file."""
    path = UNITS / name
    return path.read_text(encoding="utf-8") if path.exists() else None


def alive(pid: int) -> bool:
    """Tell whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] != "Z" if pid else False
    except FileNotFoundError:
        return False


def end(pid: int) -> None:
    """Stop a process and wait for it."""
    if not alive(pid):
        return
    os.kill(pid, signal.SIGTERM)
    for _ in range(100):
        if not alive(pid):
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)


def start(name: str, state: dict[str, Any]) -> int:
    """Start what the loaded unit says."""
    text = state["loaded"] or ""
    command = next(line[len("ExecStart=") :] for line in text.splitlines() if line.startswith("ExecStart="))
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(command)]
    log = (BASE / f"{name}.log").open("ab")
    process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    time.sleep(0.05)
    return process.pid


def conflicts(text: str | None) -> set[str]:
    """Return the units that must not run beside this one."""
    found = (line.partition("=") for line in (text or "").splitlines())
    return {word for key, _equals, value in found if key == "Conflicts" for word in value.split()}


def stop_others(name: str, state: dict[str, Any]) -> None:
    """Stop what conflicts with a unit, whichever of the two says so."""
    for path in BASE.glob("*.service.json"):
        other = read(path.stem)
        if path.stem != name and (path.stem in conflicts(state["loaded"]) or name in conflicts(other["loaded"])):
            end(other["pid"])
            write(path.stem, {**other, "pid": 0})


def main(program: str, arguments: list[str]) -> int:
    """Do what the real program would."""
    words = [word for word in arguments if not word.startswith("-")]
    if program == "journalctl":
        if "--sync" in arguments:
            return 0
        unit = next(word.partition("=")[2] for word in arguments if word.startswith("--unit="))
        log = BASE / f"{unit}.log"
        print("".join(log.read_text(encoding="utf-8").splitlines(keepends=True)) if log.exists() else "")
        return 0
    if program == "systemd-tmpfiles":
        for line in Path(words[0]).read_text(encoding="utf-8").splitlines():
            Path(line.split()[1]).mkdir(mode=0o750, parents=True, exist_ok=True)
        return 0
    command, name = words[0], words[1] if len(words) > 1 else ""
    if command == "daemon-reload":
        for path in BASE.glob("*.service.json"):
            state = read(path.stem)
            state["loaded"] = on_disk(path.stem)
            write(path.stem, state)
        return 0
    state = read(name)
    if state["loaded"] is None:
        state["loaded"] = on_disk(name)
    if command == "show":
        running = alive(state["pid"])
        crashed = bool(state["pid"]) and not running
        print(f"ActiveState={'active' if running else 'activating' if crashed else 'inactive'}")
        print(f"SubState={'running' if running else 'auto-restart' if crashed else 'dead'}")
        print(f"MainPID={state['pid'] if running else 0}\nNRestarts={state['restarts']}")
        print(f"NeedDaemonReload={'yes' if state['loaded'] != on_disk(name) else 'no'}")
        print(f"UnitFileState={'enabled' if state['enabled'] else 'disabled'}\nResult=success\nExecMainStatus=1")
        return 0
    if command in ("restart", "crash"):
        # `crash` is not systemd's: the process dies and comes back with the unit that is loaded.
        stop_others(name, state)
        end(state["pid"])
        try:
            state["pid"] = start(name, state)
        except (OSError, StopIteration) as error:
            print(f"Job for {name} failed: {error}", file=sys.stderr)
            return 1
    elif command == "reload":
        os.kill(state["pid"], signal.SIGHUP)
    elif command == "stop":
        end(state["pid"])
        state["pid"] = 0
    elif command in ("enable", "disable"):
        state["enabled"] = command == "enable"
    write(name, state)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[0]).name, sys.argv[1:]))
