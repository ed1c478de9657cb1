#!/usr/bin/python
"""Bring a personal contact of UptimeRobot to what is declared: who gets e-mail, and of what."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uptimerobot_alert_contact
short_description: Create, change and remove personal alert contacts in UptimeRobot
version_added: "0.3.0"
description:
  - A personal contact is an e-mail address, a phone or the app of the account's owner. Channels and services are
    integrations, see M(uptimerobot_integration).
  - It is found by its id, by its e-mail address, or by its exact name, in this order. Two of one name are refused with
    their ids.
  - Only e-mail contacts can be created. A phone has to be verified on UptimeRobot's own pages and the app adds itself;
    this module changes and removes those, too.
  - Whoever owns a new address has to confirm it in a message that UptimeRobot sends. Until then its C(status) is
    C(not_activated), and it gets nothing.
extends_documentation_fragment: [uptimerobot]
options:
  id:
    description: Number of the contact.
    type: int
  email:
    description: Address. Needed for a new contact. The address of a contact cannot be changed.
    type: str
  name:
    description: Name that people see.
    type: str
  notifications:
    description: Which events it is told of. A new one is told of V(up_and_down).
    type: str
    choices: [up_and_down, down, up, none]
  expiry_reminders:
    description: Whether it is told when a certificate or a domain is about to expire. Not on the free plan.
    type: bool
  active:
    description: Whether it gets anything. One whose address is not confirmed yet cannot be activated; that is a warning
      and no change.
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
    description: It says what would change.
    support: full
  diff_mode:
    description: It shows the options that differ.
    support: full
"""

EXAMPLES = r"""
- name: Write to the people on call when something is down
  uptimerobot_alert_contact:
    api_key: "{{ vault_uptimerobot_api_key }}"
    email: oncall@example.com
    name: On call
    notifications: down

- name: Let a phone rest
  uptimerobot_alert_contact:
    api_key: "{{ vault_uptimerobot_api_key }}"
    name: Phone of Kim
    active: false

- name: Remove a contact
  uptimerobot_alert_contact:
    api_key: "{{ vault_uptimerobot_api_key }}"
    email: former@example.com
    state: absent
"""

RETURN = r"""
actions:
  description: The changes, one by one; in check mode those that would be made.
  returned: always
  type: list
  elements: str
id:
  description: Number of the contact, for C(alert_contacts) of a monitor; null if there is none, or none yet.
  returned: success
  type: int
contact:
  description: What UptimeRobot tells of it, in the words of the options, with C(type) and C(status).
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
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.uptimerobot import CONNECTION
from ansible.module_utils.watchkeeper.uptimerobot_objects import (
    EVENTS,
    WITHOUT_EXPIRY_REMINDERS,
    Kind,
    converge,
    events,
    is_yes,
    plan_of,
)

# By UptimeRobot's numbers.
STATUSES = {"0": "not_activated", "1": "paused", "2": "active", "5": "to_migrate"}
TYPES = {
    "1": "email_to_sms",
    "2": "email",
    "8": "pro_sms",
    "12": "mobile_app_ios",
    "13": "mobile_app_android",
    "14": "voice",
}
ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
ARGUMENTS: dict[str, Any] = {
    **CONNECTION,
    "id": {"type": "int"},
    "email": {"type": "str"},
    "name": {"type": "str"},
    "notifications": {"type": "str", "choices": list(EVENTS)},
    "expiry_reminders": {"type": "bool"},
    "active": {"type": "bool"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def worded(value: Any, known: Mapping[str, str]) -> str:
    """Return a word in small letters; UptimeRobot says a word such as `NotActivated`, or its number."""
    text = str(value if value is not None else "").strip()
    return known.get(text) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()


class Contact(Kind):
    """The contact of the task."""

    noun = "alert contact"
    key = "contact"
    path = "/alert-contacts"
    fixed = ("email",)

    @property
    def title(self) -> str:
        """How it is called in messages."""
        return f"{self.noun} {self.params['email'] or self.params['name'] or self.params['id']}"

    def problems(self) -> list[str]:
        """Return what is wrong with the task by itself."""
        email, found = self.params["email"], super().problems()
        if email and not ADDRESS.fullmatch(email):
            found.append(f"email is {email!r}; it must be an address like oncall@example.com")
        return found

    def needed(self) -> list[str]:
        """Return what a new contact lacks in this task."""
        if self.params["email"]:
            return []
        none = f"{self.title}: the account has none of this name, and only an e-mail contact can be created"
        return [f"{none}: set email, or add the phone or the app on UptimeRobot's own pages"]

    def matches(self, raw: Mapping[str, Any]) -> bool:
        """Tell whether a listed contact has the address, or the name where no address is given."""
        if self.params["email"]:
            return bool(self.shown(raw)["email"] == self.params["email"].lower())
        return super().matches(raw)

    def shown(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer in the words of the options."""
        kind, status = worded(raw.get("type"), TYPES), worded(raw.get("status"), STATUSES)
        return {
            "email": str(raw.get("value") or "").lower() if kind == "email" else "",
            "name": raw.get("friendlyName") or "",
            "notifications": events(raw.get("enableNotificationsFor")),
            "expiry_reminders": is_yes(raw.get("sslExpirationReminder")),
            "active": status == "active",
            "type": kind,
            "status": status,
        }

    def wanted(self, live: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what the task asserts."""
        values = {key: self.params[key] for key in ("name", "notifications", "expiry_reminders", "active")}
        if self.params["email"]:
            values["email"] = self.params["email"].lower()
        values = {key: value for key, value in values.items() if value is not None}
        if values.get("active") and (live is None or self.shown(live)["status"] == "not_activated"):
            del values["active"]
            self.directory.warn(
                f"{self.title}: it becomes active when whoever owns the address has confirmed it in the message that "
                "UptimeRobot sends"
            )
        return values

    def body(self, values: Mapping[str, Any], live: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the request that gives a contact these values; creation takes only some of them."""
        data: dict[str, Any] = {}
        if live is None:
            data = {"type": "Email", "value": self.params["email"]}
        if "name" in values:
            data["friendlyName"] = values["name"]
        if "notifications" in values:
            data["enableNotificationsFor"] = list(EVENTS).index(values["notifications"])
        if live is not None:
            fields = {"expiry_reminders": "sslExpirationReminder", "active": "isActive"}
            data.update({fields[key]: value for key, value in values.items() if key in fields})
        return data

    def limits(self, live: Mapping[str, Any] | None, changed: Mapping[str, Any]) -> list[str]:  # noqa: ARG002
        """Return why the account's plan does not let this be."""
        plan = plan_of(self.client) if changed.get("expiry_reminders") else ""
        if plan.lower() not in WITHOUT_EXPIRY_REMINDERS:
            return []
        none = f"{self.title}: expiry_reminders is true, and the account's plan {plan} has none"
        return [f"{none}: set it to false, or take another plan"]


def main() -> None:
    """Do it, or say what would be done."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_one_of=[("id", "email", "name")],
        supports_check_mode=True,
    )
    converge(module, Contact)


if __name__ == "__main__":
    main()
