#!/usr/bin/env python3
"""Carry how far the logs were read from Promtail to Alloy, or back. Runs before the start of either agent.

    carry_positions.py /path/of/carry.json

carry.json:

    {"to": "alloy",                                    the agent that is about to start: alloy or promtail
     "promtail": "/var/lib/promtail/positions.yaml",   Promtail's positions
     "alloy": "/var/lib/alloy/data",                   Alloy's storage path
     "files": ["nginx", …],                            sources, under the names which both agents have for them
     "journals": ["journal", …],
     "docker": ["containers", …]}

A source of files can be {"name": "nginx", "paths": ["/var/log/nginx/*.log"]}: its component is then given the files
that its globs match. One of containers can be {"name": "containers", "host": "unix:///var/run/docker.sock",
"labels": […]}, where labels are the discovery labels that Alloy's targets keep.

Which agent ran last is found by contents. Beside the positions of the agent carried to lies `carried.json`: what the
other's positions were when they were carried, and what was written. Where the other's are still the same, or still what
was once carried to it, there is nothing to carry. Only without such a record the times of the files decide. Where an
agent never ran, nothing is done. What the last agent knew replaces what this one knew.

Files are replaced whole. Alloy has one per component: `carried.json` says `unfinished` until all are written, so a
carrying that was interrupted is done again, and is never carried back. When anything cannot be read with certainty,
this ends with an error and changes nothing: the agent does not start, and nothing is lost or read twice unnoticed.

The two forms:

- Promtail keeps one map from a string to a string: a file's path to the offset; `cursor-<job>` to the journal's cursor;
  `cursor-<id of the container>` to the Unix time, in seconds, of its last line.
- Alloy keeps one map per component from {path, labels} to a string. A file has the labels "{}" as long as its target
  has nothing but reserved labels. The journal's path is `cursor-<id of the component>` with the labels "". A
  container's is `cursor-<id>` with all labels of its target, so they must be few and lasting: Docker is asked for them.

What is read again, and what is not:

- Both agents read a journal again from the entry at the cursor, and a container from the second of its last line. The
  entries have times of their own, so the second copy is the same entry to Loki, which keeps one.
- Promtail notes a file's position and only then stops reading. Lines that it read in between are read again. With a
  time of their own they are the same entries to Loki; without, they are there twice.
- Promtail can note a position inside a line while it waits for the line's end or fills its buffer anew. Such a position
  is never too far, so it is moved back to the start of that line.
- Alloy notes a file's position after the last whole line that left the reader, and sends what is in its pipeline before
  it ends. Where the pipeline is full at that moment, because Loki is slower than the file grows, each component drops
  the line that it holds: up to a few lines of a file, at every stop of Alloy, not only at a change of agents.
- A position beyond a file's end is carried as it is: both agents start such a file from the beginning. A file that was
  replaced between the stop and the start by a longer one is read on at the old position by both.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import json
import os
import re
import socket
import stat
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

RECORD = "carried.json"
CURSOR = "cursor-"
FILE_LABELS = "{}"
JOURNAL_LABELS = ""
META = "__meta_docker_container_"
DOCKER_HOST = "unix:///var/run/docker.sock"
DOCKER_LABELS = (f"{META}id", f"{META}label_com_docker_compose_project", f"{META}name")
KNOWN_LABEL = re.compile(f"{META}(?:id|name|network_mode|label_.*)")
DOCKER_TIMEOUT = 20
BLOCK = 64 * 1024

Entry = tuple[str, str]  # path and labels
Prints = Mapping[str, str]  # a file's name to the digest of its contents


class CarryError(Exception):
    """What stands against carrying, in words for the journal."""


# --- the plan ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileSource:
    """A source of files, and which of them are its own; no expressions: all."""

    name: str
    paths: tuple[re.Pattern[str], ...] = ()

    def owns(self, path: str) -> bool:
        """Whether a file is one of this source's."""
        return not self.paths or any(glob.fullmatch(path) for glob in self.paths)


@dataclass(frozen=True)
class DockerSource:
    """A source of containers: where to ask for them, and the labels that Alloy's targets keep."""

    name: str
    host: str = DOCKER_HOST
    labels: tuple[str, ...] = DOCKER_LABELS


@dataclass(frozen=True)
class Plan:
    """What carry.json says."""

    to: str
    promtail: str
    alloy: str
    files: tuple[FileSource, ...]
    journals: tuple[str, ...]
    docker: tuple[DockerSource, ...]

    def component(self, kind: str, name: str) -> str:
        """Return where Alloy keeps the positions of one component."""
        return os.path.join(self.alloy, f"loki.source.{kind}.{name}", "positions.yml")


def read_plan(path: str) -> Plan:
    """Return what carry.json says."""
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        if data["to"] not in ("alloy", "promtail"):
            raise CarryError(f"{path}: `to` is {data['to']!r}; it can be alloy or promtail")
        named = {
            kind: [{"name": source} if isinstance(source, str) else source for source in data.get(kind, ())]
            for kind in ("files", "docker")
        }
        return Plan(
            to=data["to"],
            promtail=data["promtail"],
            alloy=data["alloy"],
            files=tuple(
                FileSource(source["name"], tuple(glob_expression(glob) for glob in source.get("paths", ())))
                for source in named["files"]
            ),
            journals=tuple(data.get("journals", ())),
            docker=tuple(
                DockerSource(
                    source["name"], source.get("host") or DOCKER_HOST, tuple(source.get("labels") or DOCKER_LABELS)
                )
                for source in named["docker"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CarryError(f"{path} cannot be used: {error!r}") from error


def glob_expression(glob: str) -> re.Pattern[str]:
    """Return as an expression a glob of the agents: `*`, `?`, `[…]`, `{a,b}`, and `**` for any number of folders."""
    expression, at, depth = "", 0, 0
    while at < len(glob):
        char = glob[at]
        rest = glob[at:]
        starts = at == 0 or glob[at - 1] == "/"
        if starts and rest.startswith("**/"):
            expression, at = expression + "(?:[^/]+/)*", at + 3
            continue
        if rest == "/**":
            expression, at = expression + "(?:/.*)?", len(glob)
            continue
        class_ = re.match(r"\[([!^]?)((?:\\.|[^\]\\])+)\]", rest, re.DOTALL)
        if char == "*":
            expression += "[^/]*"
        elif char == "?":
            expression += "[^/]"
        elif class_:
            members = re.sub(r"([\[&~|])", r"\\\1", class_.group(2))
            expression += f"(?!/)[{'^' if class_.group(1) else ''}{members}]"
            at += class_.end() - 1
        elif char == "{":
            expression, depth = expression + "(?:", depth + 1
        elif char == "}" and depth:
            expression, depth = expression + ")", depth - 1
        elif char == "," and depth:
            expression += "|"
        elif char == "\\" and at + 1 < len(glob):
            expression, at = expression + re.escape(glob[at + 1]), at + 1
        else:
            expression += re.escape(char)
        at += 1
    try:
        return re.compile(expression, re.DOTALL)
    except re.error as error:
        raise CarryError(f"the glob {glob!r} cannot be read: {error}") from error


# --- the part of YAML in which the agents write -----------------------------------------------------------------------

_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b",
    " ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip
_CODES = {"x": 2, "u": 4, "U": 8}
_BREAKS = "\n\x85\u2028\u2029"  # each ends a line inside a scalar


class Yaml:
    """Reads `positions:` with a block mapping of scalars, or of {path, labels} to scalars; all else is an error."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def promtail(self) -> dict[str, str]:
        """Return Promtail's positions."""
        return dict(self._document(pairs=False))

    def alloy(self) -> dict[Entry, str]:
        """Return the positions of one component of Alloy."""
        return dict(self._document(pairs=True))

    def _document(self, pairs: bool) -> dict[Any, str]:
        positions: dict[Any, str] = {}
        self._space()
        self._expect("positions:")
        self._blanks()
        if self._peek("{}"):
            self.at += 2
            self._end_of_line()
        else:
            self._end_of_line()
            self._space()
            indent = self._column()
            if indent == 0 or self._over():
                raise self._error("there is nothing under `positions:`")
            while not self._over() and self._column() == indent:
                key, value = self._pair(indent, pairs)
                if key in positions:
                    raise self._error(f"{key!r} is there twice")
                positions[key] = value
                self._space()
        self._space()
        if not self._over():
            raise self._error("this does not belong here")
        return positions

    def _pair(self, indent: int, pairs: bool) -> tuple[Any, str]:
        key: Any
        if self._peek("? "):
            self.at += 2
            self._blanks()
            key = self._entry() if pairs else self._scalar(indent)
            self._space()
            if self._column() != indent:
                raise self._error("a value was expected")
        elif pairs:
            raise self._error("a key of path and labels was expected")
        else:
            key = self._scalar(indent, key=True)
        return key, self._value(indent)

    def _entry(self) -> Entry:
        indent = self._column()
        fields: dict[str, str] = {}
        while not self._over() and self._column() == indent:
            name = self._scalar(indent, key=True)
            if name in fields or name not in ("path", "labels"):
                raise self._error(f"{name!r} was not expected")
            fields[name] = self._value(indent)
            self._space()
        if len(fields) != 2:
            raise self._error("a key must have path and labels")
        return fields["path"], fields["labels"]

    def _value(self, indent: int) -> str:
        self._expect(":")
        self._blanks()
        return self._scalar(indent)

    def _scalar(self, indent: int, key: bool = False) -> str:
        tag = re.compile(r"!!(binary|str)[ \t]+").match(self.text, self.at)
        if tag:
            self.at = tag.end()
        first = self.text[self.at : self.at + 1]
        if first == '"' or first == "'":
            value = self._quoted(first, key)
        elif first == "|" and not key:
            value = self._literal(indent)
        else:
            value = self._plain(indent, key)
        if tag and tag.group(1) == "binary":
            try:
                value = base64.b64decode("".join(value.split()), validate=True).decode("utf-8", "surrogateescape")
            except binascii.Error as error:
                raise self._error(f"this is no base64 ({error})") from error
        if key:
            self._blanks()
        elif first != "|":
            self._end_of_line()
        return value

    def _quoted(self, quote: str, key: bool) -> str:
        self.at += 1
        out: list[str] = []
        solid = 0  # up to here blanks before a line's end count
        while not self._over():
            char = self.text[self.at]
            self.at += 1
            if char == quote:
                if quote == '"' or not self._peek("'"):
                    return "".join(out)
                self.at += 1
                out.append("'")
            elif char == "\\" and quote == '"':
                escape = self.text[self.at : self.at + 1]
                self.at += 1
                if escape == "\n":
                    self._blanks()
                elif escape in _CODES:
                    out.append(self._code(_CODES[escape]))
                elif escape in _ESCAPES:
                    out.append(_ESCAPES[escape])
                else:
                    raise self._error(f"\\{escape} is not known")
            elif char in _BREAKS:
                if key:
                    raise self._error("a key ends with its line")
                del out[solid:]
                out.append(self._fold(char))
            else:
                out.append(char)
                if char in " \t":
                    continue
            solid = len(out)
        raise self._error("a quote is not closed")

    def _code(self, length: int) -> str:
        digits = self.text[self.at : self.at + length]
        self.at += length
        if not re.fullmatch(f"[0-9A-Fa-f]{{{length}}}", digits) or int(digits, 16) > sys.maxunicode:
            raise self._error("a character's number was expected")
        if 0xD800 <= int(digits, 16) <= 0xDFFF:
            raise self._error("half of a pair is no character")
        return chr(int(digits, 16))

    def _fold(self, first: str = "\n") -> str:
        """Return what the end of a line inside a scalar stands for, and skip to the next text."""
        lines = re.compile(f"(?:[ \\t]*[{_BREAKS}])*[ \\t]*").match(self.text, self.at)
        assert lines  # noqa: S101 - it can be empty
        self.at = lines.end()
        more = "".join(lines.group().split(" ")).replace("\t", "").replace("\x85", "\n")
        return first + more if first in "\u2028\u2029" else more or " "

    def _plain(self, indent: int, key: bool) -> str:
        if re.compile(r"[-?:](?:[ \t\n]|$)|[,\[\]{}#&*!|>'\"%@`\n]|$").match(self.text, self.at):
            raise self._error("a text was expected")
        line = re.compile(r"(?:[^ \t\n:#]|:(?=[^ \t\n])|(?<=[^ \t\n])#|[ \t](?!#))*")
        found = line.match(self.text, self.at)
        assert found  # noqa: S101 - it can be empty
        self.at = found.end()
        value = found.group().rstrip(" \t")
        while not key and self._peek("\n"):
            start = self.at
            self.at += 1
            fold = self._fold()
            more = line.match(self.text, self.at)
            if self._over() or self._column() <= indent or self._peek("#") or not more:
                self.at = start
                break
            self.at = more.end()
            value += fold + more.group().rstrip(" \t")
        return value

    def _literal(self, indent: int) -> str:
        head = re.compile(r"\|(?:([+-])([1-9])?|([1-9])([+-])?)?[ \t]*\n").match(self.text, self.at)
        if not head:
            raise self._error("this kind of text is not known")
        self.at = head.end()
        keep = head.group(1) or head.group(4) or ""
        digit = head.group(2) or head.group(3)
        body = re.compile(r"(?: *\n)*( *)").match(self.text, self.at)
        margin = indent + int(digit) if digit else max(len(body.group(1)) if body else 0, indent + 1)
        value = ""
        while not self._over():
            found = re.compile(f"[^{_BREAKS}]*([{_BREAKS}]|$)").match(self.text, self.at)
            line = found.group() if found else ""
            if line.strip(" " + _BREAKS) and len(line) - len(line.lstrip(" ")) < margin:
                break
            value += line[margin:] if line.strip(" " + _BREAKS) else line.lstrip(" ")
            self.at += len(line)
        value = value.replace("\x85", "\n")
        if keep == "+":
            return value
        text = value.rstrip("\n\u2028\u2029")
        return text + ("" if keep == "-" or not text else value[len(text) :][:1])

    def _over(self) -> bool:
        return self.at >= len(self.text)

    def _peek(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def _column(self) -> int:
        return self.at - 1 - max(self.text.rfind(end, 0, self.at) for end in _BREAKS)

    def _expect(self, text: str) -> None:
        if not self._peek(text) or self.text[self.at + len(text) : self.at + len(text) + 1] not in ("", " ", "\n"):
            raise self._error(f"{text!r} was expected")
        self.at += len(text)

    def _blanks(self) -> None:
        while self._peek(" ") or self._peek("\t"):
            self.at += 1

    def _space(self) -> None:
        """Skip blanks, comments, and the ends of lines."""
        while not self._over():
            self._blanks()
            if self._peek("#"):
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            if not self._peek("\n"):
                return
            self.at += 1

    def _end_of_line(self) -> None:
        self._blanks()
        if not self._over() and not self._peek("\n") and not self._peek("#"):
            raise self._error("the end of the line was expected")

    def _error(self, words: str) -> CarryError:
        return CarryError(f"line {self.text.count(chr(10), 0, self.at) + 1}: {words}")


def quoted(text: str) -> str:
    """Return a text as YAML in which both agents read the same text."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # a file's name that is no UTF-8
        return f'!!binary "{base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii")}"'

    def character(char: str) -> str:
        if char in '"\\':
            return "\\" + char
        if " " <= char <= "~":
            return char
        code = ord(char)
        return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"

    return f'"{"".join(character(char) for char in text)}"'


def promtail_yaml(positions: Mapping[str, str]) -> str:
    """Return Promtail's positions as it reads them."""
    if not positions:
        return "positions: {}\n"
    pairs = (f"  ? {quoted(key)}\n  : {quoted(value)}\n" for key, value in sorted(positions.items()))
    return "positions:\n" + "".join(pairs)


def alloy_yaml(positions: Mapping[Entry, str]) -> str:
    """Return one component's positions as Alloy reads them."""
    if not positions:
        return "positions: {}\n"
    pairs = (
        f"  ? path: {quoted(path)}\n    labels: {quoted(labels)}\n  : {quoted(value)}\n"
        for (path, labels), value in sorted(positions.items())
    )
    return "positions:\n" + "".join(pairs)


# --- files ------------------------------------------------------------------------------------------------------------


def read_bytes(path: str) -> bytes | None:
    """Return a file's contents, None where there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CarryError(f"{path} cannot be read: {error.strerror}") from error


def replace(path: str, text: str) -> None:
    """Write a file whole, readable for its owner alone, or leave it as it was."""
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, mode=0o750, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise CarryError(f"{path} cannot be written: {error.strerror}") from error


def parsed(path: str, pairs: bool) -> dict[Any, str]:
    """Return the positions in an agent's file; an error where they are not certain."""
    data = read_bytes(path)
    if data is None:
        return {}
    try:
        text = Yaml(data.decode("utf-8"))
        return text.alloy() if pairs else text.promtail()
    except UnicodeDecodeError as error:
        raise CarryError(f"{path} is damaged: it is no UTF-8 ({error.reason} at byte {error.start})") from error
    except CarryError as error:
        raise CarryError(
            f"{path} is damaged ({error}). Repair it, or remove it where all logs may be read from the beginning."
        ) from error


def number(where: str, key: str, value: str) -> int:
    """Return the position of a file or a container."""
    if not re.fullmatch(r"-?[0-9]{1,19}", value):
        raise CarryError(f"{where} is damaged: the position of {key!r} is {value!r}, which is no whole number")
    return int(value)


def line_start(path: str, position: int) -> int:
    """Return a position moved back to the start of the line in which it lies.

    A position beyond the file's end stays, as does one in a file that cannot be read: the agents have rules for those.
    """
    if position <= 0:
        return 0
    try:
        name = path.encode("utf-8", "surrogateescape")
        if not stat.S_ISREG(os.stat(name).st_mode):
            return position
        with open(name, "rb") as file:
            if os.fstat(file.fileno()).st_size < position:
                return position
            end = position
            while end:
                start = max(0, end - BLOCK)
                file.seek(start)
                found = file.read(end - start).rfind(b"\n")
                if found >= 0:
                    return start + found + 1
                end = start
            return 0
    except (OSError, ValueError) as error:
        if not isinstance(error, FileNotFoundError):
            print(f"{path!r} cannot be looked at ({error}); its position stays {position}.", file=sys.stderr)
        return position


# --- who ran last -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """What was carried to an agent: the other's files then, its own as written, and whether that was finished."""

    source: Prints
    own: Prints
    unfinished: bool = False


@dataclass(frozen=True)
class Side:
    """What one agent knows."""

    prints: Prints
    newest: int
    record: Record | None


def position_files(plan: Plan, agent: str) -> dict[str, str]:
    """Return the names and paths of an agent's positions that exist."""
    if agent == "promtail":
        found = {os.path.basename(plan.promtail): plan.promtail}
    else:
        try:
            folders = os.listdir(plan.alloy)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise CarryError(f"{plan.alloy} cannot be read: {error.strerror}") from error
        found = {
            folder: os.path.join(plan.alloy, folder, "positions.yml")
            for folder in folders
            if re.match(r"loki\.source\.(file|journal|docker)\.", folder)
        }
    return {name: path for name, path in sorted(found.items()) if os.path.lexists(path)}


def record_path(plan: Plan, agent: str) -> str:
    """Return where is noted what was carried to an agent."""
    return os.path.join(plan.alloy if agent == "alloy" else os.path.dirname(plan.promtail), RECORD)


def prints(plan: Plan, agent: str) -> dict[str, str]:
    """Return the digests of an agent's positions."""
    contents = {name: read_bytes(path) for name, path in position_files(plan, agent).items()}
    return {name: hashlib.sha256(data).hexdigest() for name, data in contents.items() if data is not None}


def side(plan: Plan, agent: str) -> Side:
    """Return what an agent knows, and what was carried to it."""
    path = record_path(plan, agent)
    data = read_bytes(path)
    record = None
    if data is not None:
        try:
            fields = json.loads(data)
            record = Record(dict(fields["source"]), dict(fields["own"]), bool(fields.get("unfinished")))
        except (ValueError, KeyError, TypeError) as error:
            raise CarryError(
                f"{path} is damaged ({error!r}). Without it the times of the positions' files decide: remove it."
            ) from error
    times = [os.stat(file).st_mtime_ns for file in position_files(plan, agent).values()]
    return Side(prints(plan, agent), max(times, default=0), record)


def write_record(plan: Plan, agent: str, record: Record) -> None:
    """Note what was carried to an agent."""
    fields = {"source": record.source, "own": record.own, "unfinished": record.unfinished}
    replace(record_path(plan, agent), json.dumps(fields, indent=2, sort_keys=True) + "\n")


def same(now: Prints, then: Prints) -> bool:
    """Whether nothing is new since then; what is gone is not."""
    return all(then.get(name) == digest for name, digest in now.items())


def has_news(source: Side, target: Side) -> bool:
    """Whether the source ran after the target."""
    if not source.prints or (source.record and source.record.unfinished):
        return False
    if target.record and target.record.unfinished:
        return True
    if target.record and same(source.prints, target.record.source):
        return False
    if not target.prints:
        return True
    if source.record and same(source.prints, source.record.own):
        return False
    if target.record and same(target.prints, target.record.own):
        return True
    if source.record and same(target.prints, source.record.source):
        return True
    return source.newest >= target.newest


# --- containers -------------------------------------------------------------------------------------------------------


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a local socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=DOCKER_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(DOCKER_TIMEOUT)
        self.sock.connect(self._path)


def containers(host: str) -> dict[str, dict[str, str]]:
    """Return the discovery labels of all containers of a Docker engine by their ids."""
    url = urlsplit(host)
    connection: http.client.HTTPConnection
    if url.scheme == "unix":
        connection = _SocketConnection(url.path)
    elif url.scheme in ("tcp", "http"):
        connection = http.client.HTTPConnection(url.netloc, timeout=DOCKER_TIMEOUT)
    else:
        raise CarryError(f"the positions of containers can be carried over unix:, tcp: and http: only, not {host!r}")
    try:
        connection.request("GET", "/containers/json?all=1")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise CarryError(f"Docker at {host} answered {answer.status} when it was asked for its containers")
        found = {}
        for container in json.loads(body):
            labels = {
                f"{META}id": container["Id"],
                f"{META}name": (container.get("Names") or [""])[0],
                f"{META}network_mode": (container.get("HostConfig") or {}).get("NetworkMode", ""),
            }
            for name, value in (container.get("Labels") or {}).items():
                labels[f"{META}label_" + re.sub(r"[^a-zA-Z0-9_]", "_", name)] = value
            found[str(container["Id"])] = labels
        return found
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CarryError(
            f"Docker at {host} did not say which containers it has, so their positions cannot be carried: {error}"
        ) from error
    finally:
        connection.close()


def go_quoted(text: str) -> str:
    """Return a text as Go quotes it."""
    short = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}

    def character(char: str) -> str:
        if char in '"\\':
            return "\\" + char
        if char in short or char.isprintable():
            return short.get(char, char)
        code = ord(char)
        return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return f'"{"".join(character(char) for char in text)}"'


def label_text(labels: Mapping[str, str], keep: Iterable[str]) -> str:
    """Return labels as they stand in Alloy's key."""
    return "{" + ", ".join(f"{name}={go_quoted(labels[name])}" for name in sorted(keep) if name in labels) + "}"


# --- carrying ---------------------------------------------------------------------------------------------------------


def to_alloy(plan: Plan) -> str:
    """Write the positions of all components of Alloy from Promtail's, and say what was carried."""
    before = prints(plan, "promtail")
    positions: dict[str, str] = parsed(plan.promtail, pairs=False)
    components: dict[str, dict[Entry, str]] = {}

    offsets = {
        path: str(line_start(path, number(plan.promtail, path, value)))
        for path, value in positions.items()
        if path.startswith("/")
    }
    owners = {path: [source.name for source in plan.files if source.owns(path)] for path in offsets}
    for source in plan.files:
        components[plan.component("file", source.name)] = {
            (path, FILE_LABELS): value
            for path, value in offsets.items()
            # A file that nobody owns is given to all: too much does no harm here.
            if source.name in owners[path] or not owners[path]
        }

    for name in plan.journals:
        cursor = positions.get(CURSOR + name)
        components[plan.component("journal", name)] = (
            {(f"{CURSOR}loki.source.journal.{name}", JOURNAL_LABELS): cursor} if cursor else {}
        )

    times = {
        key[len(CURSOR) :]: str(number(plan.promtail, key, value))
        for key, value in positions.items()
        if re.fullmatch(f"{CURSOR}[0-9a-f]{{64}}", key)
    }
    for docker in plan.docker:
        known = containers(docker.host) if times else {}
        strange = [label for label in docker.labels if not KNOWN_LABEL.fullmatch(label)]
        if times and strange:
            raise CarryError(f"Alloy finds the positions of {docker.name} by {strange[0]}, which cannot be known here")
        components[plan.component("docker", docker.name)] = {
            (CURSOR + identifier, label_text(known[identifier], docker.labels)): value
            for identifier, value in times.items()
            if identifier in known
        }

    write_record(plan, "alloy", Record({}, {}, unfinished=True))
    for path, entries in components.items():
        if entries or os.path.lexists(path):
            replace(path, alloy_yaml(entries))
    write_record(plan, "alloy", Record(before, prints(plan, "alloy")))
    return f"{sum(len(entries) for entries in components.values())} positions were carried from Promtail to Alloy."


def to_promtail(plan: Plan) -> str:
    """Write Promtail's positions from those of all components of Alloy, and say what was carried."""
    before = prints(plan, "alloy")
    positions: dict[str, str] = {}

    offsets: dict[str, list[tuple[bool, int]]] = {}
    for source in plan.files:
        where = plan.component("file", source.name)
        for (path, labels), value in parsed(where, pairs=True).items():
            if labels == FILE_LABELS and path.startswith("/"):
                offsets.setdefault(path, []).append((not source.owns(path), number(where, path, value)))
    for path, found in offsets.items():
        # Owners first; of several that read the same file the one that is behind, so that nothing is lost.
        positions[path] = str(line_start(path, min(found)[1]))

    for name in plan.journals:
        key = (f"{CURSOR}loki.source.journal.{name}", JOURNAL_LABELS)
        cursor = parsed(plan.component("journal", name), pairs=True).get(key)
        if cursor:
            positions[CURSOR + name] = cursor

    times: dict[str, int] = {}
    for docker in plan.docker:
        where = plan.component("docker", docker.name)
        last: dict[str, int] = {}
        for (path, _labels), value in parsed(where, pairs=True).items():
            if re.fullmatch(f"{CURSOR}[0-9a-f]{{64}}", path):
                # A renamed container leaves its old key behind.
                last[path] = max(number(where, path, value), last.get(path, 0))
        for key_, time in last.items():
            times[key_] = min(time, times.get(key_, time))
    positions.update((key_, str(time)) for key_, time in times.items())

    replace(plan.promtail, promtail_yaml(positions))
    write_record(plan, "promtail", Record(before, prints(plan, "promtail")))
    return f"{len(positions)} positions were carried from Alloy to Promtail."


def carry(plan: Plan) -> str:
    """Carry the positions where there are any to carry; return what was done, "" for nothing."""
    alloy, promtail = side(plan, "alloy"), side(plan, "promtail")
    if alloy.record and alloy.record.unfinished and not promtail.prints:
        raise CarryError(
            f"a carrying to Alloy was interrupted, and {plan.promtail} is gone since. "
            f"Bring it back, or remove {plan.alloy} where all logs may be read from the beginning."
        )
    if plan.to == "alloy":
        return to_alloy(plan) if has_news(promtail, alloy) else ""
    return to_promtail(plan) if has_news(alloy, promtail) else ""


def main(arguments: list[str]) -> int:
    """Run, and return the status with which to end."""
    if len(arguments) != 1:
        print("usage: carry_positions.py /path/of/carry.json", file=sys.stderr)
        return 2
    try:
        done = carry(read_plan(arguments[0]))
    except CarryError as error:
        print(f"The positions of the logs were not carried: {error}", file=sys.stderr)
        return 1
    if done:
        print(done)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
