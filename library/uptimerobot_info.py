#!/usr/bin/python
"""Tell what an account of UptimeRobot has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uptimerobot_info
short_description: Gather facts about an account of UptimeRobot
version_added: "0.3.0"
description:
  - Reads what O(gather) names, and nothing else; each is one request, and monitors one for each 200. A read-only key
    is enough.
  - Secrets are left out, targets and headers of integrations, passwords, and the addresses of heartbeats among them.
extends_documentation_fragment: [uptimerobot]
options:
  gather:
    description: What to read.
    type: list
    elements: str
    choices: [account, monitors, groups, tags, contacts, integrations, status_pages, maintenance_windows,
      probe_addresses]
    default: [account]
  tags:
    description: Only monitors that have one of these tags.
    type: list
    elements: str
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It changes nothing.
    support: full
  diff_mode:
    description: It changes nothing.
    support: none
"""

EXAMPLES = r"""
- name: Know the plan and who is told
  uptimerobot_info:
    api_key: "{{ vault_uptimerobot_api_key }}"
    gather: [account, contacts, integrations]
  register: uptimerobot

- name: Stop when the plan is nearly full
  ansible.builtin.assert:
    that: uptimerobot.account.monitor_count < uptimerobot.account.monitor_limit

- name: List the shop's monitors
  uptimerobot_info:
    api_key: "{{ vault_uptimerobot_api_key }}"
    gather: [monitors]
    tags: [shop]

- name: Know from where UptimeRobot looks, for a firewall
  uptimerobot_info:
    api_key: "{{ vault_uptimerobot_api_key }}"
    gather: [probe_addresses]
"""

RETURN = r"""
account:
  description: The account.
  returned: when gathered
  type: dict
  contains:
    email: {description: Whose it is., type: str, returned: success}
    name: {description: Name of its owner., type: str, returned: success}
    plan: {description: Name of the plan as UptimeRobot shows it., type: str, returned: success}
    plan_status: {description: Status of the subscription; may be empty., type: str, returned: success}
    plan_expires: {description: End of the subscription; may be empty., type: str, returned: success}
    monitor_count: {description: How many monitors there are., type: int, returned: success}
    monitor_limit: {description: How many the plan allows., type: int, returned: success}
    sms_credits: {description: Messages and calls that are paid for., type: int, returned: success}
    requests_per_minute: {description: 'The limit of requests; 0 where UptimeRobot does not tell.', type: int,
      returned: success}
monitors:
  description: The monitors by UptimeRobot's own names of fields, in the order of their names.
  returned: when gathered
  type: list
  elements: dict
groups:
  description: The groups of monitors, by UptimeRobot's own names of fields.
  returned: when gathered
  type: list
  elements: dict
tags:
  description: The tags, each with C(id) and C(name).
  returned: when gathered
  type: list
  elements: dict
contacts:
  description: The personal contacts, by UptimeRobot's own names of fields.
  returned: when gathered
  type: list
  elements: dict
integrations:
  description: The integrations, each with C(id), C(friendlyName), C(type), C(status), C(enableNotificationsFor) and
    C(sslExpirationReminder).
  returned: when gathered
  type: list
  elements: dict
status_pages:
  description: The status pages, by UptimeRobot's own names of fields, with C(public_url).
  returned: when gathered
  type: list
  elements: dict
maintenance_windows:
  description: The maintenance windows, by UptimeRobot's own names of fields.
  returned: when gathered
  type: list
  elements: dict
probe_addresses:
  description: The networks from which UptimeRobot looks.
  returned: when gathered
  type: dict
  contains:
    ipv4: {description: 'Networks of IPv4, sorted.', type: list, elements: str, returned: success}
    ipv6: {description: 'Networks of IPv6, sorted.', type: list, elements: str, returned: success}
requests:
  description: How many requests were sent.
  returned: always
  type: int
waited:
  description: How many seconds the account's limit of requests has cost.
  returned: always
  type: int
"""

import ipaddress
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.uptimerobot import CONNECTION, UptimeRobot, UptimeRobotError, public_fields
from ansible.module_utils.watchkeeper.uptimerobot_objects import name_of, tags_of

LISTS = {
    "monitors": "/monitors",
    "groups": "/monitor-groups",
    "tags": "/tags",
    "contacts": "/alert-contacts",
    "integrations": "/integrations",
    "status_pages": "/psps",
    "maintenance_windows": "/maintenance-windows",
}
PUBLIC = "https://stats.uptimerobot.com/"
# Everything else in an integration is, or may be, a secret.
INTEGRATION_FIELDS = ("id", "friendlyName", "type", "status", "enableNotificationsFor", "sslExpirationReminder")
# A contact's address is none; what only services have may be.
CONTACT_SECRETS = ("customValue", "mobileProviderId", "config")
ARGUMENTS: dict[str, Any] = {
    **CONNECTION,
    "gather": {
        "type": "list",
        "elements": "str",
        "choices": ["account", *LISTS, "probe_addresses"],
        "default": ["account"],
    },
    "tags": {"type": "list", "elements": "str"},
}


def account(raw: Mapping[str, Any], rate: int) -> dict[str, Any]:
    """Return the account in plain words."""
    plan = raw.get("activeSubscription") or {}
    return {
        "email": str(raw.get("email") or ""),
        "name": str(raw.get("fullName") or ""),
        "plan": str(plan.get("plan") or ""),
        "plan_status": str(plan.get("status") or ""),
        "plan_expires": str(plan.get("expirationDate") or ""),
        "monitor_count": int(raw.get("monitorsCount") or 0),
        "monitor_limit": int(raw.get("monitorLimit") or plan.get("monitorLimit") or 0),
        "sms_credits": int(raw.get("smsCredits") or 0),
        "requests_per_minute": rate,
    }


def shown(what: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item of a list without its secrets."""
    if what == "integrations":
        return {key: raw[key] for key in INTEGRATION_FIELDS if key in raw}
    item = public_fields(raw)
    if what == "contacts":
        item = {key: value for key, value in item.items() if key not in CONTACT_SECRETS}
        if str(raw.get("type")).lower() not in ("email", "2"):
            # A phone's number or the token of an app.
            item.pop("value", None)
    if what == "status_pages" and raw.get("urlKey"):
        item["public_url"] = f"{PUBLIC}{raw['urlKey']}"
    return item


def probe_addresses(client: UptimeRobot) -> dict[str, list[str]]:
    """Return the networks of the probes; raise UptimeRobotError when the answer is no list of networks."""
    answer = client.get("/meta/ips")
    networks: dict[int, set[Any]] = {4: set(), 6: set()}
    try:
        for prefix in answer["prefixes"]:
            text = prefix.get("ip_prefix") or prefix.get("ipv6_prefix")
            if text:
                network = ipaddress.ip_network(str(text).strip(), strict=False)
                networks[network.version].add(network)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UptimeRobotError(
            f"GET {client.url}/meta/ips: the answer is no list of networks; is it UptimeRobot at url?"
        ) from None
    if not any(networks.values()):
        # An empty list would close a firewall to all of them.
        raise UptimeRobotError(f"GET {client.url}/meta/ips: the list of networks is empty")
    return {f"ipv{version}": [str(one) for one in sorted(found)] for version, found in networks.items()}


def gathered(module: Any, clients: list[UptimeRobot]) -> dict[str, Any]:
    """Return what the task asks for; `clients` gets each client that asks."""
    params = module.params
    result: dict[str, Any] = {}
    client = UptimeRobot.from_params(params, module.log)
    clients.append(client)
    for what in dict.fromkeys(params["gather"]):
        if what == "account":
            raw = client.account()
            result[what] = account(raw, client.rate)
        elif what == "probe_addresses":
            # They are beside the API, and no key is needed for them.
            root = params["url"].rstrip("/")
            root = root[: -len("/v3")] if root.endswith("/v3") else root
            beside = UptimeRobot.from_params({**params, "url": root}, module.log)
            clients.append(beside)
            result[what] = probe_addresses(beside)
        else:
            items = client.listing(LISTS[what])
            asked = {tag.lower() for tag in params["tags"] or []}
            if what == "monitors" and asked:
                items = [raw for raw in items if asked & tags_of(raw)]
            key = "name" if what in ("groups", "tags", "maintenance_windows") else "friendlyName"
            ordered = sorted(items, key=lambda raw: (name_of(raw, key), int(raw["id"])))
            result[what] = [shown(what, raw) for raw in ordered]
    return result


def main() -> None:
    """Read it."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    clients: list[UptimeRobot] = []
    result: dict[str, Any] = {}
    message = ""
    try:
        result = gathered(module, clients)
    except UptimeRobotError as error:
        message = str(error)
    counts = {
        "requests": sum(client.requests for client in clients),
        "waited": round(sum(client.waited for client in clients)),
    }
    if message:
        module.fail_json(msg=message, **counts)
    module.exit_json(changed=False, **result, **counts)


if __name__ == "__main__":
    main()
