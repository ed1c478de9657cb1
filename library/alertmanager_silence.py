#!/usr/bin/python
"""Silence alerts in Alertmanager for a while, and end that again."""

from __future__ import annotations

DOCUMENTATION = r"""
module: alertmanager_silence
short_description: Silence alerts in Alertmanager
version_added: "0.3.0"
description:
  - Alertmanager gives silences no names. This module keeps one in the comment, so that a second run finds the silence
    of the first one, and another task can end it.
  - A silence that is there stays as it is. Where the duration or the reason differs it is changed and keeps its start;
    where the matchers differ it is ended and a new one starts now.
  - Silences that people made by hand are never touched.
  - Several Alertmanagers of one cluster tell each other, so one of them is enough.
options:
  url:
    description: Where Alertmanager answers, with the path under which it is served if there is one.
    type: str
    default: http://127.0.0.1:9093
  name:
    description: Name of the silence.
    type: str
    required: true
  matchers:
    description: What an alert has to be like, all of it. Needed unless the silence is to end.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Label.
        type: str
        required: true
      value:
        description: Its value, or a regular expression (RE2) for the whole value.
        type: str
        required: true
      regex:
        description: Whether O(matchers[].value) is a regular expression.
        type: bool
        default: false
      equal:
        description: Whether the label has to match; V(false) means that it must not.
        type: bool
        default: true
  duration:
    description: How long from its start, in Prometheus notation, such as V(90m), V(2h) or V(1d).
    type: str
    default: 1h
  reason:
    description: Why, for those who read the list of silences.
    type: str
    default: Maintenance
  state:
    description: V(absent) ends it at once.
    type: str
    choices: [present, absent]
    default: present
  validate_certs:
    description: Whether Alertmanager's certificate has to be valid.
    type: bool
    default: true
  ca_path:
    description: File with the certificates of the authorities to trust, in PEM, on the host where the module runs.
    type: path
  timeout:
    description: Seconds that one request may take.
    type: int
    default: 30
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It says what would change.
    support: full
  diff_mode:
    description: It shows matchers, duration and comment.
    support: full
"""

EXAMPLES = r"""
- name: Silence two hosts for two hours
  alertmanager_silence:
    name: database upgrade
    reason: PostgreSQL 18
    duration: 2h
    matchers:
      - name: host
        value: db-01|db-02
        regex: true

- name: End it before its time
  alertmanager_silence:
    name: database upgrade
    state: absent
"""

RETURN = r"""
actions:
  description: The changes, one by one; in check mode those that would be made.
  returned: always
  type: list
  elements: str
silence:
  description: The silence, nothing where there is none.
  returned: success
  type: dict
  contains:
    id: {description: "Its identity; empty in check mode, before it is made.", type: str, returned: present}
    starts_at: {description: "Its start, in RFC 3339 and UTC.", type: str, returned: present}
    ends_at: {description: "Its end, in RFC 3339 and UTC.", type: str, returned: present}
"""

import datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.durations import parse_duration
from ansible.module_utils.watchkeeper.http_api import Api, ApiError, quoted, rendered

# Who makes the silences that are this module's.
CREATOR = "watchkeeper"
LIST = "/api/v2/silences"
# Alertmanager's clock has moved on when a new silence reaches it.
TOLERANCE = datetime.timedelta(seconds=5)

ARGUMENTS: dict[str, Any] = {
    "url": {"type": "str", "default": "http://127.0.0.1:9093"},
    "name": {"type": "str", "required": True},
    "matchers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "value": {"type": "str", "required": True},
            "regex": {"type": "bool", "default": False},
            "equal": {"type": "bool", "default": True},
        },
    },
    "duration": {"type": "str", "default": "1h"},
    "reason": {"type": "str", "default": "Maintenance"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "timeout": {"type": "int", "default": 30},
}


class AlertmanagerError(ApiError):
    """What Alertmanager refused, or why it gave no answer."""


class Alertmanager(Api):
    """One Alertmanager."""

    service = "Alertmanager"
    error = AlertmanagerError
    example = "http://127.0.0.1:9093"

    def message(self, body: bytes) -> str:
        """Return its reason, which is JSON in quotes or plain text."""
        return super().message(body) or body.decode("utf-8", "replace").strip().strip('"')


def moment(text: str) -> datetime.datetime:
    """Return a time that Alertmanager tells."""
    # Python before 3.11 does not know the Z; nobody needs what is below a second.
    return datetime.datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.timezone.utc)


def told(time: datetime.datetime) -> str:
    """Return a time as Alertmanager reads it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def signed(name: str) -> str:
    """Return the end of the comment by which a silence is found again."""
    return f"[{name}]"


def matching(name: str, silences: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the silences of a name that are not over; the one that ends last comes first."""
    found = [
        one
        for one in silences
        if one["createdBy"] == CREATOR and one["comment"].endswith(signed(name)) and one["status"]["state"] != "expired"
    ]
    return sorted(found, key=lambda one: str(one["endsAt"]), reverse=True)


def shape(matchers: list[dict[str, Any]]) -> list[tuple[str, str, bool, bool]]:
    """Return matchers, declared or live, in a form in which they can be compared."""
    return sorted(
        (
            one["name"],
            one["value"],
            bool(one.get("isRegex", one.get("regex"))),
            bool(one.get("isEqual", one.get("equal"))),
        )
        for one in matchers
    )


def shown(silence: dict[str, Any]) -> dict[str, Any]:
    """Return a silence as the diff shows it."""
    length = moment(silence["endsAt"]) - moment(silence["startsAt"])
    operators = {(False, True): "=", (False, False): "!=", (True, True): "=~", (True, False): "!~"}
    return {
        "comment": silence["comment"],
        "minutes": round(length.total_seconds() / 60),
        "matchers": [
            f'{name}{operators[regex, equal]}"{value}"' for name, value, regex, equal in shape(silence["matchers"])
        ],
    }


def silence_of(params: dict[str, Any], length: datetime.timedelta, start: datetime.datetime) -> dict[str, Any]:
    """Return the silence that the task asks for, as it is sent."""
    return {
        "matchers": [
            {"name": one["name"], "value": one["value"], "isRegex": one["regex"], "isEqual": one["equal"]}
            for one in params["matchers"]
        ],
        "startsAt": told(start),
        "endsAt": told(start + length),
        "createdBy": CREATOR,
        "comment": f"{params['reason']} {signed(params['name'])}",
    }


def lasting(params: dict[str, Any]) -> datetime.timedelta:
    """Return the duration that the task asks for; raise ValueError when it is none."""
    wrong = f"duration is {params['duration']!r}; it must be longer than 0 and like 90m, 2h or 1d"
    try:
        seconds = parse_duration(params["duration"])
    except ValueError:
        raise ValueError(wrong) from None
    if seconds <= 0:
        raise ValueError(wrong)
    return datetime.timedelta(seconds=seconds)


class Silences:
    """The silences of one name."""

    def __init__(self, client: Alertmanager, params: dict[str, Any], check_mode: bool) -> None:
        self.client, self.params, self.check_mode = client, params, check_mode
        self.found = matching(params["name"], client.get(LIST))
        self.actions: list[str] = []
        self.before = [shown(one) for one in self.found]

    def end(self, silences: list[dict[str, Any]]) -> None:
        """End silences."""
        for one in silences:
            if not self.check_mode:
                self.client.delete(f"/api/v2/silence/{quoted(one['id'])}")
            self.actions.append(f"ended {self.params['name']}")

    def send(self, silence: dict[str, Any], action: str) -> dict[str, Any]:
        """Make a silence or, with its id, change one; return it as Alertmanager has it then."""
        said = f"{action} {self.params['name']} until {silence['endsAt']}"
        if self.check_mode:
            self.actions.append(said)
            return {"id": "", **silence}
        # A second one would do no harm, but nobody would know which of them is meant.
        answer = self.client.send("POST", LIST, silence, repeatable="id" in silence)
        self.actions.append(said)
        # A new one starts by Alertmanager's clock, a moment later than the one that was sent.
        return dict(self.client.get(f"/api/v2/silence/{quoted(answer['silenceID'])}"))

    def have(self) -> dict[str, Any]:
        """See to it that there is exactly the one that the task asks for."""
        length = lasting(self.params)
        now = datetime.datetime.now(datetime.timezone.utc)
        fitting = [one for one in self.found if shape(one["matchers"]) == shape(self.params["matchers"])]
        self.end([one for one in self.found if one not in fitting[:1]])
        if not fitting:
            return self.send(silence_of(self.params, length, now), "silenced")
        live = fitting[0]
        start = moment(live["startsAt"])
        want = {**silence_of(self.params, length, start), "id": live["id"], "startsAt": live["startsAt"]}
        off = abs(moment(live["endsAt"]) - (start + length)) > TOLERANCE
        if not off and live["comment"] == want["comment"]:
            return live
        if start + length <= now:
            raise ValueError(
                f"duration is {self.params['duration']!r}, but the silence {self.params['name']!r} has lasted longer "
                f"than that since {live['startsAt']}; give a longer one, or end it with state: absent"
            )
        return self.send(want, "changed")


def main() -> None:
    """Do it, or say what would be done."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS, required_if=[("state", "present", ["matchers"])], supports_check_mode=True
    )
    params = module.params
    actions: list[str] = []
    try:
        if params["state"] == "present" and not params["matchers"]:
            raise ValueError("matchers is empty, which would silence everything; name at least one label")
        client = Alertmanager(
            params["url"],
            headers={},
            validate_certs=params["validate_certs"],
            ca_path=params["ca_path"],
            timeout=params["timeout"],
        )
        silences = Silences(client, params, module.check_mode)
        actions = silences.actions
        live: dict[str, Any] | None = None
        if params["state"] == "present":
            live = silences.have()
        else:
            silences.end(silences.found)
    except (ApiError, ValueError) as error:
        module.fail_json(msg=str(error), changed=bool(actions) and not module.check_mode, actions=actions)
    result: dict[str, Any] = {"changed": bool(actions), "actions": actions, "silence": {}}
    if live:
        result["silence"] = {"id": live["id"], "starts_at": live["startsAt"], "ends_at": live["endsAt"]}
    if module._diff:
        after = [shown(live)] if live else []
        result["diff"] = {"before": rendered(silences.before), "after": rendered(after)}
    if actions:
        result["msg"] = ", ".join(actions)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
