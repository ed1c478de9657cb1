"""What a user sees of a run: progress per host and component, one line per change, and the closing table."""

from __future__ import annotations

DOCUMENTATION = r"""
name: watchkeeper
type: stdout
short_description: Progress per host and component, and a closing table of what runs where
version_added: "0.1.0"
description:
  - Prints one line for each change and for each failure, and nothing for a task that did nothing.
  - On a terminal a last line tells what is being done. Without a terminal, and with E(NO_COLOR), E(CI) or C(TERM=dumb),
    that line is left out.
  - A run that converged components ends with a table of them, with what deserves attention, with each failure once, and
    with the usual counts per host.
  - C(-v) shows the tasks and what they left unchanged too, C(-vvv) the results without the arguments that made them.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
options:
  display_ok_hosts:
    description: Show tasks that changed nothing too. C(-v) does so as well.
    default: false
  display_skipped_hosts:
    description: Show skipped tasks too. C(-v) does so as well.
    default: false
  result_format:
    default: yaml
author:
  - The Watchkeeper authors
"""

import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible.constants as C  # noqa: N812 - the name it has everywhere
import ansible.context
import ansible.module_utils
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback import CallbackBase
from ansible.utils.color import colorize, hostcolor

ROOT = Path(__file__).resolve().parents[2]
if (shared := str(ROOT / "plugins" / "module_utils")) not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(shared)

from ansible.module_utils.watchkeeper.catalogue import Entry, Project

# A longer table shows only what changed or failed, and no more than this of it.
MOST_ROWS = 40
# The same failure is told for this many hosts as it happens; the closing lines have it for all.
MOST_TOLD = 5
HEADINGS = ("HOST", "COMPONENT", "VERSION", "STATE", "URL", "LOGIN")
NOT_RUN = "not run"
FAILED = "failed"
UNREACHABLE = "unreachable"
COUNTS = {
    "ok": (C.COLOR_OK, "ok"),
    "changed": (C.COLOR_CHANGED, "changed"),
    "unreachable": (C.COLOR_UNREACHABLE, "unreachable"),
    "failures": (C.COLOR_ERROR, "failed"),
    "skipped": (C.COLOR_SKIP, "skipped"),
    "rescued": (C.COLOR_OK, "rescued"),
    "ignored": (C.COLOR_WARN, "ignored"),
}


@dataclass
class Row:
    """One line of the closing table; `steady` tells that nothing happened."""

    state: str
    steady: bool = False
    version: str = ""
    url: str = ""
    login: str = ""


@dataclass(frozen=True)
class Failure:
    """What went wrong on a host: the component or task, the whole message, and the place in the playbook."""

    label: str
    message: str
    place: str


def natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts node2 before node10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", name)]


def width(text: str) -> int:
    """Return the number of columns that a text takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def pad(text: str, columns: int) -> str:
    """Return the text with blanks up to a number of columns."""
    return text + " " * (columns - width(text))


def names(hosts: Sequence[str], most: int) -> str:
    """Return a list of hosts for a sentence, cut off after `most`."""
    shown = ", ".join(hosts[:most])
    return f"{shown} and {len(hosts) - most} more" if len(hosts) > most else shown


def short_action(task: Any) -> str:
    """Return the last word of the task's action, whatever its collection."""
    return str(task.action).rsplit(".", 1)[-1]


def whole_message(result: Mapping[str, Any]) -> str:
    """Return everything a person needs of a failed result: the message, and what the program said."""
    if "censored" in result:
        return str(result["censored"])
    message = result.get("msg", "")
    parts = [message if isinstance(message, str) else "\n".join(map(str, message)) if message else ""]
    # The controller's own wrapping says nothing that the line does not say already.
    parts[0] = re.sub(r"^(Task failed: |Action failed: )+", "", parts[0]).strip()
    if "assertion" in result:
        parts.append(f"assertion: {result['assertion']}")
    for key in ("stderr", "stdout", "module_stderr", "module_stdout"):
        text = str(result.get(key) or "").strip()
        if text and text not in parts[0]:
            parts.append(f"{key}: {text}")
    return "\n".join(part for part in parts if part) or "failed without a message"


def is_plain() -> bool:
    """Tell whether the output goes somewhere that keeps every line: no terminal, or one that is told to be plain."""
    environment = os.environ
    told = environment.get("NO_COLOR") or environment.get("CI") or environment.get("TERM", "dumb") == "dumb"
    return bool(told) or not sys.stdout.isatty()


class CallbackModule(CallbackBase):
    """Collects what happens to components and tells it twice: as it happens, in short, and at the end, in order."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "watchkeeper"

    def __init__(self) -> None:
        super().__init__()
        self._live = not is_plain()
        self._drawn = False
        self._column = 0
        self._running: dict[str, str] = {}
        self._expected: dict[str, list[str]] = {}
        self._rows: dict[tuple[str, str], Row] = {}
        self._failures: dict[str, list[Failure]] = {}
        self._told: Counter[tuple[str, str]] = Counter()
        self._notes: dict[str, list[str]] = {}
        self._catalogue: Mapping[str, Entry] | None = None

    # What is being done: one line at the bottom of a terminal, overwritten as things go on.

    def _erase(self) -> None:
        if self._drawn:
            self._display.display("\r\033[K", screen_only=True, newline=False)
            self._drawn = False

    def _draw(self) -> None:
        if not self._live or not self._running:
            return
        by_label: dict[str, list[str]] = {}
        for host, label in self._running.items():
            by_label.setdefault(label, []).append(host)
        text = "; ".join(f"{names(hosts, 3)}  {label}" for label, hosts in by_label.items())
        text = f"… {text}"[: max(self._display.columns - 2, 20)]
        # The cursor goes back, so that what others print starts at the margin.
        self._display.display(f"\r\033[K{text}\r", color=C.COLOR_VERBOSE, screen_only=True, newline=False)
        self._drawn = True

    def _say(self, text: str, color: str | None = None, stderr: bool = False) -> None:
        self._erase()
        self._display.display(text, color=color, stderr=stderr)
        self._draw()
        sys.stdout.flush()

    def _begin(self, host: str, label: str) -> None:
        self._running[host] = label
        self._draw()
        sys.stdout.flush()

    def _end(self, host: str) -> None:
        if self._running.pop(host, None) is not None and self._live:
            self._erase()
            self._draw()
            sys.stdout.flush()

    # Names.

    def _entries(self) -> Mapping[str, Entry]:
        if self._catalogue is None:
            self._catalogue = Project.load(ROOT).components
        return self._catalogue

    def _component_of(self, task: Any, values: Mapping[str, Any] | None = None) -> str:
        """Return the name of the component that a task converges, if any; the result knows what a template hides."""
        told = (values or {}).get("component")
        if short_action(task) != "component" and not isinstance(told, Mapping):
            return ""
        name = told.get("name") if isinstance(told, Mapping) else task.args.get("name")
        return name if isinstance(name, str) and name in self._entries() else ""

    def _label(self, task: Any, component: str = "", name: str = "") -> str:
        return self._entries()[component].title if component else name or task.get_name().strip()

    def _line(self, result: Any, what: str, name: str) -> str:
        host, component = self.host_label(result), self._component_of(result.task, result.result)
        label = self._label(result.task, component, name)
        if not component:
            return f"{host}: {label}: {what}"
        self._column = max(self._column, min(len(host), 30))
        titles = max(len(entry.title) for entry in self._entries().values())
        return f"{pad(host, self._column)}  {pad(label, titles)}  {what}"

    # Results.

    def _talkative(self, option: str) -> bool:
        return bool(self._display.verbosity or self.get_option(option))

    def _details(self, result: Any) -> str:
        """Return the result for -vvv: never the arguments, and no diff, which has been shown."""
        if self._display.verbosity < 3:
            return ""
        kept = {key: value for key, value in result.result.items() if key not in ("invocation", "diff", "results")}
        return f"\n{self._dump_results(kept, indent=2).rstrip()}"

    def _warn(self, result: Any) -> None:
        """Show the warnings of a result; its exception is shown by its message, and as a whole with -v."""
        self._erase()
        if self._display.verbosity:
            self._handle_warnings_and_exception(result)
        else:
            self._handle_warnings(result.result)

    def _collect(self, result: Any) -> None:
        """Remember what the closing lines tell of a good result."""
        host, values = result.host.get_name(), result.result
        if short_action(result.task) == "preflight" and isinstance(values.get("components"), list):
            self._expected[host] = values["components"]
        for note in values.get("notes") or []:
            self._notes.setdefault(str(note), []).append(host)
        name = self._component_of(result.task, values)
        told = values.get("component")
        if not name or not isinstance(told, Mapping):
            return
        state, version, before = (str(told.get(key) or "") for key in ("state", "version", "previous_version"))
        url = str(told.get("url") or "") if state != "absent" else ""
        login = str(told.get("login") or "none") if url else ""
        changed = bool(values.get("changed"))
        if changed:
            check = bool(result.task.check_mode)
            state = "would change" if check else f"changed → {state}"
            if before and version and before != version:
                version = f"{version} ({'now' if check else 'was'} {before})"
        self._rows[host, name] = Row(state, not changed, version, url, login)

    def _good(self, result: Any, name: str) -> None:
        host, task, values = self.host_label(result), result.task, result.result
        told = values.get("component")
        actions = [str(action) for action in told.get("actions", [])] if isinstance(told, Mapping) else []
        if values.get("changed"):
            word = "would change" if task.check_mode else "changed"
            said = ", ".join(actions) or self._said(values)
            text = self._line(result, f"{word}: {said}" if said else word, name)
            self._say(text + self._details(result), C.COLOR_CHANGED)
        elif short_action(task) == "debug":
            self._say(f"{host}: {self._debugged(values, task)}")
        elif self._talkative("display_ok_hosts"):
            self._say(self._line(result, "ok", name) + self._details(result), C.COLOR_OK)

    def _debugged(self, values: dict[str, Any], task: Any) -> str:
        self._clean_results(values, task.action)
        shown = values.get("msg")
        if isinstance(shown, list) and all(isinstance(line, str) for line in shown):
            shown = "\n".join(shown)
        if not isinstance(shown, str):
            shown = str(self._dump_results(values, indent=2)).strip()
        return "\n  ".join(["", *shown.splitlines()]) if "\n" in shown else shown

    @staticmethod
    def _said(values: Mapping[str, Any]) -> str:
        message = values.get("msg")
        return message if isinstance(message, str) and "\n" not in message else ""

    def _bad(self, result: Any, name: str, word: str, ignored: bool) -> None:
        host, task = result.host.get_name(), result.task
        message = whole_message(result.result)
        self._warn(result)
        first, *more = message.splitlines()
        what = f"{word}{' (ignored)' if ignored else ''}: {first}{' …' if more else ''}"
        component = self._component_of(task, result.result)
        label = self._label(task, component, name)
        self._told[label, message] += 1
        text = self._line(result, what, name) + self._details(result)
        if self._told[label, message] > MOST_TOLD and not self._display.verbosity:
            text = f"{label}: {word} on more hosts (-v tells each)"
        if self._told[label, message] <= MOST_TOLD + 1 or self._display.verbosity:
            color = C.COLOR_WARN if ignored else C.COLOR_ERROR
            self._say(text, color, stderr=bool(self.get_option("display_failed_stderr")))
        if component:
            self._rows[host, component] = Row(FAILED if word == "FAILED" else UNREACHABLE)
        if not ignored:
            # A component's or an inventory's trouble is not in the playbook.
            ours = component or short_action(task) == "preflight"
            wanted = not ours or self._display.verbosity > 1 or self.get_option("show_task_path_on_failure")
            place = str(task.get_path() or "") if wanted else ""
            self._failures.setdefault(host, []).append(Failure(label, message, place))

    def _item_name(self, result: Any) -> str:
        return f"{result.task_name} (item={self._get_item_label(result.result)})"

    # Events.

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Name the playbook with -vv."""
        if self._display.verbosity > 1:
            self._say(f"playbook: {playbook._file_name}", C.COLOR_VERBOSE)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Name the play."""
        self._running.clear()
        marker = " [CHECK MODE]" if play.check_mode and self.get_option("check_mode_markers") else ""
        self._say(f"==> {play.get_name().strip()}{marker}", C.COLOR_HIGHLIGHT)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """Say that the play had no hosts."""
        self._say("no hosts matched", C.COLOR_SKIP)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002 - Ansible's signature
        """Name the task with -v."""
        self._announce("task", task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Name the handler with -v."""
        self._announce("handler", task)

    def _announce(self, kind: str, task: Any) -> None:
        if self._display.verbosity:
            marker = " [CHECK MODE]" if task.check_mode and self.get_option("check_mode_markers") else ""
            self._say(f"{kind}: {task.get_name().strip()}{marker}", C.COLOR_VERBOSE)
        if self._display.verbosity > 1:
            self._print_task_path(task)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        """Name an included file with -v."""
        if self._display.verbosity:
            hosts = [host.get_name() for host in included_file._hosts]
            self._say(f"included: {included_file._filename} for {names(hosts, 10)}", C.COLOR_INCLUDED)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Show what a host is about to do."""
        if self.get_option("show_per_host_start"):
            self._say(f"{host.get_name()}: {self._label(task)}: started", C.COLOR_OK)
        # A prompt needs the last line for itself.
        if not isinstance(task, TaskInclude) and short_action(task) != "pause":
            component = self._component_of(task)
            self._begin(host.get_name(), f"{self._label(task, component)} …{'converging' if component else ''}")

    def v2_runner_retry(self, result: Any) -> None:
        """Show that a task is tried again."""
        left = result.result["retries"] - result.result["attempts"]
        if self._display.verbosity:
            self._say(self._line(result, f"tried again, {left} tries left", result.task_name))
        else:
            self._begin(result.host.get_name(), f"{self._label(result.task)} … {left} tries left")

    def v2_runner_on_ok(self, result: Any) -> None:
        """Tell a change; pass over the rest."""
        self._end(result.host.get_name())
        if isinstance(result.task, TaskInclude):
            return
        self._warn(result)
        self._collect(result)
        if not (result.task.loop and "results" in result.result):
            self._good(result, result.task_name)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Tell a failure in one line; the closing lines have the whole message."""
        self._end(result.host.get_name())
        # The items of a loop have been told one by one.
        if not (result.task.loop and result.result.get("results")):
            self._bad(result, result.task_name, "FAILED", ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Tell that a host cannot be reached."""
        self._end(result.host.get_name())
        self._bad(result, result.task_name, "UNREACHABLE", bool(result.task.ignore_unreachable))

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Pass over what was skipped."""
        self._end(result.host.get_name())
        self._warn(result)
        if self._talkative("display_skipped_hosts"):
            self._say(self._line(result, "skipped", result.task_name), C.COLOR_SKIP)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Tell what changed for one item of a loop."""
        if not isinstance(result.task, TaskInclude):
            self._warn(result)
            self._collect(result)
            self._good(result, self._item_name(result))

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Tell that one item of a loop failed."""
        self._bad(result, self._item_name(result), "FAILED", bool(result.task.ignore_errors))

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        """Pass over an item that was skipped."""
        self._warn(result)
        if self._talkative("display_skipped_hosts"):
            text = self._line(result, "skipped", self._item_name(result))
            self._say(text, C.COLOR_SKIP)

    def v2_on_file_diff(self, result: Any) -> None:
        """Show the diff of a change."""
        for values in (result.result.get("results") or []) if result.task.loop else [result.result]:
            if isinstance(values, dict) and values.get("diff") and values.get("changed"):
                text = self._get_diff(values["diff"])
                if text.strip():
                    self._say(text.rstrip("\n"))

    # The closing lines.

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print the table, the notes, the failures and the counts."""
        self._running.clear()
        self._erase()
        if self._rows:
            self._print_table()
        self._print_notes()
        self._print_failures(stats)
        if ansible.context.CLIARGS["check"]:
            self._say("\ncheck mode: nothing has been changed", C.COLOR_HIGHLIGHT)
        self._print_counts(stats)
        if stats.custom and self.get_option("show_custom_stats"):
            self._say(f"\ncustom stats: {self._dump_results(stats.custom, indent=2)}")
        sys.stdout.flush()

    def _print_table(self) -> None:
        for host, components in self._expected.items():
            for component in components:
                # A role that works on what the host has need not have anything to tell.
                if self._entries()[component].kind != "host":
                    self._rows.setdefault((host, component), Row(NOT_RUN))
        order = {name: number for number, name in enumerate(self._entries())}
        rows = sorted(self._rows.items(), key=lambda item: (natural(item[0][0]), order.get(item[0][1], len(order))))
        shown, hidden = rows, 0
        if len(rows) > MOST_ROWS and not self._display.verbosity:
            moved = [item for item in rows if not item[1].steady]
            # Where even these are too many, trouble comes first.
            moved.sort(key=lambda item: item[1].state not in (FAILED, UNREACHABLE, NOT_RUN))
            shown, hidden = moved[:MOST_ROWS], len(moved[MOST_ROWS:])
        table = [
            (host, self._entries()[name].title, row.version, row.state, row.url, row.login)
            for (host, name), row in shown
        ]
        self._say("")
        if table:
            widths = [max(map(width, column)) for column in zip(HEADINGS, *table, strict=True)]
            self._say(self._join(HEADINGS, widths), C.COLOR_HIGHLIGHT)
        for cells, (_key, row) in zip(table, shown, strict=True):
            bad = row.state in (FAILED, UNREACHABLE, NOT_RUN)
            color = C.COLOR_ERROR if bad else C.COLOR_OK if row.steady else C.COLOR_CHANGED
            self._say(self._join(cells, widths), color)
        if hidden:
            self._say(f"and {hidden} more that changed (-v shows all)")
        if len(shown) < len(rows):
            self._print_summary(rows)

    @staticmethod
    def _join(cells: Sequence[str], widths: Sequence[int]) -> str:
        return "  ".join(pad(cell, columns) for cell, columns in zip(cells, widths, strict=True)).rstrip()

    def _print_summary(self, rows: Sequence[tuple[tuple[str, str], Row]]) -> None:
        """Print how many hosts have each component, by state."""
        counts: dict[str, Counter[str]] = {}
        for (_host, component), row in rows:
            counts.setdefault(self._entries()[component].title, Counter())[row.state] += 1
        columns = max(map(width, counts))
        for title, states in counts.items():
            told = ", ".join(f"{number} {state}" for state, number in states.most_common())
            self._say(f"{pad(title, columns)}  {told}")

    def _print_notes(self) -> None:
        if not self._notes:
            return
        self._say("\nNotes", C.COLOR_HIGHLIGHT)
        for note, found in self._notes.items():
            hosts = sorted(set(found), key=natural)
            # What holds for every host is no matter of hosts.
            everywhere = len(hosts) == len(self._expected) > 1
            self._say(f"- {note}" + ("" if everywhere else f" ({names(hosts, 5)})"), C.COLOR_WARN)

    def _print_failures(self, stats: Any) -> None:
        grouped: dict[Failure, list[str]] = {}
        for host, failures in self._failures.items():
            # A host's last failures are those that no rescue has answered.
            lasting = stats.failures.get(host, 0) + stats.dark.get(host, 0)
            for failure in failures[-lasting:] if lasting else []:
                grouped.setdefault(failure, []).append(host)
        if not grouped:
            return
        self._say("\nFailures", C.COLOR_HIGHLIGHT)
        stderr = bool(self.get_option("display_failed_stderr"))
        for failure, found in grouped.items():
            where = f" ({failure.place})" if failure.place else ""
            message = failure.message.replace("\n", "\n    ")
            hosts = names(sorted(set(found), key=natural), 20)
            self._say(f"- {hosts}: {failure.label}{where}\n    {message}", C.COLOR_ERROR, stderr=stderr)

    def _print_counts(self, stats: Any) -> None:
        self._display.banner("PLAY RECAP")
        quiet: list[str] = []
        hosts = sorted(stats.processed, key=natural)
        for host in hosts:
            counts = stats.summarize(host)
            calm = not any(counts[key] for key in ("changed", "unreachable", "failures", "rescued", "ignored"))
            if calm and len(hosts) > MOST_ROWS and not self._display.verbosity:
                quiet.append(host)
                continue
            for screen in (True, False):
                told = " ".join(
                    colorize(word, counts[key], color if screen else None) for key, (color, word) in COUNTS.items()
                )
                text = f"{hostcolor(host, counts, screen)} : {told}"
                self._display.display(text, screen_only=screen, log_only=not screen)
        if quiet:
            self._say(f"{len(quiet)} more hosts : changed=0 unreachable=0 failed=0")
