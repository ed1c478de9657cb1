#!/usr/bin/python
"""Bring a public status page of UptimeRobot to what is declared, and what it announces."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uptimerobot_status_page
short_description: Create, change and remove public status pages in UptimeRobot
version_added: "0.3.0"
description:
  - A status page is found by its id, or by its exact name. Two of one name are refused with their ids.
  - Only what the task names is compared, and only what differs is written. Monitors and tags are compared as sets.
  - Everything is checked before the first write, limits of the account's plan included.
  - Logo and icon are not handled; they stay as they are.
extends_documentation_fragment: [uptimerobot]
options:
  id:
    description: Number of the page. Left out, the name is the identity.
    type: int
  name:
    description: Title of the page, up to 255 characters. Needed, unless O(id) is given.
    type: str
  monitors:
    description: Monitors on it, by name or id. Given, they are all that are on it by themselves.
    type: list
    elements: str
  tags:
    description: Tags whose monitors are on it, those of later days included. Given, they are all of them.
    type: list
    elements: str
  all_monitors:
    description: Whether all monitors are on it, those of later days included.
    type: bool
  custom_domain:
    description: Name under which it is to be reached, too, with a CNAME to C(stats.uptimerobot.com). Empty takes it
      away. Not on the free plan.
    type: str
  password:
    description: Password that visitors have to give. UptimeRobot never tells it, and its API has no way to take it
      away.
    type: str
  update_password:
    description: V(on_create) sends the password to a page that has none. V(always) sends it in each run and reports a
      change each time.
    type: str
    choices: [on_create, always]
    default: on_create
  published:
    description: Whether visitors can see it.
    type: bool
  homepage:
    description: Where the title leads.
    type: str
  sort:
    description: Order of the monitors. Where UptimeRobot does not tell it, it goes along with any other change.
    type: str
    choices: [name_ascending, name_descending, up_first, down_first]
  no_index:
    description: Whether search engines are asked to leave it out.
    type: bool
  hide_powered_by:
    description: Whether the link to UptimeRobot in the footer is left out.
    type: bool
  subscriptions:
    description: Whether visitors can ask to be told of announcements by e-mail.
    type: bool
  theme:
    description: Its look.
    type: str
    choices: [light, dark]
  layout:
    description: Where the logo is.
    type: str
    choices: [logo_on_left, logo_on_center]
  density:
    description: How close the lines are.
    type: str
    choices: [normal, compact]
  font:
    description: Family of its font, one of Google's.
    type: str
  colors:
    description: Colours in hexadecimal digits, as in V(#1A7F37).
    type: dict
    suboptions:
      main: {description: Main colour., type: str}
      text: {description: Colour of text., type: str}
      link: {description: Colour of links., type: str}
  features:
    description: What is on it. What is left out stays as it is.
    type: dict
    suboptions:
      show_bars: {description: A bar for each day., type: bool}
      show_uptime_percentage: {description: The uptime beside each monitor., type: bool}
      enable_floating_status: {description: A line at the bottom that counts who is up., type: bool}
      show_overall_uptime: {description: The uptime of all monitors., type: bool}
      show_outage_updates: {description: 'Why a monitor was down, the status code for example.', type: bool}
      show_outage_details: {description: Outages by day., type: bool}
      enable_details_page: {description: A page for each monitor., type: bool}
      show_monitor_url: {description: Each monitor's address., type: bool}
      hide_paused_monitors: {description: Whether paused monitors are left out., type: bool}
  announcements:
    description: What the page announces. Found by the title; those that are not in the list stay. An announcement
      cannot be removed, only archived.
    type: list
    elements: dict
    suboptions:
      title: {description: 'Title, up to 255 characters.', type: str, required: true}
      content: {description: 'Text, up to 2000 characters.', type: str}
      type:
        description: What it is about.
        type: str
        choices: [info, maintenance, issue]
      status:
        description: V(draft) is seen by nobody, V(pending) waits for its start, V(published) is seen, V(archived) was.
        type: str
        choices: [draft, pending, published, archived]
      start: {description: 'Begin, with its zone, as in V(2026-12-31T22:00:00Z).', type: str}
      end: {description: 'End, in the same form.', type: str}
      pinned:
        description: Whether it stands at the top. One announcement of a page can.
        type: bool
  state:
    description: Whether it is to be there.
    type: str
    choices: [present, absent]
    default: present
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It says what would change. Monitors and tags that are not there yet are a warning.
    support: full
  diff_mode:
    description: It shows the options that differ; of the password only that it is sent.
    support: full
"""

EXAMPLES = r"""
- name: Show the shop's monitors to everybody
  uptimerobot_status_page:
    api_key: "{{ vault_uptimerobot_api_key }}"
    name: Shop status
    monitors: [Shop, Shop API health]
    homepage: https://shop.example.com
    theme: dark
    features: {show_bars: true, show_monitor_url: false}
  register: page

- name: Say where it is
  ansible.builtin.debug:
    msg: "{{ page.public_url }}"

- name: Have a page for the staff, with whatever has the tag
  uptimerobot_status_page:
    api_key: "{{ vault_uptimerobot_api_key }}"
    name: Everything
    tags: [production]
    password: "{{ vault_status_page_password }}"
    no_index: true

- name: Announce an update
  uptimerobot_status_page:
    api_key: "{{ vault_uptimerobot_api_key }}"
    name: Shop status
    announcements:
      - title: Update on New Year's Eve
        content: The shop is closed from 22 to 24 h UTC.
        type: maintenance
        status: published
        start: "2026-12-31T22:00:00Z"
        end: "2026-12-31T23:59:00Z"
        pinned: true

- name: Remove a page
  uptimerobot_status_page:
    api_key: "{{ vault_uptimerobot_api_key }}"
    name: Old status
    state: absent
"""

RETURN = r"""
actions:
  description: The changes, one by one; in check mode those that would be made.
  returned: always
  type: list
  elements: str
id:
  description: Number of the page; null if there is none, or none yet.
  returned: success
  type: int
public_url:
  description: Where visitors find it; empty if there is none, or none yet.
  returned: success
  type: str
status_page:
  description: What UptimeRobot tells of it, in the words of the options, monitors and tags by their ids.
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
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.uptimerobot import CONNECTION, plain
from ansible.module_utils.watchkeeper.uptimerobot_objects import (
    STATUS_PAGES,
    UNREADABLE,
    WITHOUT_CUSTOM_DOMAIN,
    Kind,
    RefusedError,
    converge,
    is_yes,
    name_of,
    narrowed,
    numbers,
    plan_of,
)

PUBLIC = "https://stats.uptimerobot.com/"
LONGEST_NAME = 255
# What stands for all monitors in the list of them.
EVERY_MONITOR = [0]
SHADE = re.compile(r"#?([0-9A-Fa-f]{3}|[0-9A-Fa-f]{4}|[0-9A-Fa-f]{6}|[0-9A-Fa-f]{8})")
# Options that are one field each, by its name.
FIELDS = {
    "name": "friendlyName",
    "custom_domain": "customDomain",
    "homepage": "homepageLink",
    "no_index": "noIndex",
    "hide_powered_by": "hideUrlLinks",
    "subscriptions": "subscription",
}
TEXTS = ("name", "custom_domain", "homepage")
SORTS = {
    "name_ascending": "FriendlyNameAsc",
    "name_descending": "FriendlyNameDesc",
    "up_first": "StatusUpDownPaused",
    "down_first": "StatusDownUpPaused",
}
LOOK = ("theme", "layout", "density")
SHADES = ("main", "text", "link")
FEATURES = {
    "show_bars": "showBars",
    "show_uptime_percentage": "showUptimePercentage",
    "enable_floating_status": "enableFloatingStatus",
    "show_overall_uptime": "showOverallUptime",
    "show_outage_updates": "showOutageUpdates",
    "show_outage_details": "showOutageDetails",
    "enable_details_page": "enableDetailsPage",
    "show_monitor_url": "showMonitorURL",
    "hide_paused_monitors": "hidePausedMonitors",
}
# UptimeRobot has them in one field, which is written whole.
SETTINGS = (*LOOK, "font", "colors", "features")
STATUSES = {"draft": "Offline", "pending": "Pending", "published": "Published", "archived": "Archived"}
LONGEST_CONTENT = 2000
ANNOUNCEMENT: dict[str, Any] = {
    "title": {"type": "str", "required": True},
    "content": {"type": "str"},
    "type": {"type": "str", "choices": ["info", "maintenance", "issue"]},
    "status": {"type": "str", "choices": list(STATUSES)},
    "start": {"type": "str"},
    "end": {"type": "str"},
    "pinned": {"type": "bool"},
}
ARGUMENTS: dict[str, Any] = {
    **CONNECTION,
    "id": {"type": "int"},
    "name": {"type": "str"},
    "monitors": {"type": "list", "elements": "str"},
    "tags": {"type": "list", "elements": "str"},
    "all_monitors": {"type": "bool"},
    "custom_domain": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "update_password": {"type": "str", "choices": ["on_create", "always"], "default": "on_create", "no_log": False},
    "published": {"type": "bool"},
    "homepage": {"type": "str"},
    "sort": {"type": "str", "choices": list(SORTS)},
    "no_index": {"type": "bool"},
    "hide_powered_by": {"type": "bool"},
    "subscriptions": {"type": "bool"},
    "theme": {"type": "str", "choices": ["light", "dark"]},
    "layout": {"type": "str", "choices": ["logo_on_left", "logo_on_center"]},
    "density": {"type": "str", "choices": ["normal", "compact"]},
    "font": {"type": "str"},
    "colors": {"type": "dict", "options": {shade: {"type": "str"} for shade in SHADES}},
    "features": {"type": "dict", "options": {feature: {"type": "bool"} for feature in FEATURES}},
    "announcements": {"type": "list", "elements": "dict", "options": ANNOUNCEMENT},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def shade(text: Any) -> str:
    """Return a colour in one form."""
    return str(text or "").lstrip("#").upper()


def words(text: Any) -> str:
    """Return a word of the service in small letters with underscores."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(text or "")).lower()


def moment(text: Any) -> str:
    """Return a moment in UTC, to the second; raise ValueError when it is none."""
    if not text:
        return ""
    # Before 3.11, Python knows neither Z nor any number of digits behind the point.
    read = re.sub(r"\.\d+", "", str(text).strip())
    when = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", read))
    if when.tzinfo is None:
        raise ValueError("it has no zone")
    return when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def told_moment(text: Any) -> str:
    """Return a moment that the service tells, as it is where it is in no known form."""
    try:
        return moment(text)
    except ValueError:
        return str(text)


def given(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a mapping of the task really says."""
    return {key: value for key, value in (options or {}).items() if value is not None}


def sort_of(raw: Mapping[str, Any]) -> Any:
    """Return the order of the monitors; UptimeRobot says a word, a number from 1 on, or nothing."""
    text = str(raw.get("sort") or "")
    if text.isdigit() and 1 <= int(text) <= len(SORTS):
        return list(SORTS)[int(text) - 1]
    return next((word for word, said in SORTS.items() if said == text), UNREADABLE)


class StatusPage(Kind):
    """The status page of the task."""

    noun = "status page"
    key = "status_page"
    path = "/psps"
    secret = ("password",)
    # Announcements by title, as they are.
    announced: Mapping[str, dict[str, Any]] = {}

    def problems(self) -> list[str]:
        """Return what is wrong with the task by itself."""
        params, found = self.params, super().problems()
        if params["name"] and len(params["name"]) > LONGEST_NAME:
            found.append(f"name is {params['name']!r}; UptimeRobot allows {LONGEST_NAME} characters")
        if params["all_monitors"] and params["monitors"] is not None:
            found.append("all_monitors is true, so monitors must be left out")
        if params["password"] == "":
            found.append("password is empty; UptimeRobot's API takes none away: do it on UptimeRobot's own pages")
        for which, text in given(params["colors"]).items():
            if not SHADE.fullmatch(text):
                found.append(f"colors.{which} is {text!r}; it must be hexadecimal digits like #1A7F37")
        titles = [item["title"] for item in params["announcements"] or []]
        for item in params["announcements"] or []:
            found += self.announcement_problems(item, titles)
        if sum(bool(item["pinned"]) for item in params["announcements"] or []) > 1:
            found.append("announcements pins more than one; a page has one at its top: set pinned on that one only")
        return found

    def announcement_problems(self, item: Mapping[str, Any], titles: list[str]) -> list[str]:
        """Return what is wrong with an announcement."""
        where, found = f"announcement {item['title']!r}", []
        if titles.count(item["title"]) > 1:
            found.append(f"announcements has the title {item['title']!r} more than once")
        if not item["title"].strip() or len(item["title"]) > LONGEST_NAME:
            found.append(f"{where}: title must have 1 to {LONGEST_NAME} characters")
        if len(item["content"] or "") > LONGEST_CONTENT:
            found.append(f"{where}: content has {len(item['content'])} characters of {LONGEST_CONTENT}")
        for option in ("start", "end"):
            try:
                moment(item[option])
            except ValueError:
                found.append(f"{where}: {option} is {item[option]!r}; it must be like 2026-12-31T22:00:00Z")
        return found

    def needed(self) -> list[str]:
        """Return what a new page lacks in this task."""
        return [] if self.params["name"] else [f"{self.title}: name is needed to make it"]

    def shown(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer in the words of the options."""
        custom = raw.get("customSettings") or {}
        look, shades, features = (custom.get(part) or {} for part in ("page", "colors", "features"))
        whole = self.has_all(raw)
        return {
            **{option: is_yes(raw.get(field)) for option, field in FIELDS.items() if option not in TEXTS},
            **{option: plain(str(raw.get(FIELDS[option]) or "")) for option in TEXTS},
            "published": str(raw.get("status") or "").upper() not in ("PAUSED", "0"),
            "monitors": [] if whole else numbers(raw.get("monitorIds")),
            "tags": numbers(raw.get("tagIds")),
            "all_monitors": whole,
            "password": UNREADABLE if is_yes(raw.get("isPasswordSet")) else "",
            "sort": sort_of(raw),
            **{part: words(look.get(part)) for part in LOOK},
            "font": (custom.get("font") or {}).get("family") or "",
            "colors": {which: shade(shades.get(which)) for which in SHADES},
            # They come as text, and as null where nobody has chosen.
            "features": {
                option: None if features.get(field) is None else is_yes(features[field])
                for option, field in FEATURES.items()
            },
        }

    @staticmethod
    def has_all(raw: Mapping[str, Any]) -> bool:
        """Tell whether all monitors are on a page: it says so, or has a list with 0 alone, or no list at all."""
        ids = raw.get("monitorIds")
        if is_yes(raw.get("autoAddMonitors")) or ids == EVERY_MONITOR:
            return True
        return "monitorIds" in raw and ids is None and not raw.get("tagIds") and raw.get("monitorsCount") != 0

    def wanted(self, live: Mapping[str, Any] | None) -> dict[str, Any]:  # noqa: ARG002
        """Return what the task asserts."""
        params = self.params
        simple = (*FIELDS, "published", "password", "sort", *LOOK, "font")
        values = {option: params[option] for option in simple if params[option] is not None}
        if params["all_monitors"] is not None:
            values["all_monitors"] = params["all_monitors"]
        if params["monitors"] is not None:
            values["all_monitors"] = False
            values["monitors"] = self.directory.monitor_ids(params["monitors"], "monitors")
        if params["tags"] is not None:
            values["tags"] = self.directory.tag_ids(params["tags"], "tags")
        if given(params["colors"]):
            values["colors"] = {which: shade(text) for which, text in given(params["colors"]).items()}
        if given(params["features"]):
            values["features"] = given(params["features"])
        return values

    def always(self, option: str) -> bool:
        """Tell whether a value that cannot be read is sent in each run."""
        word = self.params["update_password"]
        return option == "password" and word == "always"

    def body(self, values: Mapping[str, Any], live: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the request that gives a page these values."""
        data: dict[str, Any] = {field: values[option] for option, field in FIELDS.items() if option in values}
        for option, field in (("monitors", "monitorIds"), ("tags", "tagIds"), ("password", "password")):
            if option in values:
                data[field] = values[option]
        if "all_monitors" in values:
            data["autoAddMonitors"] = values["all_monitors"]
            if not values["all_monitors"] and live is not None:
                data.setdefault("monitorIds", [])
        if "published" in values:
            data["status"] = "ENABLED" if values["published"] else "PAUSED"
        if self.params["sort"]:
            data["sort"] = SORTS[self.params["sort"]]
        if set(SETTINGS) & set(values):
            data["customSettings"] = self.settings(values, live)
        return data

    def settings(self, values: Mapping[str, Any], live: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the look of a page: what is there with what changes."""
        there = self.shown(live or {})
        merged = {
            part: {**there[part], **values.get(part, {})}
            if isinstance(there[part], dict)
            else values.get(part, there[part])
            for part in SETTINGS
        }
        data: dict[str, Any] = {
            "page": {part: merged[part] for part in LOOK if merged[part]},
            "colors": {which: f"#{text}" for which, text in merged["colors"].items() if text},
            "features": {
                FEATURES[option]: chosen for option, chosen in merged["features"].items() if chosen is not None
            },
        }
        if merged["font"]:
            data["font"] = {"family": merged["font"]}
        return data

    def limits(self, live: Mapping[str, Any] | None, changed: Mapping[str, Any]) -> list[str]:
        """Return why the account's plan does not let this be."""
        found = []
        if changed.get("custom_domain"):
            plan = plan_of(self.client)
            if plan.lower() in WITHOUT_CUSTOM_DOMAIN:
                found.append(
                    f"{self.title}: custom_domain is {changed['custom_domain']!r}, and the account's plan {plan} has "
                    "none: leave it out, or take another plan"
                )
        if live is None and self.listed:
            plan = plan_of(self.client)
            most = STATUS_PAGES.get(plan.lower(), len(self.listed) + 1)
            if len(self.listed) >= most:
                there = ", ".join(f"{name_of(one)} (id {one['id']})" for one in self.listed)
                found.append(
                    f"{self.title}: the account's plan {plan} has {most} status page, and there is {there}: set id to "
                    "that one to have it changed, remove it first, or take another plan"
                )
        return found

    def results(self, now: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what the module says of the page."""
        address = f"{PUBLIC}{now['urlKey']}" if now and now.get("urlKey") else ""
        return {**super().results(now), "public_url": address}

    # What it announces

    def shown_announcement(self, raw: Mapping[str, Any], pinned: Any) -> dict[str, Any]:
        """Return an announcement in the words of its options."""
        said = str(raw.get("status") or "").lower()
        return {
            "title": plain(str(raw.get("title") or "")),
            "content": plain(str(raw.get("content") or "")),
            "type": str(raw.get("type") or "").lower(),
            "status": next((word for word, name in STATUSES.items() if name.lower() == said), said),
            "start": told_moment(raw.get("startDate")),
            "end": told_moment(raw.get("endDate")),
            "pinned": pinned is not None and str(pinned) == str(raw["id"]),
        }

    def look_further(self, live: Mapping[str, Any] | None) -> None:
        """Read the announcements, if the task has some."""
        if not self.params["announcements"] or live is None:
            return
        found: dict[str, list[dict[str, Any]]] = {}
        for raw in self.client.listing(f"{self.path}/{live['id']}/announcements"):
            found.setdefault(plain(str(raw.get("title") or "")), []).append(raw)
        for item in self.params["announcements"]:
            same = found.get(item["title"], [])
            if len(same) > 1:
                ids = ", ".join(str(raw["id"]) for raw in same)
                raise RefusedError(
                    f"{self.title}: {len(same)} announcements have the title {item['title']!r} (ids {ids}); give all "
                    "but one another title on UptimeRobot's own pages"
                )
        self.announced = {title: one[0] for title, one in found.items()}

    def write_further(self, now: Mapping[str, Any] | None, check_mode: bool) -> list[tuple[str, Any, Any]]:
        """Make or change the announcements of the task."""
        notes: list[tuple[str, Any, Any]] = []
        pinned = (now or {}).get("pinnedAnnouncementId")
        for item in self.params["announcements"] or []:
            raw = self.announced.get(item["title"])
            wanted = {**given(item), **{key: moment(item[key]) for key in ("start", "end") if item[key]}}
            before = narrowed(self.shown_announcement(raw, pinned), wanted) if raw else None
            if before is None and not wanted.get("pinned"):
                wanted.pop("pinned", None)
            changed = {key: value for key, value in wanted.items() if before is None or before[key] != value}
            if not changed:
                continue
            what = f"changed {', '.join(sorted(changed))} of" if before else "created"
            if now and not check_mode:
                self.write_announcement(f"{self.path}/{now['id']}/announcements", raw, changed, wanted)
            was = narrowed(before, changed) if before else None
            notes.append((f"{what} announcement {item['title']}", was, changed))
        return notes

    def write_announcement(
        self, path: str, raw: Mapping[str, Any] | None, changed: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> None:
        """Write one announcement, and wait until the list shows it."""
        data = {key: changed[key] for key in ("title", "content") if key in changed}
        if "type" in changed:
            data["type"] = changed["type"].capitalize()
        if "status" in changed:
            data["status"] = STATUSES[changed["status"]]
        data.update({f"{key}Date": changed[key] for key in ("start", "end") if key in changed})
        number = (raw or {}).get("id")
        if data:
            number = self.send("PATCH" if raw else "POST", f"{path}/{number}" if raw else path, data)["id"]
        if "pinned" in changed:
            self.client.send("POST", f"{path}/{number}/{'pin' if changed['pinned'] else 'unpin'}", repeatable=False)

        def good(listed: list[dict[str, Any]]) -> bool:
            found = [self.shown_announcement(one, None) for one in listed if str(one["id"]) == str(number)]
            return bool(found) and all(found[0][key] == value for key, value in wanted.items() if key != "pinned")

        if not self.settled(path, good):
            self.directory.warn(f"{self.title}: an announcement was written, but UptimeRobot does not show it yet")


def main() -> None:
    """Do it, or say what would be done."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_one_of=[("id", "name")],
        supports_check_mode=True,
    )
    converge(module, StatusPage)


if __name__ == "__main__":
    main()
