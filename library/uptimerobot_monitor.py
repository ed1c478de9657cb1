#!/usr/bin/python
"""Bring UptimeRobot's monitors to what is declared: a whole list in one task, with no more requests than it takes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uptimerobot_monitor
short_description: Create, change, pause, start and remove monitors at UptimeRobot
version_added: "0.3.0"
description:
  - Speaks UptimeRobot's API v3. It asks once for all monitors, 200 at a time, and writes only what differs; a list that
    is as it should be costs one request for each 200 monitors. Contacts, groups and maintenance windows that the task
    calls by name cost one more list each.
  - Everything that can be known before is checked before the first write - names that stand for nothing or for several
    things, addresses that the internet cannot reach, what the account's plan does not have, how long the account's
    limit of requests would make the task wait - and one message says all of it.
  - A monitor is found by its id, or by its exact name and type when the task gives no id. Several that fit are refused,
    with their ids.
  - Only what the task names is compared, and not by its spelling. UptimeRobot gives back escaped names, hosts without
    scheme, contacts in another order, 0 and 1 for words.
  - A creation is never sent twice. Where UptimeRobot answers that there is no such monitor, or does not answer, the
    list tells whether it is there, and it is taken over. After a server's error it is left to the next run, which mends
    it.
  - UptimeRobot's lists show what was written with a delay. After writing, the module looks until they do, so that the
    next run finds nothing to do; see O(settle).
  - Wants an account of API v3; the older v2 no longer makes monitors. It runs wherever the internet is reached, which
    is commonly the controller (C(delegate_to=localhost)).
extends_documentation_fragment: [uptimerobot]
options:
  monitor:
    description: One monitor. Either this or O(monitors).
    type: dict
    suboptions: &monitor
      id:
        description: Number of the monitor. It comes before the name, so that it lets the name be changed.
        type: int
      name:
        description: Name that people see. Name and type together are the identity.
        type: str
      type:
        description: V(HTTP), V(KEYWORD), V(PING), V(PORT), V(HEARTBEAT), V(DNS), V(API), V(UDP) or
          V(VISUAL_COMPARISON), in any case. It cannot be changed later. Left out, a monitor that is there is found by
          its name alone.
        type: str
      url:
        description: What is looked at. C(http://) or C(https://) for V(HTTP), V(KEYWORD), V(API) and
          V(VISUAL_COMPARISON), a host for V(PING), V(PORT) and V(UDP), a name or server for V(DNS). A V(HEARTBEAT) has
          none; UptimeRobot makes up the address to which the beats go.
        type: str
      interval:
        description: Seconds between two checks, or two beats. A new monitor gets 300, which is the least that the free
          plan allows.
        type: int
      timeout:
        description: Seconds that one check may take, up to 60. A new monitor gets 30.
        type: int
      port:
        description: Port of a V(PORT) or V(UDP) monitor.
        type: int
      grace_period:
        description: Seconds that a beat may be late.
        type: int
      method:
        description: Method of the request. A new monitor gets V(GET); UptimeRobot itself would take V(HEAD), which many
          an application refuses. Where UptimeRobot does not tell the method, a change of it alone is not seen.
        type: str
        choices: [HEAD, GET, POST, PUT, PATCH, DELETE, OPTIONS, QUERY]
      keyword_type:
        description: V(ALERT_EXISTS) alerts when the keyword is there, V(ALERT_NOT_EXISTS) when it is missing, which is
          the one for a word of health.
        type: str
        choices: [ALERT_EXISTS, ALERT_NOT_EXISTS]
      keyword_case_type:
        description: Whether the case of the keyword counts. A new monitor gets V(CaseSensitive).
        type: str
        choices: [CaseSensitive, CaseInsensitive]
      keyword_value:
        description: The keyword, up to 500 characters, without blanks around it.
        type: str
      auth_type:
        description: How to log in. For V(BEARER) the token is O(monitor.http_password).
        type: str
        choices: [NONE, HTTP_BASIC, DIGEST, BEARER]
      http_username:
        description: Account to log in with.
        type: str
      http_password:
        description: Its password. Compared where UptimeRobot tells it; else O(update_password) says when it is sent.
        type: str
      post_value_type:
        description: Form of O(monitor.post_value_data).
        type: str
        choices: [KEY_VALUE, RAW_JSON]
      post_value_data:
        description: Body of the request, a mapping or a text. Not for secrets, which belong into
          O(monitor.secret_http_headers).
        type: raw
      http_headers:
        description: Headers of the request. Together with O(monitor.secret_http_headers) this is the whole set, once
          one of both is given.
        type: dict
      secret_http_headers:
        description: The same for headers that hold a secret.
        type: dict
      success_codes:
        description: Codes that count as success, each a number or a range like V(2xx); an empty list means 2xx and 3xx.
        type: list
        elements: str
      check_ssl_errors:
        description: Whether a bad certificate counts as down.
        type: bool
      ssl_expiration_reminder:
        description: Whether to tell before the certificate expires; C(sslExpirationPeriodDays) in O(monitor.config)
          says how many days before. Not on the free plan.
        type: bool
      domain_expiration_reminder:
        description: Whether to tell before the domain expires. Not on the free plan.
        type: bool
      follow_redirections:
        description: Whether redirections are followed.
        type: bool
      config:
        description:
          - Settings of the type, by the names of UptimeRobot's API. They are compared key by key, and null removes a
            key.
          - V(API) needs C(apiAssertions), with C(logic) (AND or OR) and one to five C(checks) of C(property),
            C(comparison) and C(target). V(DNS) needs C(dnsRecords), V(UDP) C(udp) with C(packetLossThreshold), and
            V(VISUAL_COMPARISON) C(visualComparison) with C(sensitivityThreshold) and C(viewport).
          - V(HTTP), V(KEYWORD) and V(API) take C(sslExpirationPeriodDays), C(applicationErrorRetries) and C(ipVersion);
            V(PING), V(PORT) and V(UDP) take C(ipVersion), ipv4Only or ipv6Only.
        type: dict
      regions:
        description: Parts of the world to look from, North America, Europe, Asia and Oceania.
        type: list
        elements: str
        choices: [na, eu, as, oc]
      response_time_threshold:
        description: Milliseconds from which an answer counts as slow; 0 is never.
        type: int
      group:
        description: Group of monitors, by name or number; 0 is none.
        type: str
      tags:
        description: Tags, in small letters. Given, this is the whole set, together with O(owner_tag).
        type: list
        elements: str
      custom_fields:
        description: Texts of yours, up to 20. Given, this is the whole set. Not on the free plan.
        type: dict
      alert_contacts:
        description: Who is told, integrations like Slack among them. Given, this is the whole set; an empty list tells
          nobody.
        type: list
        elements: dict
        suboptions:
          contact:
            description: Name, e-mail address or number of a contact or an integration.
            type: str
            required: true
          threshold:
            description: Minutes that a monitor has to be down before it is told. The free plan takes 0 only.
            type: int
            default: 0
          recurrence:
            description: Minutes after which it is told again; 0 is never. The free plan takes 0 only.
            type: int
            default: 0
      maintenance_windows:
        description: Maintenance windows, by name or number. Given, this is the whole set.
        type: list
        elements: str
      state:
        description: V(present) leaves it paused or running as it is; a new one runs. V(paused) and V(started) see to
          it; both make a monitor that is missing.
        type: str
        choices: [present, absent, paused, started]
        default: present
      fallback:
        description: What takes this monitor's place where the account's plan does not have its type, such as V(KEYWORD)
          for V(API). Whatever is not said here is as in the monitor. A fallback that is there stays, also under a plan
          that would have the type; remove it to have the type tried again.
        type: dict
        suboptions:
          type:
            description: Type of the fallback.
            type: str
            required: true
          url:
            description: What is looked at.
            type: str
          port:
            description: Port of a V(PORT) or V(UDP) monitor.
            type: int
          method:
            description: Method of the request.
            type: str
            choices: [HEAD, GET, POST, PUT, PATCH, DELETE, OPTIONS, QUERY]
          keyword_type:
            description: Whether the keyword has to be missing or to be there for an alert.
            type: str
            choices: [ALERT_EXISTS, ALERT_NOT_EXISTS]
          keyword_case_type:
            description: Whether the case of the keyword counts.
            type: str
            choices: [CaseSensitive, CaseInsensitive]
          keyword_value:
            description: The keyword.
            type: str
          config:
            description: Settings of the type. Left out, they are those of the monitor that the type takes.
            type: dict
  monitors:
    description: Several monitors in one execution, and in one list of what is there.
    type: list
    elements: dict
    suboptions: *monitor
  owner_tag:
    description: Tag that each monitor of the task gets besides its own, to know them again.
    type: str
  purge:
    description: Whether monitors with O(owner_tag) that the task does not name are removed. Others are never touched.
    type: bool
    default: false
  update_password:
    description:
      - What happens with O(monitor.http_password) where UptimeRobot does not tell the one it has. V(on_create) sends it
        to a new monitor, and along with another change of how to log in. V(always) sends it in each run and reports a
        change each time.
    type: str
    choices: [on_create, always]
    default: on_create
  settle:
    description: Seconds in which UptimeRobot's list has to show what was written, twice in a row. If it does not, the
      task warns. 0 does not look.
    type: int
    default: 60
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It says what would change, and refuses what the account's plan does not have. A read-only key is
      enough.
    support: full
  diff_mode:
    description: It shows the fields that the task names, monitor by monitor; of secrets only whether they change.
    support: full
notes:
  - While it waits for the account's limit, a line says for how long. Where the module runs on the controller, the line
    is shown at once.
  - The address to which the beats of a V(HEARTBEAT) monitor go is a secret, and it is in the result; C(no_log) keeps it
    out of the output.
"""

EXAMPLES = r"""
- name: Watch the shop from outside, and remove what an earlier version of this list has made
  uptimerobot_monitor:
    owner_tag: shop-playbook
    purge: true
    monitors:
      - name: Shop
        type: HTTP
        url: https://shop.example.com/
        interval: 300
        alert_contacts:
          - contact: oncall@example.com
      - name: Shop API health
        type: HTTP
        url: https://shop.example.com/api/health
        success_codes: ["200"]
      - name: Shop API status
        type: API
        url: https://shop.example.com/api/health
        config:
          apiAssertions:
            logic: AND
            checks:
              - {property: $.status, comparison: equals, target: ok}
        fallback:
          type: KEYWORD
          keyword_type: ALERT_NOT_EXISTS
          keyword_value: '"status":"ok"'

- name: Have the nightly backup report itself
  uptimerobot_monitor:
    monitor:
      name: Nightly backup
      type: HEARTBEAT
      interval: 86400
      grace_period: 3600
  register: backup_monitor
  no_log: true

- name: Pause the shop
  uptimerobot_monitor:
    monitor: {name: Shop, type: HTTP, state: paused}

- name: Tell Slack after five minutes, and again every hour
  uptimerobot_monitor:
    monitor:
      name: Shop database
      type: PORT
      url: db.example.com
      port: 5432
      interval: 60
      tags: [shop, database]
      alert_contacts:
        - {contact: Team channel, threshold: 5, recurrence: 60}

- name: Watch behind a login, with a certificate that is told of in time
  uptimerobot_monitor:
    monitor:
      name: Intranet
      type: HTTP
      url: https://intranet.example.com/health
      auth_type: HTTP_BASIC
      http_username: uptime
      http_password: "{{ vault_intranet_password }}"
      check_ssl_errors: true
      ssl_expiration_reminder: true
      config:
        sslExpirationPeriodDays: [30, 14, 7, 1]

- name: Remove a monitor
  uptimerobot_monitor:
    monitor: {name: Old shop, state: absent}
"""

RETURN = r"""
actions:
  description: The changes, one by one; in check mode those that would be made.
  returned: always
  type: list
  elements: str
monitors:
  description: What became of each monitor of the task.
  returned: success
  type: list
  elements: dict
  contains:
    id: {description: "Its number; null in check mode as long as it is not made.", type: int, returned: always}
    name: {description: Its name., type: str, returned: always}
    type: {description: "Its type, the fallback's where that took its place.", type: str, returned: always}
    url: {description: "What it looks at; empty for C(HEARTBEAT).", type: str, returned: always}
    state:
      description: C(created), C(changed), C(unchanged), C(removed) or C(absent).
      type: str
      returned: always
    status:
      description: What UptimeRobot says of it, such as C(UP), C(DOWN), C(PAUSED) or C(STARTED) before the first check.
      type: str
      returned: always
    heartbeat_url:
      description: Where the beats of a C(HEARTBEAT) go, a secret; empty for all others.
      type: str
      returned: always
requests:
  description: How many requests were sent.
  returned: always
  type: int
waited:
  description: Seconds that the task has waited for the account's limit of requests.
  returned: always
  type: int
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.http_api import rendered
from ansible.module_utils.watchkeeper.uptimerobot import CONNECTION, PLAN_CODES, UptimeRobot, UptimeRobotError, readable
from ansible.module_utils.watchkeeper.uptimerobot_monitors import (
    HEARTBEAT,
    Ids,
    Wish,
    alternative,
    beyond_plan,
    creation,
    differences,
    is_absent,
    is_paused,
    kind_of,
    lacking,
    monitors_left,
    name_of,
    number_of,
    plan_has,
    plan_of,
    problems,
    same_place,
    shown,
    tags_of,
    title_of,
    type_of,
    untold_credentials,
    update,
    wish_of,
)

LIST = "/monitors"
# Types that every plan has; whether it has another, only a creation tells.
CERTAIN = ("HTTP", "KEYWORD", "PING", "PORT")
HEARTBEATS = "https://heartbeat.uptimerobot.com/"
# How often the list is looked at for a monitor whose creation was not confirmed, and the seconds between two looks.
LOOKS = 5
FIRST_WAIT, LONGEST_WAIT = 0.5, 5.0
METHOD = {"type": "str", "choices": ["HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"]}
KEYWORD: dict[str, Any] = {
    "keyword_type": {"type": "str", "choices": ["ALERT_EXISTS", "ALERT_NOT_EXISTS"]},
    "keyword_case_type": {"type": "str", "choices": ["CaseSensitive", "CaseInsensitive"]},
    "keyword_value": {"type": "str"},
}
MONITOR: dict[str, Any] = {
    "id": {"type": "int"},
    "name": {"type": "str"},
    "type": {"type": "str"},
    "url": {"type": "str"},
    "interval": {"type": "int"},
    "timeout": {"type": "int"},
    "port": {"type": "int"},
    "grace_period": {"type": "int"},
    "method": METHOD,
    **KEYWORD,
    "auth_type": {"type": "str", "choices": ["NONE", "HTTP_BASIC", "DIGEST", "BEARER"]},
    "http_username": {"type": "str"},
    "http_password": {"type": "str", "no_log": True},
    "post_value_type": {"type": "str", "choices": ["KEY_VALUE", "RAW_JSON"]},
    "post_value_data": {"type": "raw"},
    "http_headers": {"type": "dict"},
    "secret_http_headers": {"type": "dict", "no_log": True},
    "success_codes": {"type": "list", "elements": "str"},
    "check_ssl_errors": {"type": "bool"},
    "ssl_expiration_reminder": {"type": "bool"},
    "domain_expiration_reminder": {"type": "bool"},
    "follow_redirections": {"type": "bool"},
    "config": {"type": "dict"},
    "regions": {"type": "list", "elements": "str", "choices": ["na", "eu", "as", "oc"]},
    "response_time_threshold": {"type": "int"},
    "group": {"type": "str"},
    "tags": {"type": "list", "elements": "str"},
    "custom_fields": {"type": "dict"},
    "alert_contacts": {
        "type": "list",
        "elements": "dict",
        "options": {
            "contact": {"type": "str", "required": True},
            "threshold": {"type": "int", "default": 0},
            "recurrence": {"type": "int", "default": 0},
        },
    },
    "maintenance_windows": {"type": "list", "elements": "str"},
    "state": {"type": "str", "choices": ["present", "absent", "paused", "started"], "default": "present"},
    "fallback": {
        "type": "dict",
        "options": {
            "type": {"type": "str", "required": True},
            "url": {"type": "str"},
            "port": {"type": "int"},
            "method": METHOD,
            **KEYWORD,
            "config": {"type": "dict"},
        },
    },
}
ARGUMENTS: dict[str, Any] = {
    **CONNECTION,
    "monitor": {"type": "dict", "options": MONITOR},
    "monitors": {"type": "list", "elements": "dict", "options": MONITOR},
    "owner_tag": {"type": "str"},
    "purge": {"type": "bool", "default": False},
    "update_password": {"type": "str", "choices": ["on_create", "always"], "default": "on_create", "no_log": False},
    "settle": {"type": "int", "default": 60},
}


class RefusedError(Exception):
    """What the task asks for cannot be; nothing was written."""


@dataclass
class Plan:
    """One monitor of the task: what is there, what it lacks, and what became of it."""

    item: dict[str, Any]
    # As it is, or as it was answered last; None where there is none.
    live: dict[str, Any] | None = None
    wish: Wish | None = None
    changed: list[str] = field(default_factory=list)
    # Whether it has to be paused (True) or started (False).
    turn: bool | None = None
    state: str = "unchanged"

    @property
    def title(self) -> str:
        """How it is called in messages."""
        return title_of(self.item)

    @property
    def absent(self) -> bool:
        """Whether it is to go."""
        return is_absent(self.item)

    @property
    def writes(self) -> int:
        """How many requests it takes to bring it to what is declared."""
        if self.absent:
            return int(self.live is not None)
        return int(self.live is None or bool(self.changed)) + int(self.turn is not None)


@dataclass
class Outcome:
    """What was done, or would be."""

    actions: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def note(self, action: str, title: str, before: Any, after: Any) -> None:
        """Add one change, with its part in the diff."""
        self.actions.append(action)
        texts = {"before": rendered(before), "after": rendered(after)}
        self.diff.append({"before_header": title, "after_header": title, **texts})


class Names:
    """What names stand for, looked up only as far as the task needs it."""

    def __init__(self, client: UptimeRobot, listed: Sequence[Mapping[str, Any]]) -> None:
        self.client = client
        # What monitors have already is there, and nobody need be asked.
        self.seen = {
            "contact": {
                int(contact["alertContactId"]) for one in listed for contact in one.get("assignedAlertContacts") or []
            },
            "maintenance window": {
                number_of(window) for one in listed for window in one.get("maintenanceWindows") or []
            },
            "group": {0, *(int(one.get("groupId") or 0) for one in listed)},
        }
        self.paths = {
            "contact": ("/alert-contacts", "/integrations"),
            "maintenance window": ("/maintenance-windows",),
            "group": ("/monitor-groups",),
        }
        self.lists: dict[str, list[dict[str, Any]]] = {}

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        """Return everything of a kind that the account has."""
        if kind not in self.lists:
            self.lists[kind] = [one for path in self.paths[kind] for one in self.client.listing(path)]
        return self.lists[kind]

    def ids(self, kind: str, names: Sequence[str], who: str, refused: list[str]) -> dict[str, int]:
        """Return what each name stands for, and add a sentence for each that stands for nothing or for several."""
        found: dict[str, int] = {}
        for name in names:
            if kind == "group" and not name:
                found[name] = 0
            elif name.isdigit():
                number = int(name)
                found[name] = number
                if number not in self.seen[kind] and not self.exists(kind, number):
                    refused.append(f"{who}: the account has no {kind} with the id {name}{self.known(kind)}")
            else:
                fit = {number_of(one) for one in self.all_of(kind) if name in self.names_of(one)}
                if len(fit) == 1:
                    found[name] = fit.pop()
                elif fit:
                    ids = ", ".join(str(number) for number in sorted(fit))
                    refused.append(f"{who}: several of the kind {kind} have the name {name} (ids {ids}): give the id")
                else:
                    refused.append(f"{who}: the account has no {kind} {name}{self.known(kind)}")
        return found

    def exists(self, kind: str, number: int) -> bool:
        """Tell whether a number is one of the account's."""
        if any(number_of(one) == number for one in self.all_of(kind)):
            return True
        if kind != "contact":
            return False
        # Those of the organisation's other people are in no other list.
        people = self.client.get("/user/all-alert-contacts")
        return any(number_of(one) == number for person in people for one in person.get("alertContacts") or [])

    def names_of(self, one: Mapping[str, Any]) -> set[str]:
        """Return what something may be called: its name, and an e-mail address is as good as one."""
        value = str(one.get("value") or "")
        names = {str(one.get(key) or "") for key in ("friendlyName", "name")}
        return (names | ({value} if "@" in value and "/" not in value else set())) - {""}

    def known(self, kind: str) -> str:
        """Return, for a message, the names that there are."""
        names = sorted({min(self.names_of(one)) for one in self.all_of(kind) if self.names_of(one)})
        shown = ", ".join(names[:10]) + (" and others" if len(names) > 10 else "")
        return f"; it has {shown}" if names else "; it has none"


class Monitors:
    """The monitors of one account."""

    def __init__(self, client: UptimeRobot, params: Mapping[str, Any], check_mode: bool) -> None:
        self.client = client
        self.check_mode = check_mode
        self.owner_tag: str = (params["owner_tag"] or "").strip().lower()
        self.purging: bool = params["purge"]
        self.always_password = params["update_password"] == "always"  # noqa: S105 - a word about it
        self.settle_seconds: int = params["settle"]
        items = params["monitors"] if params["monitor"] is None else [params["monitor"]]
        self.plans = [Plan(item) for item in items]
        self.strays: list[dict[str, Any]] = []
        self.outcome = Outcome()
        self.listed: list[dict[str, Any]] = []
        self.names = Names(client, [])
        # Ids that this task knows of: a creation that was not confirmed is none of them.
        self.known: set[int] = set()
        self.removed: set[int] = set()
        # Types that the plan has turned out not to have.
        self.lacking_types: set[str] = set()

    # Looking

    def look(self) -> None:
        """Find out what is there and what it lacks; raise RefusedError with all that cannot be."""
        self.listed = self.client.listing(LIST)
        self.known = {number_of(one) for one in self.listed}
        self.names = Names(self.client, self.listed)
        refused: list[str] = []
        for plan in self.plans:
            self.examine(plan, refused)
        taken: dict[int, str] = {}
        for plan in self.plans:
            if plan.live:
                number = number_of(plan.live)
                if number in taken:
                    refused.append(
                        f"{plan.title} and {taken[number]} of the task are one monitor, with the id {number}"
                    )
                taken[number] = plan.title
        if self.purging:
            known = {*taken, *map(number_of, self.strays)}
            self.strays += [
                one for one in self.listed if self.owner_tag in tags_of(one) and number_of(one) not in known
            ]
        if refused:
            raise RefusedError("\n".join(refused))

    def examine(self, plan: Plan, refused: list[str]) -> None:
        """Compare one monitor with what is live."""
        before = len(refused)
        plan.live = self.find(plan, refused)
        other = alternative(plan.item) if len(refused) == before else None
        if other is not None and (plan.live is None or plan.absent):
            # A fallback that is there is what the plan has left; both go together.
            found = self.find(Plan(other), refused)
            if found is not None and plan.live is None:
                plan.item, plan.live = other, found
            elif found is not None:
                self.strays.append(found)
        if plan.absent or len(refused) > before:
            plan.state = "absent" if plan.absent else plan.state
            return
        if plan.live is None:
            missing = lacking(plan.item)
            if missing:
                refused.append(f"{plan.title} is not there, and to make it {' and '.join(missing)} must be given")
                return
        self.compare(plan, refused)

    def find(self, plan: Plan, refused: list[str]) -> dict[str, Any] | None:
        """Return the monitor that a declaration means, None where there is none."""
        item, kind = plan.item, type_of(plan.item)
        if item["id"]:
            found = next((one for one in self.listed if number_of(one) == item["id"]), None)
            if found is None and not plan.absent:
                refused.append(f"{plan.title}: the account has no monitor with the id {item['id']}")
            elif found is not None and kind and kind != kind_of(found):
                refused.append(
                    f"{plan.title}: the monitor with the id {item['id']} is of the type {kind_of(found)}, and a type "
                    f"cannot be changed: set type to {kind_of(found)}, or remove that one and leave out the id"
                )
            return found
        fit = [one for one in self.listed if name_of(one) == item["name"] and kind in ("", kind_of(one))]
        if len(fit) > 1:
            ids = ", ".join(f"{number_of(one)} ({kind_of(one)}, {self.place_of(one)})" for one in fit)
            refused.append(
                f"{plan.title}: the account has {len(fit)} monitors that are meant by this, with the ids {ids}: set id "
                "to the right one, or remove the others"
            )
            return None
        return fit[0] if fit else None

    @staticmethod
    def place_of(live: Mapping[str, Any]) -> str:
        """Return what a monitor looks at, for a message; where a heartbeat goes is a secret."""
        return "" if kind_of(live) == HEARTBEAT else str(live.get("url") or "")

    def compare(self, plan: Plan, refused: list[str]) -> None:
        """Say what a monitor lacks."""
        item, live = plan.item, plan.live
        kind = type_of(item) or kind_of(live or {})
        before = len(refused)
        if not type_of(item):
            # Its options could not be checked without its type.
            refused += problems([{**item, "type": kind, "fallback": None}])
        who, names = plan.title, self.names
        ids = Ids(
            names.ids("contact", [one["contact"] for one in item["alert_contacts"] or []], who, refused),
            names.ids("maintenance window", item["maintenance_windows"] or [], who, refused),
            names.ids("group", [item["group"]] if item["group"] is not None else [], who, refused),
        )
        if len(refused) > before:
            return
        wish = plan.wish = wish_of(item, ids, self.owner_tag, kind)
        if live is None:
            plan.turn = True if wish.paused else None
            return
        plan.changed = differences(wish, live)
        if "httpPassword" in wish.fields and self.always_password and "httpPassword" not in plan.changed:
            plan.changed.append("httpPassword")
        if untold_credentials(wish, live) and not self.always_password:
            self.outcome.warnings.append(
                f"{plan.title}: UptimeRobot does not tell how it logs in, so that a change of auth_type, http_username "
                "or http_password is not seen; update_password set to always sends them"
            )
        if wish.paused is not None and wish.paused != is_paused(live):
            plan.turn = wish.paused

    # Before writing

    def check_limits(self) -> None:
        """Raise RefusedError where the key, the plan or the limit of requests do not let the writes be."""
        count = sum(plan.writes for plan in self.plans) + len(self.strays)
        if not count:
            return
        if self.client.read_only and not self.check_mode:
            raise RefusedError(
                f"{count} changes would be needed, and the key may only read: set api_key or UPTIMEROBOT_API_KEY to "
                "the account's main key, or use check mode"
            )
        if any(not plan.absent and plan.writes for plan in self.plans):
            self.check_plan()
        if self.client.rate and not self.check_mode:
            minutes = (count - 1) // self.client.rate
            allowed = self.client.allowed_wait
            if minutes * 60 > allowed:
                raise RefusedError(
                    f"{count} changes at {self.client.rate} requests a minute, which is the account's limit, take "
                    f"about {minutes} minutes, and rate_limit_wait is {allowed} s: set it to {(minutes + 1) * 60}"
                )

    def check_plan(self) -> None:
        """Raise RefusedError for what the account's plan does not have, all of it."""
        account = self.client.account()
        for plan in self.plans:
            if not plan.absent and plan.live is None and not plan_has(account, type_of(plan.item)):
                self.fall_back(plan)
        bodies: list[tuple[str, str, Mapping[str, Any]]] = []
        for plan in self.plans:
            wish = plan.wish
            if wish is None or not (plan.live is None or plan.changed):
                continue
            body = creation(wish) if plan.live is None else update(wish, plan.live, plan.changed)
            bodies.append((plan.title, wish.kind if plan.live is None else "", body))
        refused = beyond_plan(account, bodies)
        made = [plan for plan in self.plans if not plan.absent and plan.live is None]
        going = len(self.strays) + sum(plan.absent and plan.live is not None for plan in self.plans)
        left = monitors_left(account)
        if left is not None and len(made) > left + going:
            refused.append(
                f"{len(made)} monitors would be made, and the plan {plan_of(account)} has room for {left + going} more "
                "(paused ones count, too): remove some, or take another plan"
            )
        if refused:
            raise RefusedError("\n".join(refused))

    def fall_back(self, plan: Plan) -> bool:
        """Put the fallback of a monitor in its place; False where it has none."""
        other = alternative(plan.item)
        if other is None:
            return False
        plan.item = other
        refused: list[str] = []
        self.compare(plan, refused)
        if refused:
            raise RefusedError("\n".join(refused))
        return True

    # Writing

    def converge(self) -> None:
        """Create and change, then remove; the other way round where the account has no room."""
        made = [plan for plan in self.plans if not plan.absent and plan.live is None]
        # What may be refused comes first, while nothing has been written yet.
        made.sort(key=lambda plan: type_of(plan.item) in CERTAIN)
        left = monitors_left(self.client.account()) if made and not self.check_mode else None
        full = left is not None and left < len(made)
        if full:
            self.remove_all()
        for plan in made:
            self.create(plan)
        for plan in self.plans:
            if not plan.absent and plan.state != "created":
                self.change(plan)
        if not full:
            self.remove_all()

    def remove_all(self) -> None:
        """Take away what is to be absent, and what nobody has declared."""
        for plan in self.plans:
            if plan.absent and plan.live is not None:
                plan.state = "removed"
                self.remove(plan.live, "removed")
        for stray in self.strays:
            self.remove(stray, "purged" if self.purging else "removed")

    def remove(self, live: Mapping[str, Any], word: str) -> None:
        """Take one monitor away; one that has gone in the meantime is no error."""
        number = number_of(live)
        if not self.check_mode:
            self.client.delete(f"{LIST}/{number}")
            self.removed.add(number)
        title = f"monitor {name_of(live)}"
        seen = {"id": number, "friendlyName": name_of(live), "type": kind_of(live), "url": self.place_of(live)}
        self.outcome.note(f"{word} {title}", title, seen, None)

    def create(self, plan: Plan) -> None:
        """Make a monitor, or the one in its place."""
        if type_of(plan.item) in self.lacking_types:
            self.fall_back(plan)
        wish = plan.wish
        if wish is None:
            return
        if not self.check_mode:
            try:
                plan.live = self.post(plan, wish)
            except UptimeRobotError as error:
                if not lacks_type(error) or alternative(plan.item) is None:
                    raise
                self.lacking_types.add(wish.kind)
                self.fall_back(plan)
                self.create(plan)
                return
            self.known.add(number_of(plan.live))
        _, after = shown(wish, None, wish.fields)
        plan.state = "created"
        self.outcome.note(f"created {plan.title}", plan.title, None, {"type": wish.kind, **after})
        if plan.live is not None:
            # One that was taken over may not be quite what was asked for.
            plan.changed = differences(wish, plan.live) if plan.live.pop("adopted", False) else []
            if plan.changed:
                self.patch(plan, wish)
        self.pause_or_start(plan)

    def post(self, plan: Plan, wish: Wish) -> dict[str, Any]:
        """Have UptimeRobot make a monitor; find it where the answer does not admit that it is there."""
        try:
            return readable(self.client.send("POST", LIST, creation(wish)))
        except UptimeRobotError as error:
            if error.status not in (0, 404):
                if error.status >= 500:
                    raise UptimeRobotError(
                        f"{plan.title}: {error}. It may have been made all the same, with settings that are not those "
                        "of the task; the next run finds it by its name and mends it",
                        error.status,
                    ) from None
                raise UptimeRobotError(f"{plan.title}: {error}", error.status, error.code) from None
            adopted = self.adopt(plan, wish)
            if adopted is None:
                raise UptimeRobotError(
                    f"{plan.title}: {error}. UptimeRobot's list does not show it either; run again later", error.status
                ) from None
            return adopted

    def adopt(self, plan: Plan, wish: Wish) -> dict[str, Any] | None:
        """Return the monitor that was made although the answer said otherwise; it must be exactly one."""
        wait = FIRST_WAIT
        for look in range(LOOKS):
            if look:
                time.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
            fit = [
                one
                for one in self.client.listing(LIST)
                if number_of(one) not in self.known
                and name_of(one) == wish.fields["friendlyName"]
                and kind_of(one) == wish.kind
                and same_place(wish.kind, wish.fields.get("url"), one.get("url"))
            ]
            if len(fit) > 1:
                ids = ", ".join(str(number_of(one)) for one in fit)
                raise UptimeRobotError(f"{plan.title}: several have come meanwhile (ids {ids}); remove all but one")
            if fit:
                return {**fit[0], "adopted": True}
        return None

    def change(self, plan: Plan) -> None:
        """Give a monitor what it lacks."""
        wish, live = plan.wish, plan.live
        if wish is None or live is None or not (plan.changed or plan.turn is not None):
            return
        plan.state = "changed"
        if plan.changed:
            before, after = shown(wish, live, plan.changed)
            what = ", ".join(sorted(plan.changed))
            if not self.check_mode:
                self.patch(plan, wish)
            self.outcome.note(f"changed {what} of {plan.title}", plan.title, before, after)
        self.pause_or_start(plan)

    def patch(self, plan: Plan, wish: Wish) -> None:
        """Write the fields that a monitor lacks."""
        live = plan.live or {}
        try:
            answer = self.client.send("PATCH", f"{LIST}/{number_of(live)}", update(wish, live, plan.changed))
        except UptimeRobotError as error:
            raise UptimeRobotError(f"{plan.title}: {error}", error.status, error.code) from None
        plan.live = readable(answer) if answer.get("id") else live

    def pause_or_start(self, plan: Plan) -> None:
        """Pause or start a monitor that is not as it should be."""
        if plan.turn is None:
            return
        word = "pause" if plan.turn else "start"
        if not self.check_mode and plan.live is not None:
            answer = self.client.send("POST", f"{LIST}/{number_of(plan.live)}/{word}", {})
            plan.live = readable(answer) if answer.get("id") else plan.live
        before, after = {"paused": not plan.turn}, {"paused": plan.turn}
        self.outcome.note(f"{word}{'d' if plan.turn else 'ed'} {plan.title}", plan.title, before, after)

    # Afterwards

    def settle(self) -> None:
        """Wait until UptimeRobot's list shows what was written, twice in a row, so that the next run sees it, too."""
        if self.check_mode or not self.outcome.actions or self.settle_seconds <= 0:
            return
        end = time.monotonic() + self.settle_seconds
        wait, agreed, behind = FIRST_WAIT, 0, ["nothing"]
        while agreed < 2:
            try:
                behind = self.behind({number_of(one): one for one in self.client.listing(LIST)})
            except UptimeRobotError as error:
                self.outcome.warnings.append(f"Everything is written, but could not be looked at again: {error}")
                return
            agreed = 0 if behind else agreed + 1
            if agreed < 2:
                if time.monotonic() + wait > end:
                    break
                time.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT) if behind else FIRST_WAIT
        if behind:
            self.outcome.warnings.append(
                f"UptimeRobot's list does not show after {self.settle_seconds} s what was written: "
                f"{'; '.join(behind)}. The next run may write it again"
            )

    def behind(self, listed: Mapping[int, Mapping[str, Any]]) -> list[str]:
        """Return what a list does not show yet."""
        found = [f"the id {number} is still there" for number in sorted(self.removed & set(listed))]
        for plan in self.plans:
            if plan.absent or plan.state == "unchanged" or plan.live is None or plan.wish is None:
                continue
            live = listed.get(number_of(plan.live))
            if live is None:
                found.append(f"{plan.title} is missing")
                continue
            older = differences(plan.wish, live)
            if plan.wish.paused is not None and plan.wish.paused != is_paused(live):
                older.append("status")
            if older:
                found.append(f"{', '.join(older)} of {plan.title}")
        return found

    def result(self) -> list[dict[str, Any]]:
        """Return what became of each monitor of the task."""
        return [self.told(plan) for plan in self.plans]

    def told(self, plan: Plan) -> dict[str, Any]:
        """Return what became of one."""
        live = plan.live or {}
        kind = kind_of(live) or type_of(plan.item)
        address = str(live.get("url") or "")
        beats = address if kind == HEARTBEAT and not plan.absent else ""
        return {
            "id": number_of(live) if live else plan.item["id"],
            "name": plan.item["name"] or name_of(live),
            "type": kind,
            "url": "" if kind == HEARTBEAT else address or plan.item["url"] or "",
            "state": plan.state,
            "status": "" if plan.absent else str(live.get("status") or ""),
            "heartbeat_url": beats if not beats or "://" in beats else HEARTBEATS + beats.lstrip("/"),
        }


def lacks_type(error: UptimeRobotError) -> bool:
    """Tell whether a creation was refused because of the account's plan."""
    return error.status == 403 and (error.code in PLAN_CODES or "plan" in str(error).lower())


def check_task(params: Mapping[str, Any]) -> None:
    """Raise RefusedError when something is wrong with the task itself."""
    wrong = problems(params["monitors"] if params["monitor"] is None else [params["monitor"]])
    if params["purge"] and not (params["owner_tag"] or "").strip():
        wrong.append("purge needs owner_tag: only monitors with that tag are removed")
    if "," in (params["owner_tag"] or ""):
        wrong.append(f"owner_tag is {params['owner_tag']!r}; a tag has no comma")
    if wrong:
        raise RefusedError("\n".join(wrong))


def main() -> None:
    """Do it, or say what would be done."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        mutually_exclusive=[("monitor", "monitors")],
        required_one_of=[("monitor", "monitors")],
        supports_check_mode=True,
    )
    params = module.params
    client: UptimeRobot | None = None
    actions: list[str] = []
    try:
        check_task(params)
        client = UptimeRobot.from_params(params, module.log)
        for item in params["monitors"] or [params["monitor"]]:
            if item:
                client.hide([item["http_password"], *(item["secret_http_headers"] or {}).values()])
        monitors = Monitors(client, params, module.check_mode)
        actions = monitors.outcome.actions
        monitors.look()
        monitors.check_limits()
        monitors.converge()
        monitors.settle()
    except (RefusedError, UptimeRobotError) as error:
        module.fail_json(
            msg=str(error),
            changed=bool(actions) and not module.check_mode,
            actions=actions,
            requests=client.requests if client else 0,
            waited=round(client.waited) if client else 0,
        )
        return
    outcome = monitors.outcome
    for text in outcome.warnings:
        module.warn(text)
    result = {
        "changed": bool(outcome.actions),
        "actions": outcome.actions,
        "monitors": monitors.result(),
        "requests": client.requests,
        "waited": round(client.waited),
    }
    module.exit_json(**result, **({"diff": outcome.diff} if module._diff else {}))


if __name__ == "__main__":
    main()
