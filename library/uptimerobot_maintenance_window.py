#!/usr/bin/python
"""Bring a maintenance window of UptimeRobot to what is declared."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uptimerobot_maintenance_window
short_description: Create, change, pause and remove maintenance windows in UptimeRobot
version_added: "0.3.0"
description:
  - While a window is open, its monitors are not checked and nobody is told of them.
  - It is found by its id, or by its exact name. Two of one name are refused with their ids.
  - Only what the task names is compared, and only what differs is written.
  - A window for all monitors and one for some cannot become each other at UptimeRobot. The module makes a new one
    first and then removes the old one, so that the id changes.
  - UptimeRobot does not say in which time zone it takes O(date) and O(time). The module takes them as they are, and
    means UTC where it goes by the clock itself.
extends_documentation_fragment: [uptimerobot]
options:
  id:
    description: Number of the window. Left out, the name is the identity.
    type: int
  name:
    description: Name that people see, 3 to 255 characters. Needed, unless O(id) is given.
    type: str
  interval:
    description: How often it opens. Needed for a new one.
    type: str
    choices: [once, daily, weekly, monthly]
  date:
    description: Day on which it opens, or from which on it does, as in V(2026-12-31). Left out, that is the day
      on which it is made.
    type: str
  time:
    description:
      - When it opens, as in V(22:30). Needed for a new one that is not V(once).
      - A window V(once) without date and time opens as it is made. A later run leaves it as it is while it is open,
        and opens it anew when it is over.
    type: str
  duration:
    description: How long it stays open, in minutes or as in V(90m) or V(2h). Needed for a new one.
    type: str
  days:
    description: For V(weekly) the days of the week, from V(mon) to V(sun) or V(1) to V(7); for V(monthly) the days of
      the month, from V(1) to V(31), or V(last).
    type: list
    elements: str
  monitors:
    description: Monitors by name or id. Given, with those of O(tags), they are all of them.
    type: list
    elements: str
  tags:
    description: Tags; all monitors that have one of them now. A monitor that gets one later is added by the next run.
    type: list
    elements: str
  all_monitors:
    description: Whether it is for all monitors, those of later days included.
    type: bool
  state:
    description: Whether it is to be there, and in force. One that is V(paused) keeps its plan and does not open.
    type: str
    choices: [present, paused, absent]
    default: present
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It says what would change. Monitors that are not there yet are a warning.
    support: full
  diff_mode:
    description: It shows the options that differ.
    support: full
"""

EXAMPLES = r"""
- name: Keep quiet while the shop is updated, from now on for two hours
  uptimerobot_maintenance_window:
    api_key: "{{ vault_uptimerobot_api_key }}"
    name: Update of the shop
    interval: once
    duration: 2h
    tags: [shop]

- name: Know that the nightly backup is slow
  uptimerobot_maintenance_window:
    api_key: "{{ vault_uptimerobot_api_key }}"
    name: Backup
    interval: weekly
    days: [tue, thu]
    time: "02:30"
    duration: 45m
    monitors: [Shop, Shop API health]

- name: End the update early
  uptimerobot_maintenance_window:
    api_key: "{{ vault_uptimerobot_api_key }}"
    name: Update of the shop
    state: absent
"""

RETURN = r"""
actions:
  description: The changes, one by one; in check mode those that would be made.
  returned: always
  type: list
  elements: str
id:
  description: Number of the window; null if there is none, or none yet.
  returned: success
  type: int
window:
  description: What UptimeRobot tells of it, in the words of the options; C(duration) is in minutes.
  returned: success
  type: dict
requests:
  description: How many requests were sent.
  returned: always
  type: int
waited:
  description: How many seconds the account's limit of requests has cost.
  returned: always
  type: int
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.durations import parse_duration
from ansible.module_utils.watchkeeper.uptimerobot import CONNECTION
from ansible.module_utils.watchkeeper.uptimerobot_objects import Kind, RefusedError, converge, is_yes, numbers

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WITH_DAYS = ("weekly", "monthly")
SHORTEST_NAME, LONGEST_NAME = 3, 255
TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?")
ARGUMENTS: dict[str, Any] = {
    **CONNECTION,
    "id": {"type": "int"},
    "name": {"type": "str"},
    "interval": {"type": "str", "choices": ["once", "daily", "weekly", "monthly"]},
    "date": {"type": "str"},
    "time": {"type": "str"},
    "duration": {"type": "str"},
    "days": {"type": "list", "elements": "str"},
    "monitors": {"type": "list", "elements": "str"},
    "tags": {"type": "list", "elements": "str"},
    "all_monitors": {"type": "bool"},
    "state": {"type": "str", "choices": ["present", "paused", "absent"], "default": "present"},
}


def minutes(text: str) -> int:
    """Return a duration in minutes, rounded up; raise ValueError with what is allowed."""
    try:
        seconds = int(text) * 60.0 if text.isdigit() else parse_duration(text)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise ValueError(f"duration is {text!r}; it must be a number of minutes, or like 90m or 2h")
    return int(-(-seconds // 60))


def weekday_or_day(text: str, interval: str) -> int:
    """Return a day as UptimeRobot counts it; raise ValueError with what is allowed."""
    word = text.strip().lower()
    if interval == "weekly":
        if word[:3] in WEEK and word.isalpha():
            return WEEK.index(word[:3]) + 1
        if word.isdigit() and 1 <= int(word) <= len(WEEK):
            return int(word)
        raise ValueError(f"days holds {text!r}; with interval weekly it takes mon to sun, or 1 (Monday) to 7")
    if word in ("last", "-1"):
        return -1
    if word.isdigit() and 1 <= int(word) <= 31:
        return int(word)
    raise ValueError(f"days holds {text!r}; with interval monthly it takes 1 to 31, or last")


def full_time(text: str) -> str:
    """Return a time of day with its seconds."""
    return text if text.count(":") > 1 else f"{text}:00"


def over(raw: Mapping[str, Any], now: datetime) -> bool:
    """Tell whether a window that opens once has closed, by UTC."""
    try:
        opened = datetime.fromisoformat(f"{str(raw.get('date'))[:10]}T{raw.get('time')}+00:00")
    except ValueError:
        return False
    return bool(opened + timedelta(minutes=float(raw.get("duration") or 0)) <= now)


class Window(Kind):
    """The maintenance window of the task."""

    noun = "maintenance window"
    key = "window"
    path = "/maintenance-windows"
    name_key = "name"

    def problems(self) -> list[str]:
        """Return what is wrong with the task by itself."""
        params, found = self.params, super().problems()
        if params["name"] and not SHORTEST_NAME <= len(params["name"]) <= LONGEST_NAME:
            found.append(f"name is {params['name']!r}; UptimeRobot allows {SHORTEST_NAME} to {LONGEST_NAME} characters")
        if params["date"]:
            try:
                datetime.strptime(params["date"], "%Y-%m-%d").replace(tzinfo=timezone.utc)
            except ValueError:
                found.append(f"date is {params['date']!r}; it must be a day like 2026-12-31")
        if params["time"] and not TIME.fullmatch(params["time"]):
            found.append(f"time is {params['time']!r}; it must be a time of day like 22:30, in quotes")
        try:
            if params["duration"] is not None:
                minutes(params["duration"])
            if params["interval"] in WITH_DAYS:
                for day in params["days"] or []:
                    weekday_or_day(day, params["interval"])
        except ValueError as error:
            found.append(str(error))
        if params["days"] and params["interval"] not in (None, *WITH_DAYS):
            found.append(f"days is for interval weekly or monthly, and interval is {params['interval']}: leave it out")
        if params["all_monitors"] and (params["monitors"] is not None or params["tags"] is not None):
            found.append("all_monitors is true, so monitors and tags must be left out")
        return found

    def needed(self) -> list[str]:
        """Return what a new window lacks in this task."""
        params = self.params
        lacking = [option for option in ("name", "interval", "duration") if not params[option]]
        if params["interval"] not in (None, "once") and not params["time"]:
            lacking.append("time")
        if params["interval"] in WITH_DAYS and not params["days"]:
            lacking.append("days")
        if params["interval"] == "once" and params["date"] and not params["time"]:
            lacking.append("time")
        return [f"{self.title}: {', '.join(lacking)} needed to make it"] if lacking else []

    def shown(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer in the words of the options."""
        whole = is_yes(raw.get("autoAddMonitors"))
        return {
            "name": raw.get("name") or "",
            "interval": str(raw.get("interval") or "").lower(),
            "date": str(raw.get("date") or "")[:10],
            "time": full_time(str(raw.get("time") or "")),
            "duration": int(float(raw.get("duration") or 0)),
            "days": numbers(raw.get("days")),
            "all_monitors": whole,
            "monitors": [] if whole else numbers(raw.get("monitorIds")),
            "paused": str(raw.get("status") or "").lower() == "paused",
        }

    def wanted(self, live: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what the task asserts."""
        params = self.params
        values: dict[str, Any] = {key: params[key] for key in ("name", "interval", "date") if params[key]}
        if params["time"]:
            values["time"] = full_time(params["time"])
        if params["duration"] is not None:
            values["duration"] = minutes(params["duration"])
        interval = params["interval"] or self.shown(live or {})["interval"]
        if params["days"] is not None:
            if interval not in WITH_DAYS:
                raise RefusedError(
                    f"{self.title}: days is for interval weekly or monthly, and its interval is {interval}"
                )
            try:
                values["days"] = numbers(weekday_or_day(day, interval) for day in params["days"])
            except ValueError as error:
                raise RefusedError(f"{self.title}: {error}") from None
        elif params["interval"] in ("once", "daily"):
            values["days"] = []
        values.update(self.opening(live, interval))
        values.update(self.members())
        values["paused"] = params["state"] == "paused"
        return values

    def opening(self, live: Mapping[str, Any] | None, interval: str) -> dict[str, str]:
        """Return when it opens where the task does not say: as it is made, and anew when that is over."""
        if self.params["date"] or (interval != "once" and live is not None):
            return {}
        # To the minute, so that no second of the work is watched.
        now = datetime.now(timezone.utc).replace(microsecond=0, second=0)
        if self.params["time"]:
            return {} if live is not None else {"date": now.date().isoformat()}
        if live is not None and interval == self.shown(live)["interval"] and not over(live, now):
            return {}
        return {"date": now.date().isoformat(), "time": now.time().isoformat()}

    def members(self) -> dict[str, Any]:
        """Return which monitors it is for."""
        params = self.params
        if params["all_monitors"]:
            return {"all_monitors": True}
        if params["monitors"] is None and params["tags"] is None:
            return {} if params["all_monitors"] is None else {"all_monitors": False}
        ids = self.directory.monitor_ids(params["monitors"] or [], "monitors")
        ids += self.directory.tagged_ids(params["tags"] or [], "tags")
        return {"all_monitors": False, "monitors": numbers(ids)}

    def body(self, values: Mapping[str, Any], live: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the request that gives a window these values; a new one is never paused."""
        plain_names = ("name", "interval", "date", "time", "duration")
        data = {key: values[key] for key in plain_names if key in values}
        if "monitors" in values:
            data["monitorIds"] = values["monitors"]
        if "days" in values and (live is not None or values["days"]):
            data["days"] = values["days"]
        if live is None and "all_monitors" in values:
            data["autoAddMonitors"] = values["all_monitors"]
            if values["all_monitors"]:
                data.pop("monitorIds", None)
        if live is not None and "paused" in values:
            data["status"] = "paused" if values["paused"] else "active"
        return data

    def replaces(self, live: Mapping[str, Any], changed: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """Tell whether it has to be made anew: whether it is for all is settled when it is made."""
        return "all_monitors" in changed

    def carried(self, live: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a window in the place of the old one takes over: one for all has no list of its own."""
        taken = super().carried(live, wanted)
        if wanted.get("all_monitors"):
            del taken["monitors"]
        return taken


def main() -> None:
    """Do it, or say what would be done."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_one_of=[("id", "name")],
        supports_check_mode=True,
    )
    converge(module, Window)


if __name__ == "__main__":
    main()
