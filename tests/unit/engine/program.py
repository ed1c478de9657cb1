"""The program of the engine's unit tests: it has a checker, a readiness probe and metrics of its reloads.

`program check FILE` judges a configuration; `program FILE PORT` serves it. The configuration decides how it behaves:
`crash` ends it at start, `never-ready` answers 503, `refuse-reload` is refused when it is re-read.
"""

from __future__ import annotations

import http.server
import signal
import sys
import threading
import time
from pathlib import Path

VERSION = "@VERSION@"
BEHAVIOUR = "@BEHAVIOUR@"

state = {"config": "", "good": 1.0, "stamp": 0.0, "secret": ""}


def load(path: str, first: bool) -> None:
    """Take the configuration, or refuse it."""
    text = Path(path).read_text(encoding="utf-8")
    if "refuse-reload" in text and not first:
        state["good"] = 0.0
        print("error: the new configuration is refused", flush=True)
        return
    state.update(config=text, good=1.0, stamp=time.time())


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what this process is."""

    def do_GET(self) -> None:
        """Serve version, configuration, readiness and metrics."""
        status, body = 200, f"{VERSION}\n{state['config']}"
        if self.path == "/ready" and "never-ready" in BEHAVIOUR + str(state["config"]):
            status, body = 503, "not yet"
        if self.path == "/metrics":
            body = (
                f"demo_reload_successful {state['good']}\ndemo_reload_success_timestamp_seconds {state['stamp']:.6f}\n"
                f"demo_up {int('down' not in str(state['config']))}\n"
                'demo_parts{part="a",kind="x"} 1\ndemo_parts{kind="x",part="b"} 0\n'
            )
        if self.path == "/secret":
            body = str(state["secret"])
        if self.path == "/nowhere":
            status, body = 404, "no such page"
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: object) -> None:
        """Stay silent."""


def main() -> None:
    """Check or serve."""
    if sys.argv[1] == "check":
        text = Path(sys.argv[2]).read_text(encoding="utf-8")
        if "syntax error" in text:
            sys.exit(f"{sys.argv[2]}: line 1: syntax error near {text.strip()!r}")
        return
    path, port = sys.argv[1], int(sys.argv[2])
    load(path, first=True)
    secret = Path(path).parent / "secrets" / "key"
    state["secret"] = secret.read_text(encoding="utf-8") if secret.exists() else ""
    if "crash" in BEHAVIOUR + str(state["config"]):
        sys.exit("fatal: this version crashes at start")
    signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=load, args=(path, False)).start())
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
