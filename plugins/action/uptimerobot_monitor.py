"""Shows, while the module of the same name runs on the controller, how long it waits for the account's limit."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

# Seconds between two looks at what the module has written.
LOOK = 0.2


class ActionModule(ActionBase):
    """Run the module; its lines about waits appear as they are written."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's answer."""
        super().run(tmp, task_vars)
        given = dict(self._task.args)
        if getattr(self._connection, "transport", "") != "local" or "progress_file" in given:
            answer: dict[str, Any] = self._execute_module(module_args=given, task_vars=task_vars)
            return answer
        with tempfile.TemporaryDirectory(prefix="watchkeeper-") as folder:
            progress = Path(folder) / "progress"
            progress.touch(mode=0o600)
            with shown(progress, self._task.get_name()):
                answer = self._execute_module(
                    module_args={**given, "progress_file": str(progress)}, task_vars=task_vars
                )
        return answer


@contextmanager
def shown(progress: Path, title: str) -> Iterator[None]:
    """Show the lines of a file as they come, until the block ends."""
    ended = threading.Event()

    def follow() -> None:
        with progress.open(encoding="utf-8") as lines:
            last = False
            while not last:
                last = ended.wait(LOOK)
                for line in lines:
                    Display().display(f"{title}: {line.rstrip()}")

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
