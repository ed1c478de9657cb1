"""New Relic's agent, run by its own configuration file; off without one.

The agent instruments what is imported after it, so it starts first of all. What is wrong with a file is found out in a
process of its own: the agent keeps what it has read for good.
"""

from __future__ import annotations

import configparser
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from watchkeeper_app.scrub import text

TIMEOUT_SECONDS = 60
_SECTION = "newrelic"


def check(path: str) -> list[str]:
    """What the agent itself finds wrong with a configuration file, for all its environments, and what it ignores."""
    parents = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-m", __name__, path]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, parents))},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [f"{path}: New Relic's agent did not end its check within {TIMEOUT_SECONDS} seconds"]
    try:
        problems = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return [f"{path}: New Relic's agent could not check it: {text(done.stderr.strip()[-500:])}"]
    return [f"{path}: {problem}" for problem in problems]


def start(path: str, environment: str) -> None:
    """Starts the agent with the section of `environment`; nothing that it shall instrument may be imported yet."""
    import newrelic.agent

    newrelic.agent.initialize(path, environment)


class _Heard(logging.Handler):
    """Keeps what the agent only logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.problems: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.problems.append(record.getMessage())


def _problems(path: str) -> list[str]:
    """Lets the agent read the file as it does at its start; for a process that ends afterwards."""
    import newrelic.config as agent

    heard = _Heard()
    asked: set[str] = set()

    class Listening(configparser.RawConfigParser):
        """Knows which options the agent has asked for: it has no list of them."""

        def get(self, section: str, option: str, **more: Any) -> str:  # type: ignore[override]
            asked.add(option)
            return super().get(section, option, **more)

    def wrong(section: str | None, option: str | None = None) -> None:
        place = f"{option or 'a value'} in [{section or _SECTION}]"
        heard.problems.append(f"{place} is not understood: {sys.exc_info()[1]}")

    agent._config_object = Listening(converters={"ratio": agent.ratio})
    agent._raise_configuration_error = wrong
    # Says something about this machine and not about the file.
    agent._check_timer_resolution = lambda: None
    logging.getLogger("newrelic").addHandler(heard)
    try:
        agent._load_configuration(path, log_file=os.devnull)
        sections = agent._config_object.sections()
        for section in sections:
            if section.startswith(f"{_SECTION}:"):
                agent._process_setting(section, "log_level", "get", agent._map_log_level)
                agent._process_configuration(section)
    except configparser.ParsingError as error:
        # Its own text quotes the line, which may be the one of the licence key.
        lines = [error.lineno] if isinstance(error, configparser.MissingSectionHeaderError) else dict(error.errors)
        return [f"no valid configuration file: line {', '.join(map(str, lines))}"]
    except Exception as error:  # noqa: BLE001 - whatever the agent's code raises is what is wrong
        return [*heard.problems, str(error)]
    if _SECTION not in sections:
        heard.problems.append(f"the section [{_SECTION}] is missing")
    for section in sections:
        if section.partition(":")[0] == _SECTION:
            unknown = [option for option in agent._config_object.options(section) if option not in asked]
            heard.problems += [f"{option} in [{section}] is unknown to the agent" for option in unknown]
        elif ":" not in section:
            heard.problems.append(f"the section [{section}] is unknown to the agent")
    if not agent._settings.license_key and agent._settings.monitor_mode:
        heard.problems.append(f"license_key in [{_SECTION}] is missing")
    return heard.problems


if __name__ == "__main__":
    print(json.dumps([text(problem) for problem in _problems(sys.argv[1])]))
