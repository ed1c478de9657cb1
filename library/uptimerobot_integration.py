#!/usr/bin/python
"""Bring an integration of UptimeRobot to what is declared: Slack, a webhook, PagerDuty and others that are told."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uptimerobot_integration
short_description: Create, change and remove integrations in UptimeRobot
version_added: "0.3.0"
description:
  - An integration is where UptimeRobot sends what happens to a monitor. Which monitors it gets is said with the
    monitors (M(uptimerobot_monitor), C(alert_contacts)); personal contacts are in M(uptimerobot_alert_contact).
  - It is found by its id, or by its exact name and type. Two of one name and type are refused with their ids.
  - Only what the task names is compared, and only what differs is written.
  - UptimeRobot tells the target of all types but V(telegram), V(pagerduty), V(pushover) and V(pushbullet); for those
    O(update_target) says when to send it.
extends_documentation_fragment: [uptimerobot]
options:
  id:
    description: Number of the integration. Left out, name and type are the identity.
    type: int
  name:
    description: Name that people see, up to 60 characters. Needed, unless O(id) is given.
    type: str
  type:
    description: What it is. It cannot be changed. A V(telegram) integration gets its chat on UptimeRobot's own pages.
    type: str
    choices: [slack, telegram, msteams, webhook, zapier, pagerduty, googlechat, discord, splunk, pushbullet, pushover,
      mattermost]
  target:
    description: Where messages go. The URL of the webhook or room; for V(pagerduty) the integration key (32 characters
      or more), for V(pushbullet) the access token, for V(pushover) the user's key. It is a secret.
    type: str
  update_target:
    description: When a target that UptimeRobot does not tell is sent. V(on_create) sends it to a new integration only,
      V(always) in each run, which reports a change each time.
    type: str
    choices: [on_create, always]
    default: on_create
  message:
    description: Text that goes along with each message, for V(slack), V(discord), V(mattermost) and V(googlechat).
    type: str
  notifications:
    description: Which events it is told of. A new one is told of V(up_and_down).
    type: str
    choices: [up_and_down, down, up, none]
  expiry_reminders:
    description: Whether it is told when a certificate or a domain is about to expire. Not on the free plan.
    type: bool
  location:
    description: Region of the V(pagerduty) account.
    type: str
    choices: [us, eu]
  auto_resolve:
    description: Whether V(pagerduty) resolves the incident when the monitor is up again.
    type: bool
  priority:
    description: Priority of V(pushover) messages. Where UptimeRobot does not tell it, it goes
      along with any other change.
    type: str
    choices: [lowest, low, normal, high, emergency]
  post_value:
    description: Body that a V(webhook) sends, as a mapping or as text.
    type: json
  send_as:
    description: The ways in which a V(webhook) sends its values. Given, it is the whole set.
    type: list
    elements: str
    choices: [query_string, json, post_parameters]
  custom_headers:
    description: Further headers of a V(webhook). Given, they are all of them. They are taken for secrets.
    type: dict
  state:
    description: Whether it is to be there.
    type: str
    choices: [present, absent]
    default: present
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It says what would change.
    support: full
  diff_mode:
    description: It shows the options that differ; of target and headers only that they do.
    support: full
"""

EXAMPLES = r"""
- name: Tell the team's channel
  uptimerobot_integration:
    api_key: "{{ vault_uptimerobot_api_key }}"
    name: Team channel
    type: slack
    target: "{{ vault_slack_webhook }}"
    message: "Runbooks: https://wiki.example.com/runbooks"

- name: Wake somebody when a site is down
  uptimerobot_integration:
    api_key: "{{ vault_uptimerobot_api_key }}"
    name: On call
    type: pagerduty
    target: "{{ vault_pagerduty_key }}"
    location: eu
    auto_resolve: true
    notifications: up_and_down

- name: Tell a program of ours
  uptimerobot_integration:
    api_key: "{{ vault_uptimerobot_api_key }}"
    name: Incident log
    type: webhook
    target: https://incidents.example.com/uptime
    send_as: [json]
    post_value: {monitor: "*monitorFriendlyName*", event: "*alertTypeFriendlyName*"}
    custom_headers: {X-Token: "{{ vault_incident_token }}"}

- name: Remove one
  uptimerobot_integration:
    api_key: "{{ vault_uptimerobot_api_key }}"
    name: Old channel
    type: slack
    state: absent
"""

RETURN = r"""
actions:
  description: The changes, one by one; in check mode those that would be made.
  returned: always
  type: list
  elements: str
id:
  description: Number of the integration, for C(alert_contacts) of a monitor; null if there is none, or none yet.
  returned: success
  type: int
integration:
  description: What UptimeRobot tells of it, in the words of the options and without secrets.
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

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.uptimerobot import CONNECTION, plain
from ansible.module_utils.watchkeeper.uptimerobot_objects import (
    EVENTS,
    UNREADABLE,
    WITHOUT_EXPIRY_REMINDERS,
    WITHOUT_PAGERDUTY,
    Kind,
    RefusedError,
    converge,
    events,
    is_yes,
    plan_of,
)


@dataclass(frozen=True)
class Service:
    """One type of integration: its name and number at UptimeRobot, and its fields for target and message."""

    said: str
    number: int
    target: str = ""
    message: str = ""
    tells_target: bool = True


SERVICES = {
    "slack": Service("Slack", 11, "webhookURL", "customValue"),
    "telegram": Service("Telegram", 18, tells_target=False),
    "msteams": Service("MSTeams", 20, "webhookURL"),
    "webhook": Service("Webhook", 5, "urlToNotify"),
    "zapier": Service("Zapier", 7, "hookURL"),
    "pagerduty": Service("Pagerduty", 16, "integrationKey", tells_target=False),
    "googlechat": Service("GoogleChat", 21, "roomURL", "customMessage"),
    "discord": Service("Discord", 23, "webhookURL", "customValue"),
    "splunk": Service("Splunk", 15, "urlToNotify"),
    "pushbullet": Service("PushBullet", 6, "accessToken", tells_target=False),
    "pushover": Service("Pushover", 9, "userKey", tells_target=False),
    "mattermost": Service("Mattermost", 24, "webhookURL", "customValue"),
}
# Options that only some types have.
OWN = {
    "message": tuple(name for name, service in SERVICES.items() if service.message),
    "target": tuple(name for name, service in SERVICES.items() if service.target),
    "location": ("pagerduty",),
    "auto_resolve": ("pagerduty",),
    "priority": ("pushover",),
    "post_value": ("webhook",),
    "send_as": ("webhook",),
    "custom_headers": ("webhook",),
}
# As requests say it, and as the settings of a webhook say it when they are read.
SEND_AS = {
    "query_string": ("sendAsQueryString", "sendQuery"),
    "json": ("sendAsJSON", "sendJSON"),
    "post_parameters": ("sendAsPostParameters", "sendPost"),
}
SIMPLE = (
    "name",
    "type",
    "target",
    "message",
    "notifications",
    "expiry_reminders",
    "location",
    "auto_resolve",
    "priority",
)
REGIONS = ("us", "eu")
PRIORITIES = ("lowest", "low", "normal", "high", "emergency")
PAGERDUTY_KEY = 32
LONGEST_NAME = 60
ARGUMENTS: dict[str, Any] = {
    **CONNECTION,
    "id": {"type": "int"},
    "name": {"type": "str"},
    "type": {"type": "str", "choices": list(SERVICES)},
    "target": {"type": "str", "no_log": True},
    "update_target": {"type": "str", "choices": ["on_create", "always"], "default": "on_create"},
    "message": {"type": "str"},
    "notifications": {"type": "str", "choices": list(EVENTS)},
    "expiry_reminders": {"type": "bool"},
    "location": {"type": "str", "choices": list(REGIONS)},
    "auto_resolve": {"type": "bool"},
    "priority": {"type": "str", "choices": list(PRIORITIES)},
    "post_value": {"type": "json"},
    "send_as": {"type": "list", "elements": "str", "choices": list(SEND_AS)},
    "custom_headers": {"type": "dict", "no_log": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def type_of(raw: Mapping[str, Any]) -> str:
    """Return the type of an integration in the option's words; UptimeRobot says a word or its number."""
    said = str(raw.get("type") or "").lower().replace(" ", "").replace("_", "")
    return next((name for name, one in SERVICES.items() if said in (name, str(one.number))), said)


def canonical(value: Any) -> str:
    """Return a body in one form: UptimeRobot gives JSON back as it likes, as text or as an object."""
    if value in (None, ""):
        return ""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def headers(value: Any) -> dict[str, str]:
    """Return headers by their names in small letters: UptimeRobot may change the case."""
    return {str(name).lower(): str(text) for name, text in (value or {}).items()}


def webhook_settings(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a webhook sends and how: UptimeRobot keeps that as JSON in one field, or in a field each."""
    try:
        kept = json.loads(raw.get("customValue") or "{}")
    except ValueError:
        kept = {}
    names = [told for _asked, told in SEND_AS.values()]
    if not isinstance(kept, dict) or not {"postValue", *names} & set(kept):
        kept = {"postValue": raw.get("customValue")}
        kept.update({told: raw.get(f"customValue{place}") for place, told in enumerate(names, 2)})
    ways = [name for name, (_asked, told) in SEND_AS.items() if is_yes(kept.get(told))]
    return {"post_value": canonical(kept.get("postValue")), "send_as": sorted(ways)}


def own_settings(kind: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that only one type has, from the fields that all types share."""
    if kind == "webhook":
        return {**webhook_settings(raw), "custom_headers": headers(raw.get("customHeaders"))}
    told = [str(raw.get(key) or "").lower() for key in ("customValue", "customValue2", "location", "priority")]
    if kind == "pagerduty":
        region = next((text for text in told if text in REGIONS), REGIONS[0])
        return {
            "location": region,
            "auto_resolve": any(is_yes(text) for text in told) or is_yes(raw.get("autoResolve")),
        }
    if kind == "pushover":
        return {"priority": next((text for text in told if text in PRIORITIES), UNREADABLE)}
    return {}


class Integration(Kind):
    """The integration of the task."""

    noun = "integration"
    key = "integration"
    path = "/integrations"
    secret = ("target", "custom_headers")
    fixed = ("type",)

    def problems(self) -> list[str]:
        """Return what is wrong with the task by itself."""
        params, found = self.params, super().problems()
        if params["name"] and len(params["name"]) > LONGEST_NAME:
            found.append(f"name is {params['name']!r}; UptimeRobot allows {LONGEST_NAME} characters")
        for option, types in OWN.items():
            if params[option] is not None and params["type"] and params["type"] not in types:
                found.append(f"{option} is not for type {params['type']}; it is for {', '.join(types)}: leave it out")
        if params["type"] == "pagerduty" and params["target"] and len(params["target"]) < PAGERDUTY_KEY:
            found.append(
                f"target has {len(params['target'])} characters; an integration key of PagerDuty has {PAGERDUTY_KEY} "
                "or more"
            )
        return found

    def needed(self) -> list[str]:
        """Return what a new integration lacks in this task."""
        kind = self.params["type"]
        if not self.params["name"] or not kind:
            return [f"{self.title}: name and type are needed to make it"]
        if SERVICES[kind].target and not self.params["target"]:
            return [f"{self.title}: target is needed to make one of type {kind}"]
        return []

    def matches(self, raw: Mapping[str, Any]) -> bool:
        """Tell whether a listed integration has the name and the type."""
        return super().matches(raw) and self.params["type"] in (None, type_of(raw))

    def shown(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer in the words of the options."""
        kind = type_of(raw)
        service = SERVICES.get(kind, Service("", 0))
        told = plain(raw.get("value") or raw.get("webhookURL") or "")
        values: dict[str, Any] = {
            "name": raw.get("friendlyName") or "",
            "type": kind,
            "target": told if service.tells_target and told else UNREADABLE,
            "notifications": events(raw.get("enableNotificationsFor")),
            "expiry_reminders": is_yes(raw.get("sslExpirationReminder")),
        }
        if service.message:
            values["message"] = plain(raw.get("customValue") or "")
        return {**values, **own_settings(kind, raw)}

    def wanted(self, live: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what the task asserts."""
        kind = type_of(live) if live is not None else self.params["type"]
        for option, types in OWN.items():
            if self.params[option] is not None and kind not in types:
                raise RefusedError(f"{self.title}: {option} is not for its type, {kind}, but for {', '.join(types)}")
        values = {key: self.params[key] for key in SIMPLE if self.params[key] is not None}
        if self.params["post_value"] is not None:
            values["post_value"] = canonical(self.params["post_value"])
        if self.params["send_as"] is not None:
            values["send_as"] = sorted(set(self.params["send_as"]))
        if self.params["custom_headers"] is not None:
            values["custom_headers"] = headers(self.params["custom_headers"])
        return values

    def differs(self, key: str, before: Any, after: Any) -> bool:
        """Tell whether one value has to be written; headers are compared whole."""
        return before != after if key == "custom_headers" else super().differs(key, before, after)

    def always(self, option: str) -> bool:
        """Tell whether a value that cannot be read is sent in each run."""
        return option == "target" and self.params["update_target"] == "always"

    def body(self, values: Mapping[str, Any], live: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the request that gives an integration these values."""
        kind = self.params["type"] or type_of(live or {})
        service = SERVICES[kind]
        data: dict[str, Any] = {}
        plain_names = {"name": "friendlyName", "expiry_reminders": "sslExpirationReminder", "location": "location"}
        for option, field in {**plain_names, "auto_resolve": "autoResolve"}.items():
            if option in values:
                data[field] = values[option]
        for option, field in (("target", service.target), ("message", service.message)):
            if field and option in values:
                data[field] = values[option]
        if "notifications" in values:
            data["enableNotificationsFor"] = EVENTS[values["notifications"]]
        if self.params["priority"]:
            data["priority"] = self.params["priority"].capitalize()
        if live is None and service.message:
            data.setdefault(service.message, "")
        if kind == "webhook":
            self.add_webhook(data, values, live)
        return {"type": service.said, "data": data}

    def add_webhook(self, data: dict[str, Any], values: Mapping[str, Any], live: Mapping[str, Any] | None) -> None:
        """Add what a webhook sends; its settings are one field at UptimeRobot, so they go together."""
        if live is None or {"post_value", "send_as"} & set(values):
            merged = {**(webhook_settings(live) if live else {"post_value": "", "send_as": []}), **values}
            data["postValue"] = merged["post_value"]
            data.update({asked: name in merged["send_as"] for name, (asked, _told) in SEND_AS.items()})
        if "custom_headers" in values:
            data["customHeaders"] = self.params["custom_headers"]

    def limits(self, live: Mapping[str, Any] | None, changed: Mapping[str, Any]) -> list[str]:
        """Return why the account's plan, or another integration, does not let this be."""
        found = []
        if changed.get("expiry_reminders"):
            plan = plan_of(self.client)
            if plan.lower() in WITHOUT_EXPIRY_REMINDERS:
                found.append(
                    f"{self.title}: expiry_reminders is true, and the account's plan {plan} has none: set it to false, "
                    "or take another plan"
                )
        if live is None and self.params["type"] == "pagerduty":
            plan = plan_of(self.client)
            if plan.lower() in WITHOUT_PAGERDUTY:
                found.append(
                    f"{self.title}: type is pagerduty, and the account's plan {plan} has no integrations of this type: "
                    "take another type, or another plan"
                )
        # UptimeRobot takes a target once for each type.
        for other in self.listed if "target" in changed else []:
            same = self.shown(other)
            kind = self.params["type"] or same["type"]
            if other is not live and (same["type"], same["target"]) == (kind, changed["target"]):
                found.append(
                    f"{self.title}: integration {same['name']} (id {other['id']}) has the same target already, and "
                    "UptimeRobot takes it once: set id to that one to rename it, or remove it first"
                )
        return found


def main() -> None:
    """Do it, or say what would be done."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_one_of=[("id", "name")],
        supports_check_mode=True,
    )
    converge(module, Integration)


if __name__ == "__main__":
    main()
