"""The emulator of Grafana as a program, in the layout of a release."""

from __future__ import annotations

import base64
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.emulators.grafana import DEFAULTS
from tests.unit.runs import ROOT


def make_release(home: Path) -> Path:
    """Write an unpacked release; return its program."""
    for name in ("bin", "conf"):
        (home / name).mkdir(parents=True)
    (home / "conf" / "defaults.ini").write_text(DEFAULTS, encoding="utf-8")
    program = home / "bin" / "grafana"
    source = (ROOT / "tests" / "emulators" / "grafana.py").read_text(encoding="utf-8")
    program.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
    program.chmod(0o755)
    return program


def ask(url: str, login: str = "") -> tuple[int, Any]:
    """Return status and data of a page; `login` is name:password."""
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return int(answer.status), json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None
