"""Structured logs: one event is one line of JSON, whoever writes it.

Everything goes through Python's own logging: this package, its libraries, warnings, and what nobody caught. The lines
go to standard output, where journald takes them, and on request into a rotated file as well.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import logging.handlers
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from watchkeeper_app import tracing
from watchkeeper_app.scrub import CUT, scrub

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
FILE = "app.log"
# journald splits what is longer than 48 KiB.
LONGEST_LINE = 40_000
# Longest text, and room for all fields, of one event: the second pair fits even where each character takes six.
_LIMITS = ((8192, 16_000), (1024, 2_000))
_RESERVED = ("timestamp", "level", "context", "message", "service", "request_id", "trace_id", "error")
# Attributes of a record that say something about logging itself; all others came with `extra`.
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "fields", "color_message"}
# The logger of a context has a name of its own: a context may be called like a library.
_PREFIX = "watchkeeper."
# These write a line for each request that they send, or for each attempt to.
_CHATTY = {"httpx": logging.WARNING, "httpcore": logging.WARNING, "urllib3.connectionpool": logging.ERROR}
_LOGGED = "_watchkeeper_logged"

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


class Logger:
    """Writes events of one context."""

    def __init__(self, context: str) -> None:
        """`context` names the part of the program that speaks."""
        self._logger = logging.getLogger(_PREFIX + context)

    def debug(self, message: str, /, *, error: BaseException | None = None, **fields: object) -> None:
        """What only helps to find a fault."""
        self._write(logging.DEBUG, message, error, fields)

    def info(self, message: str, /, *, error: BaseException | None = None, **fields: object) -> None:
        """What happens as planned."""
        self._write(logging.INFO, message, error, fields)

    def warning(self, message: str, /, *, error: BaseException | None = None, **fields: object) -> None:
        """What went wrong and was dealt with."""
        self._write(logging.WARNING, message, error, fields)

    def error(self, message: str, /, *, error: BaseException | None = None, **fields: object) -> None:
        """What failed. An exception given as `error` is reported to the error tracker too, once."""
        self._write(logging.ERROR, message, error, fields)

    def critical(self, message: str, /, *, error: BaseException | None = None, **fields: object) -> None:
        """What ends the program; `error` as above."""
        self._write(logging.CRITICAL, message, error, fields)

    def _write(self, level: int, message: str, error: BaseException | None, fields: Mapping[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            told = (type(error), error, error.__traceback__) if error is not None else None
            self._logger.log(level, message, exc_info=told, extra={"fields": fields})
            if error is not None:
                _mark(error)


def get(context: str) -> Logger:
    """The logger of a part of the program."""
    return Logger(context)


def configure(service: str, level: str, directory: str, max_bytes: int, backups: int) -> None:
    """Sends every log line of this process to standard output and, with a `directory`, to `app.log` in it.

    The file is rotated at `max_bytes`, and `backups` older ones are kept. Raises OSError when it cannot be opened.
    Start uvicorn with `log_config=None` and `access_log=False`, or it takes its own lines back.
    """
    if directory and (max_bytes < 1 or backups < 1):
        raise ValueError(f"max_bytes is {max_bytes} and backups is {backups}, but both must be 1 or more")
    formatter = _JsonFormatter(service)
    handlers: list[logging.Handler] = [logging.StreamHandler(_utf8(sys.stdout))]
    if directory:
        handlers.append(_File(Path(directory) / FILE, max_bytes, backups))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.setLevel(LEVELS[level])
        root.addHandler(handler)
    # The error tracker listens at the root: errors reach it even when the log is for worse only.
    root.setLevel(min(LEVELS[level], logging.ERROR))
    # A log that cannot be written must not become a traceback between the lines.
    logging.raiseExceptions = False
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    logging.getLogger("uvicorn.error").addFilter(_not_yet_logged)
    for name, least in _CHATTY.items():
        logging.getLogger(name).setLevel(least)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread


class _JsonFormatter(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        # The same line goes to each handler.
        line = str(getattr(record, "_line", ""))
        if line:
            return line
        for longest, room in _LIMITS:
            line = _line(self._event(record, longest, room))
            if len(line.encode("utf-8", "backslashreplace")) <= LONGEST_LINE:
                break
        record._line = line
        return line

    def _event(self, record: logging.LogRecord, longest: int, room: int) -> dict[str, Any]:
        event: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": _level(record.levelno),
            "context": record.name.removeprefix(_PREFIX),
            "message": scrub(_message(record), longest=longest),
            "service": self._service,
        }
        for name, value in (("request_id", request_id.get()), ("trace_id", tracing.current_trace_id())):
            if value:
                event[name] = scrub(value, longest=longest)
        if record.exc_info and record.exc_info[1] is not None:
            event["error"] = _error(record.exc_info[1], longest)
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD and name[:1] != "_"}
        fields |= getattr(record, "fields", {})
        for name, value in scrub(fields, longest=longest, room=room).items():
            event[f"{name}_" if name in _RESERVED else name] = value
        return event


class _File(logging.handlers.RotatingFileHandler):
    """A log file whose failure is told once, on standard output, and never stops the program."""

    def __init__(self, path: Path, max_bytes: int, backups: int) -> None:
        self._failures = 0
        self._failing = False
        super().__init__(path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> Any:
        return open(self.baseFilename, "a", encoding="utf-8", errors="backslashreplace", opener=_private)

    def emit(self, record: logging.LogRecord) -> None:
        before = self._failures
        super().emit(record)
        if self._failing and self._failures == before:
            self._failing = False
            get("logs").info("the log file is written again", file=self.baseFilename)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - the name is logging's
        self._failures += 1
        if not self._failing:
            self._failing = True
            get("logs").error("the log file cannot be written", file=self.baseFilename, reason=str(sys.exc_info()[1]))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o640)


def _utf8(stream: TextIO) -> TextIO:
    """The stream, taking any character whatever the locale says."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    return stream


def _line(event: Mapping[str, Any]) -> str:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).translate(_UNSEEN)


# What a terminal obeys and what some readers take for the end of a line; JSON itself escapes those below a space.
_UNSEEN = {number: f"\\u{number:04x}" for number in (*range(0x7F, 0xA0), 0x2028, 0x2029)}


def _level(number: int) -> str:
    """The name of the highest level that `number` reaches."""
    return next((name for name, least in reversed(LEVELS.items()) if number >= least), "debug")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit the text, or cannot be shown
        return f"{record.msg!s} {CUT}" if isinstance(record.msg, str) else CUT


def _error(error: BaseException, longest: int) -> dict[str, str]:
    kind = type(error)
    try:
        message, stack = str(error), "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - an exception can fail at showing itself
        message, stack = CUT, CUT
    # Where it happened stands at the end, so that is what stays of a long one.
    shown = scrub(stack[-16 * longest :])
    return {
        "type": kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}",
        "message": scrub(message, longest=longest),
        "stack": shown if len(shown) <= 2 * longest else f"{CUT} …{shown[-2 * longest :]}",
    }


def _mark(error: BaseException) -> None:
    with contextlib.suppress(AttributeError, TypeError):
        setattr(error, _LOGGED, True)


def _not_yet_logged(record: logging.LogRecord) -> bool:
    """uvicorn writes again what comes out of an application that has logged it itself."""
    return not (record.exc_info and getattr(record.exc_info[1], _LOGGED, False))


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        get("process").critical("uncaught exception", error=error)


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        thread = args.thread.name if args.thread else ""
        get("process").error("uncaught exception in a thread", error=args.exc_value, thread=thread)


def _unraisable(event: sys.UnraisableHookArgs) -> None:
    get("process").error(event.err_msg or "ignored exception", error=event.exc_value, object=event.object)
