"""The Docker connection, counted: a line in the file WATCHKEEPER_BENCH_REMOTE for everything that goes to a host."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.loader import connection_loader

Docker: Any = connection_loader.get("community.docker.docker", class_only=True)
DOCUMENTATION = sys.modules[Docker.__module__].DOCUMENTATION


class Connection(Docker):  # type: ignore[misc]
    """Counts, then does what Docker's does."""

    def _note(self, what: str) -> None:
        with Path(os.environ["WATCHKEEPER_BENCH_REMOTE"]).open("a", encoding="utf-8") as log:
            log.write(f"{what}\n")

    def exec_command(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command on the host."""
        self._note("exec")
        return super().exec_command(*args, **kwargs)

    def put_file(self, *args: Any, **kwargs: Any) -> Any:
        """Copy a file to the host."""
        self._note("put")
        return super().put_file(*args, **kwargs)

    def fetch_file(self, *args: Any, **kwargs: Any) -> Any:
        """Copy a file from the host."""
        self._note("fetch")
        return super().fetch_file(*args, **kwargs)
