"""What the modules for UptimeRobot's smaller objects share: find one, compare what a task asserts, write what differs.

A module describes its kind of object as a subclass of `Kind`: how an answer of the service reads in the words of the
module's options, and which bodies the service takes. `converge` does the rest in the same way for all of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

from ansible.module_utils.watchkeeper.http_api import HIDDEN, quoted, rendered
from ansible.module_utils.watchkeeper.uptimerobot import FOREIGN_CODE, UptimeRobot, UptimeRobotError, plain, readable

# A value that the service keeps to itself.
UNREADABLE = object()
# The waits until the service's own lists show what was written: reads lag behind writes.
SETTLE = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
GONE = (404, 410)
# The names of plans are labels and may change: one that is not known here is left to the service.
WITHOUT_EXPIRY_REMINDERS = ("free",)
WITHOUT_CUSTOM_DOMAIN = ("free",)
WITHOUT_PAGERDUTY = ("free", "solo")
STATUS_PAGES = {"free": 1}

# As the service says it in integrations; contacts have the place in this list.
EVENTS = {"up_and_down": "UpAndDown", "down": "Down", "up": "Up", "none": "None"}


class RefusedError(Exception):
    """What the task asks for cannot be; nothing was written."""


def plan_of(client: UptimeRobot) -> str:
    """Return the name of the account's plan as UptimeRobot shows it; empty where it does not."""
    return str((client.account().get("activeSubscription") or {}).get("plan") or "")


def same_id(one: Any, other: Any) -> bool:
    """Tell whether two ids are the same: the service says them as numbers or as strings."""
    return str(one) == str(other)


def name_of(raw: Mapping[str, Any], key: str = "friendlyName") -> str:
    """Return the name of an object; the client has made it plain."""
    return str(raw.get(key) or "")


def events(value: Any) -> str:
    """Return what a contact is told of, in the option's words; the service says a word or its number."""
    words = list(EVENTS)
    text = str(value).strip()
    if text.isdigit() and int(text) < len(words):
        return words[int(text)]
    return next((word for word, said in EVENTS.items() if said.lower() == text.lower()), text)


def numbers(values: Any) -> list[int]:
    """Return a list of numbers as a set would have them: in order, each once."""
    return sorted({int(value) for value in values or []})


def is_yes(value: Any) -> bool:
    """Return a flag that the service says as a boolean, a number or a word."""
    return str(value).strip().lower() in ("true", "1")


def narrowed(before: Any, after: Any) -> Any:
    """Return what is there in the form of what is asserted: of a mapping only the keys that the task names."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return {key: before.get(key) for key in after}
    return before


def closest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the names that come close."""
    found = difflib.get_close_matches(name, sorted(set(known)), 3)
    return f"; did you mean {' or '.join(repr(one) for one in found)}?" if found else ""


class Directory:
    """The monitors and tags of the account, read at most once and only when something names one."""

    def __init__(self, client: UptimeRobot, check_mode: bool, warn: Callable[[str], None]) -> None:
        self.client, self.check_mode, self.warn = client, check_mode, warn
        self._monitors: list[dict[str, Any]] | None = None
        self._tags: list[dict[str, Any]] | None = None

    def monitors(self) -> list[dict[str, Any]]:
        """Return all monitors."""
        if self._monitors is None:
            self._monitors = self.client.listing("/monitors")
        return self._monitors

    def monitor_ids(self, asked: Sequence[Any], option: str) -> list[int]:
        """Return the ids of monitors that are given by name or id; an id that starts nobody's name is an id."""
        found: list[int] = []
        for one in asked:
            words = str(one)
            named = [raw["id"] for raw in self.monitors() if name_of(raw) == words]
            if not named and words.isdigit():
                named = [raw["id"] for raw in self.monitors() if same_id(raw["id"], words)]
            if len(named) > 1:
                ids = ", ".join(str(number) for number in sorted(int(number) for number in named))
                raise RefusedError(
                    f"{option} names {words!r}, and {len(named)} monitors have this name (ids {ids}): give the id of "
                    "the one that is meant"
                )
            if named:
                found.append(int(named[0]))
            else:
                self.unknown(
                    f"{option} names {words!r}, but the account has no monitor of this name or id"
                    + closest(words, (name_of(raw) for raw in self.monitors()))
                )
        return numbers(found)

    def tagged_ids(self, asked: Sequence[str], option: str) -> list[int]:
        """Return the ids of the monitors that have one of these tags."""
        found: list[int] = []
        for tag in asked:
            having = [raw["id"] for raw in self.monitors() if tag.lower() in tags_of(raw)]
            if not having:
                self.unknown(f"{option} names the tag {tag!r}, but no monitor has it: give it to one first")
            found += [int(number) for number in having]
        return numbers(found)

    def tag_ids(self, asked: Sequence[str], option: str) -> list[int]:
        """Return the ids of tags; the service makes a tag when a monitor gets it."""
        if self._tags is None:
            self._tags = self.client.listing("/tags")
        known = {name_of(raw, "name").lower(): int(raw["id"]) for raw in self._tags}
        for tag in asked:
            if tag.lower() not in known:
                self.unknown(
                    f"{option} names the tag {tag!r}, but the account has no such tag: give it to a monitor first"
                    + closest(tag.lower(), known)
                )
        return numbers(known[tag.lower()] for tag in asked if tag.lower() in known)

    def names(self, ids: Iterable[int]) -> list[str]:
        """Return monitors as people call them, for a diff."""
        known = {int(raw["id"]): name_of(raw) for raw in self._monitors or []}
        return sorted(known.get(number, str(number)) for number in ids)

    def unknown(self, text: str) -> None:
        """Refuse a name that nobody has. In check mode an earlier task may have been about to make it."""
        if not self.check_mode:
            raise RefusedError(text)
        self.warn(f"{text}. In check mode it is taken for one that an earlier task would make")


def tags_of(monitor: Mapping[str, Any]) -> set[str]:
    """Return the names of a monitor's tags."""
    return {
        plain(name_of(tag, "name") if isinstance(tag, Mapping) else str(tag)).lower()
        for tag in monitor.get("tags") or []
    }


class Kind:
    """One kind of object, and the one object of it that a task is about."""

    noun = "object"
    # The key of the result that holds it.
    key = "object"
    path = "/"
    name_key = "friendlyName"
    # Options whose values are never shown.
    secret: tuple[str, ...] = ()
    # Options that only a new object takes.
    fixed: tuple[str, ...] = ()

    def __init__(self, client: UptimeRobot, params: Mapping[str, Any], directory: Directory) -> None:
        self.client, self.params, self.directory = client, params, directory
        self.listed: list[dict[str, Any]] = []

    # What a module says of its kind

    def problems(self) -> list[str]:
        """Return what is wrong with the task by itself, before anybody is asked."""
        name = self.params["name"] or ""
        if name.strip() != name or plain(name) != name:
            return [f"name is {name!r}; it must have no space around it and no HTML entity such as &amp; in it"]
        return []

    def shown(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer of the service in the words of the options."""
        raise NotImplementedError

    def wanted(self, live: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what the task asserts, in the form of `shown`."""
        raise NotImplementedError

    def body(self, values: Mapping[str, Any], live: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the request that gives an object these values; `live` is None for a new one."""
        raise NotImplementedError

    def needed(self) -> list[str]:
        """Return what a new object lacks in this task."""
        return []

    def limits(self, live: Mapping[str, Any] | None, changed: Mapping[str, Any]) -> list[str]:  # noqa: ARG002
        """Return why the account's plan, or another object, does not let this be."""
        return []

    def always(self, option: str) -> bool:  # noqa: ARG002
        """Tell whether a value that cannot be read is sent in each run."""
        return False

    def look_further(self, live: Mapping[str, Any] | None) -> None:
        """Look at what belongs to the object, before anything is written."""

    def write_further(self, now: Mapping[str, Any] | None, check_mode: bool) -> list[tuple[str, Any, Any]]:  # noqa: ARG002
        """Write what belongs to the object; return each change with what was there and what is now."""
        return []

    def results(self, now: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what the module says of the object."""
        return {"id": int(now["id"]) if now else None, self.key: self.public(now) if now else {}}

    def replaces(self, live: Mapping[str, Any], changed: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """Tell whether a change needs a new object in the place of the old one."""
        return False

    def carried(self, live: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return what a new object in the place of the old one takes over."""
        return {key: value for key, value in self.shown(live).items() if value is not UNREADABLE}

    def public(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a result may tell."""
        values = {key: value for key, value in self.shown(raw).items() if key not in self.secret}
        return {"id": int(raw["id"]), **{key: value for key, value in values.items() if value is not UNREADABLE}}

    def matches(self, raw: Mapping[str, Any]) -> bool:
        """Tell whether a listed object is the one that the task names."""
        return bool(name_of(raw, self.name_key) == self.params["name"])

    # What follows from it

    @property
    def title(self) -> str:
        """How it is called in messages."""
        return f"{self.noun} {self.params['name'] or self.params['id']}"

    def find(self) -> dict[str, Any] | None:
        """Return the object as it is, None where there is none."""
        self.listed = self.client.listing(self.path)
        number = self.params["id"]
        if number is not None:
            return next((raw for raw in self.listed if same_id(raw["id"], number)), None) or self.unlisted(number)
        found = [raw for raw in self.listed if self.matches(raw)]
        if len(found) > 1:
            ids = ", ".join(str(raw["id"]) for raw in found)
            raise RefusedError(
                f"{self.title}: {len(found)} have this name (ids {ids}); set id to the one that is meant, or remove "
                "the others"
            )
        return found[0] if found else None

    def unlisted(self, number: int) -> dict[str, Any] | None:
        """Return an object that the list does not have by its id; it may be gone, or somebody else's."""
        try:
            return dict(readable(self.client.get(f"{self.path}/{quoted(str(number))}")))
        except UptimeRobotError as error:
            if error.code == FOREIGN_CODE:
                raise RefusedError(
                    f"id is {number}: this {self.noun} belongs to another account than api_key does; use a key of that "
                    "account, or leave id out and give a name"
                ) from None
            if error.status not in GONE:
                raise
            if self.params["state"] == "absent":
                return None
            raise RefusedError(
                f"id is {number}, but the account has no {self.noun} with this id; leave id out to have one made"
            ) from None

    def differences(self, wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of the asserted values that are not there."""
        there = self.shown(live)
        return {key: value for key, value in wanted.items() if self.differs(key, there.get(key), value)}

    def differs(self, key: str, before: Any, after: Any) -> bool:
        """Tell whether one value has to be written."""
        if before is UNREADABLE:
            return self.always(key)
        return bool(narrowed(before, after) != after)

    def told(self, key: str, value: Any, new: bool) -> Any:
        """Return a value as a diff may show it."""
        if key in self.secret:
            return f"{HIDDEN} (new)" if new else (HIDDEN if value else "")
        if value is UNREADABLE:
            return "(not told by UptimeRobot)"
        if key == "monitors" and isinstance(value, list):
            return self.directory.names(value)
        return value

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Write, once: nobody knows what became of a write that failed."""
        return readable(self.client.send(method, path, body, repeatable=False))

    def create(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Make the object, and give it what creation does not take or did not keep."""
        try:
            made = self.send("POST", self.path, self.body(wanted, None))
        except UptimeRobotError as error:
            if error.status == 0 or error.status >= 500:
                raise UptimeRobotError(
                    f"{error}. The {self.noun} may have been made all the same: run the task again, which finds it by "
                    "its name",
                    error.status,
                ) from None
            if error.status == 409:
                raise UptimeRobotError(
                    f"{error}. The account has one like it under another name: set id to that one to rename it, or "
                    "remove it first",
                    error.status,
                ) from None
            raise
        left = {key: value for key, value in self.differences(wanted, made).items() if not self.always(key)}
        return self.update(made, left) if left else made

    def update(self, live: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
        """Change the object and return it as the service has it now."""
        return self.send("PATCH", f"{self.path}/{live['id']}", self.body(changed, live))

    def settled(self, path: str, good: Callable[[list[dict[str, Any]]], bool]) -> bool:
        """Wait until a list of the service shows what was written: the next task, and the next run, go by it."""
        for wait in (*SETTLE, None):
            if good(self.client.listing(path)):
                return True
            if wait is not None:
                self.client.pause(wait)
        return False

    def settle(self, number: Any, wanted: Mapping[str, Any] | None) -> bool:
        """Wait until the list shows the object as it should be, or does not show it any more."""

        def good(listed: list[dict[str, Any]]) -> bool:
            raw = next((one for one in listed if same_id(one["id"], number)), None)
            if wanted is None or raw is None:
                return wanted is None and raw is None
            return all(self.always(key) for key in self.differences(wanted, raw))

        return self.settled(self.path, good)


def converge(module: Any, make: Callable[[UptimeRobot, Mapping[str, Any], Directory], Kind]) -> None:
    """Bring one object to what the task declares, and end the module."""
    params = module.params
    actions: list[str] = []
    client: UptimeRobot | None = None
    try:
        client = UptimeRobot.from_params(params, module.log)
        kind = make(client, params, Directory(client, module.check_mode, module.warn))
        problems = kind.problems()
        if problems:
            raise RefusedError("\n".join(problems))
        live = kind.find()
        if params["state"] == "absent":
            result = _remove(module, kind, live, actions)
        else:
            result = _keep(module, kind, live, actions)
    except (RefusedError, UptimeRobotError) as error:
        module.fail_json(
            msg=str(error), changed=bool(actions) and not module.check_mode, actions=actions, **_counts(client)
        )
    module.exit_json(changed=bool(actions), actions=actions, **result, **_counts(client))


def _counts(client: UptimeRobot | None) -> dict[str, Any]:
    return {"requests": client.requests if client else 0, "waited": round(client.waited) if client else 0}


def _settle(module: Any, kind: Kind, number: Any, wanted: Mapping[str, Any] | None) -> None:
    if not kind.settle(number, wanted):
        module.warn(
            f"{kind.title}: it was written, but UptimeRobot's list does not show it yet; a run before it does may "
            "write it again"
        )


def _remove(module: Any, kind: Kind, live: Mapping[str, Any] | None, actions: list[str]) -> dict[str, Any]:
    """Take the object away, if it is there."""
    result = kind.results(None)
    if live is None:
        return result
    if not module.check_mode:
        kind.client.delete(f"{kind.path}/{live['id']}")
    actions.append(f"removed {kind.title}")
    if not module.check_mode:
        _settle(module, kind, live["id"], None)
    if module._diff:
        result["diff"] = [_diff(kind.title, kind.public(live), None)]
    return result


def _keep(module: Any, kind: Kind, live: dict[str, Any] | None, actions: list[str]) -> dict[str, Any]:
    """Make the object or change it, if it is not as it should be."""
    lacking = kind.needed() if live is None else []
    if lacking:
        raise RefusedError("\n".join(lacking))
    wanted = kind.wanted(live)
    changed = dict(wanted) if live is None else kind.differences(wanted, live)
    stuck = sorted(set(kind.fixed) & set(changed)) if live is not None else []
    if stuck:
        raise RefusedError(
            f"{kind.title}: {', '.join(stuck)} cannot be changed once it is made; remove it and have it made anew"
        )
    limits = kind.limits(live, changed) if live is None or changed else []
    if limits:
        raise RefusedError("\n".join(limits))
    kind.look_further(live)
    diffs = []
    now: dict[str, Any] | None = live
    if live is None or changed:
        there = {} if live is None else kind.shown(live)
        before = {key: kind.told(key, narrowed(there.get(key), changed[key]), False) for key in changed if there}
        after = {key: kind.told(key, changed[key], True) for key in changed}
        diffs.append(_diff(kind.title, before or None, after))
        replaced = live is not None and kind.replaces(live, changed)
        if not module.check_mode:
            now = _write(kind, live, wanted, changed, replaced)
        what = f"changed {', '.join(sorted(changed))} of" if live is not None else "created"
        actions.append(f"{what} {kind.title}" + (" by a new one in its place" if replaced else ""))
        if now is not None and not module.check_mode:
            _settle(module, kind, now["id"], wanted)
    for action, was, becomes in kind.write_further(now, module.check_mode):
        actions.append(action)
        diffs.append(_diff(f"{kind.title}: {action}", was, becomes))
    return {**kind.results(now), **({"diff": diffs} if module._diff else {})}


def _write(
    kind: Kind,
    live: dict[str, Any] | None,
    wanted: Mapping[str, Any],
    changed: Mapping[str, Any],
    replaced: bool,
) -> dict[str, Any]:
    if live is None:
        return kind.create(wanted)
    if not replaced:
        return kind.update(live, changed)
    # The new one first: there is no moment without one.
    made = kind.create({**kind.carried(live, wanted), **wanted})
    kind.client.delete(f"{kind.path}/{live['id']}")
    return made


def _diff(title: str, before: Any, after: Any) -> dict[str, str]:
    return {"before_header": title, "after_header": title, "before": rendered(before), "after": rendered(after)}
