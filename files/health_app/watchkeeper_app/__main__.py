"""``python -m watchkeeper_app --config app.yml [--check]``: runs the app, or only checks its configuration.

The exit code is 0 after a stop by signal and after a good check, and 1 when the configuration cannot be used; what is
wrong stands on standard error, one line per problem.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from watchkeeper_app import apm, errors, logs, tracing
from watchkeeper_app.config import Config, ConfigError, load

# Seconds that requests have to end in when the app is stopped.
STOP_LIMIT = 10
# Bytes of a request head that is not yet complete.
LONGEST_HEAD = 16 * 1024
# Connections at a time. More are answered 503 at once, before the backends' connections run out of descriptors.
CONNECTIONS = 500


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code."""
    parser = argparse.ArgumentParser(prog="watchkeeper_app", description="The health app.")
    parser.add_argument("--config", type=Path, required=True, help="path of app.yml")
    parser.add_argument("--check", action="store_true", help="only check the configuration")
    options = parser.parse_args(arguments)
    try:
        config = load(options.config)
        if options.check:
            _check_agent(config)
            _report_errors(config)
            print(f"{options.config}: the configuration is good")
        else:
            _serve(config)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{options.config}: {problem}", file=sys.stderr)
        return 1
    return 0


def _serve(config: Config) -> None:
    """Serves until a signal ends it."""
    # uvicorn stops in good order and then hands the signal on: what is left to send is sent before the process ends.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    log = config.logging
    try:
        logs.configure(config.service, log.level, log.directory, log.max_bytes, log.backups)
    except OSError as error:
        raise ConfigError([f"logging.directory: {log.directory}: {error.strerror}; must be writable"]) from None
    _check_agent(config)
    if config.newrelic.config_file:
        apm.start(config.newrelic.config_file, config.environment)
    # The agent instruments what is imported after it, by the error tracker too.
    _report_errors(config)
    import uvicorn

    from watchkeeper_app.app import create_app

    app = create_app(config)
    stop_tracing = tracing.configure(
        app,
        service=config.service,
        environment=config.environment,
        version=config.version,
        endpoint=config.tracing.otlp_endpoint,
        sample_ratio=config.tracing.sample_ratio,
        headers=config.tracing.headers,
    )
    try:
        uvicorn.run(
            app,
            host=config.listen.address,
            port=config.listen.port,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=LONGEST_HEAD,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=STOP_LIMIT,
        )
    finally:
        stop_tracing()


def _check_agent(config: Config) -> None:
    """Has New Relic's agent look at its configuration file."""
    if config.newrelic.config_file:
        problems = apm.check(config.newrelic.config_file)
        if problems:
            raise ConfigError([f"newrelic.config_file: {problem}" for problem in problems])


def _report_errors(config: Config) -> None:
    """Switches error tracking on."""
    try:
        errors.configure(
            config.errors.dsn,
            environment=config.environment,
            release=f"{config.service}@{config.version}",
            server_name=socket.gethostname(),
            traces_sample_rate=config.errors.traces_sample_rate,
            profiles_sample_rate=config.errors.profiles_sample_rate,
            traced_elsewhere=bool(config.tracing.otlp_endpoint or config.newrelic.config_file),
        )
    except ValueError as error:
        raise ConfigError([f"errors.dsn_file: {config.errors.dsn_file}: {error}"]) from None


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
