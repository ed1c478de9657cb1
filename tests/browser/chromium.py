"""Installs the SDK with npm (`.cache/browser`) and opens a page in headless Chromium."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.unit.live import Program

HERE = Path(__file__).parent
HOME = HERE.parents[1] / ".cache" / "browser"
MANIFEST = ("package.json", "package-lock.json", ".npmrc")
PROGRAMS = ("npm", "chromium")


class NpmError(Exception):
    """The SDK cannot be had from npm."""


def lacking() -> str:
    """What is missing on this machine, by name; nothing when a page can be opened."""
    missing = [f"the program {name} (Debian's package {name})" for name in PROGRAMS if not shutil.which(name)]
    return f"needs {' and '.join(missing)}" if missing else ""


def install() -> Path:
    """The folder of the modules; made when it is not there or not what the lock file asks for."""
    HOME.parent.mkdir(parents=True, exist_ok=True)
    wanted = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in MANIFEST)).hexdigest()
    stamp = HOME / ".stamp"
    with HOME.with_name(f"{HOME.name}.lock").open("w") as lock:
        # The tests run in several processes.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != wanted:
            shutil.rmtree(HOME, ignore_errors=True)
            HOME.mkdir()
            for name in MANIFEST:
                shutil.copy(HERE / name, HOME)
            try:
                npm = subprocess.run(["npm", "ci"], cwd=HOME, capture_output=True, text=True, check=False, timeout=300)
            except subprocess.TimeoutExpired as error:
                raise NpmError(str(error)) from error
            if npm.returncode:
                raise NpmError(npm.stderr[-500:])
            stamp.write_text(wanted)
    return HOME / "node_modules"


def run(modules: Path, folder: Path, program: str, *arguments: str, **environment: str) -> str:
    """What a program that came with the modules says about files in a folder."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SENTRY_")}
    done = subprocess.run(
        [modules / ".bin" / program, *arguments],
        cwd=folder,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def opened(url: str, folder: Path) -> Program:
    """Chromium with a page, for use in a `with` block; its profile and its log are below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        "chromium",
        "--headless=new",
        # root has no sandbox, and a container little shared memory.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        # Nothing but the page goes anywhere.
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--no-proxy-server",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}",
        url,
    ]
    return Program(command, folder / "log", lambda: True)
