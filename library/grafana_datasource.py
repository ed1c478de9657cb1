#!/usr/bin/python
"""Bring Grafana's data sources to what is declared, and leave everything else in them alone."""

from __future__ import annotations

DOCUMENTATION = r"""
module: grafana_datasource
short_description: Create, change and remove data sources in Grafana
version_added: "0.3.0"
description:
  - Asks Grafana once for its list of data sources, reads single ones only where the list cannot tell, and writes only
    what differs. Everything is checked, and every refusal known, before the first write.
  - A data source is found by its uid, or by its name when the task gives no uid. Numeric ids are never used.
  - Only what the task names is compared; what people changed in other fields through Grafana's pages stays. Mappings in
    C(json_data) are compared key by key, lists as a whole, and a null removes a key.
  - Grafana never tells secrets. A keyed digest of them, kept in the data source's settings, tells whether they changed.
  - A data source that file provisioning manages is read-only to this module; the task fails if it would have to change.
  - Types that Grafana ships are checked for their URL's form, required settings and slips in names; any other type is
    taken as it is.
extends_documentation_fragment: [grafana]
options:
  datasource:
    description: One data source. Either this or O(datasources).
    type: dict
    suboptions: &datasource
      name:
        description: Name that people see. Needed, unless one is removed by its uid.
        type: str
      uid:
        description: Identity, 1 to 40 letters, digits, - and _. It cannot be changed later. Left out, the name is the
          identity, and Grafana makes up a uid.
        type: str
      type:
        description: Plugin, for example V(prometheus), V(loki), V(alertmanager), V(postgres), V(tempo) or V(jaeger).
        type: str
      url:
        description: Address of what is queried. V(postgres) and V(mysql) take host:port, all others C(http://) or
          C(https://).
        type: str
      access:
        description: Who asks, Grafana (V(proxy), what a new one gets) or the browser (V(direct)).
        type: str
        choices: [proxy, direct]
      user:
        description: Account in a database.
        type: str
      database:
        description: Name of a database. Newer types have it in C(json_data.database).
        type: str
      basic_auth:
        description: Whether Grafana logs in with a name and a password.
        type: bool
      basic_auth_user:
        description: That name; the password is C(basicAuthPassword) in C(secure_json_data).
        type: str
      with_credentials:
        description: Whether the browser's cookies go along.
        type: bool
      is_default:
        description: Whether panels without a data source use this one. The first one of an organisation becomes it by
          itself.
        type: bool
      json_data:
        description: Settings of the type, by the names of Grafana's API.
        type: dict
      secure_json_data:
        description: Secrets of the type, by the names of Grafana's API. Given, this is the whole set, and what is not
          in it is cleared; left out, secrets are not touched.
        type: dict
      correlations:
        description: Links from this data source's results to another data source or a page. Given, links that an
          earlier run made and that are not in the list go; those made by others stay.
        type: list
        elements: dict
        suboptions:
          target_uid:
            description: Uid of the data source that the link leads to.
            type: str
          label:
            description: Text of the link. Target and label together are the identity.
            type: str
            required: true
          description:
            description: Text for those who manage links.
            type: str
            default: ""
          type:
            description: V(query) leads to a data source, V(external) to a URL.
            type: str
            choices: [query, external]
            default: query
          config:
            description: C(field) of the result that gets the link, C(target) (a query, or C(url)), and
              C(transformations) that take variables out of the field.
            type: dict
            required: true
      health:
        description:
          - Whether Grafana has to reach what the data source stands for before the task is done. If it does not, the
            task fails, and a data source that it has made or changed is put back; only its secrets cannot be.
        type: bool
        default: false
      state:
        description: Whether it is to be there.
        type: str
        choices: [present, absent]
        default: present
  datasources:
    description: Several data sources in one execution on the host.
    type: list
    elements: dict
    suboptions: *datasource
  update_secrets:
    description:
      - V(on_change) sends secrets when they are not those that an earlier run sent, or when one is missing. A secret
        that somebody overwrote through Grafana's pages cannot be seen.
      - V(always) sends them in each run and reports a change each time. V(on_create) sends them to new data sources
        only.
    type: str
    choices: [on_change, always, on_create]
    default: on_change
  digest_key:
    description: Key of the digest. Who has no key cannot try out passwords against a digest. Another key sends all
      secrets again, once.
    type: str
  digest_key_file:
    description: File with the key, on the host where the module runs.
    type: path
  health_timeout:
    description: Seconds in which a data source with C(health) has to answer.
    type: int
    default: 10
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It says what would change. Where Grafana is to be on this host and does not run yet, everything would
      be created, and a warning says so. Nobody's health is asked for.
    support: full
  diff_mode:
    description: It shows the fields that the task names; of secrets only whether they change.
    support: full
"""

EXAMPLES = r"""
- name: Register Prometheus and Loki
  grafana_datasource:
    password_file: /etc/watchkeeper/grafana/current/config/secrets/admin_password
    datasources:
      - name: Prometheus
        uid: prometheus
        type: prometheus
        url: http://127.0.0.1:9090
        is_default: true
        json_data:
          httpMethod: POST
          timeInterval: 15s
        health: true
      - name: Loki
        uid: loki
        type: loki
        url: http://127.0.0.1:3100
        correlations:
          - target_uid: tempo
            label: Trace
            config:
              field: traceID
              target: {query: "${__value.raw}"}

- name: Register the shop's database, and send its password again whenever it changes
  grafana_datasource:
    url: https://grafana.example.com
    token: "{{ vault_grafana_token }}"
    digest_key: "{{ vault_digest_key }}"
    datasource:
      name: Shop
      uid: shop
      type: postgres
      url: db1.example.com:5432
      user: grafana
      json_data: {database: shop, sslmode: verify-full}
      secure_json_data: {password: "{{ vault_shop_password }}"}

- name: Remove a data source
  grafana_datasource:
    token: "{{ vault_grafana_token }}"
    datasource: {uid: old, state: absent}
"""

RETURN = r"""
actions:
  description: The changes, one by one; in check mode those that would be made.
  returned: always
  type: list
  elements: str
datasources:
  description: What became of each data source of the task.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str, returned: always}
    uid: {description: "Its uid; empty as long as Grafana has not made one up.", type: str, returned: always}
    state: {description: "C(created), C(changed), C(unchanged), C(removed) or C(absent).", type: str, returned: always}
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.grafana import (
    CONNECTION,
    LOGINS,
    Grafana,
    GrafanaError,
    grafana_not_there,
    read_secret,
)
from ansible.module_utils.watchkeeper.grafana_datasources import (
    CORRELATIONS,
    Change,
    Secrets,
    as_before,
    canonical_type,
    compare_correlations,
    creation,
    identity,
    list_can_tell,
    matching,
    namesake,
    problems,
    recorded,
    sendable,
    title_of,
    update,
)
from ansible.module_utils.watchkeeper.http_api import quoted, rendered

LIST = "/api/datasources"
PROVISIONED = (
    "it is read-only, because file provisioning manages it: change it in its file below provisioning/datasources, or "
    "take it out of there (deleteDatasources) and let this task have it"
)
DATASOURCE: dict[str, Any] = {
    "name": {"type": "str"},
    "uid": {"type": "str"},
    "type": {"type": "str"},
    "url": {"type": "str"},
    "access": {"type": "str", "choices": ["proxy", "direct"]},
    "user": {"type": "str"},
    "database": {"type": "str"},
    "basic_auth": {"type": "bool"},
    "basic_auth_user": {"type": "str"},
    "with_credentials": {"type": "bool"},
    "is_default": {"type": "bool"},
    "json_data": {"type": "dict"},
    "secure_json_data": {"type": "dict", "no_log": True},
    "correlations": {
        "type": "list",
        "elements": "dict",
        "options": {
            "target_uid": {"type": "str"},
            "label": {"type": "str", "required": True},
            "description": {"type": "str", "default": ""},
            "type": {"type": "str", "choices": ["query", "external"], "default": "query"},
            "config": {"type": "dict", "required": True},
        },
    },
    "health": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
ARGUMENTS: dict[str, Any] = {
    **CONNECTION,
    "datasource": {"type": "dict", "options": DATASOURCE},
    "datasources": {"type": "list", "elements": "dict", "options": DATASOURCE},
    "update_secrets": {
        "type": "str",
        "choices": ["on_change", "always", "on_create"],
        "default": "on_change",
        "no_log": False,
    },
    "digest_key": {"type": "str", "no_log": True},
    "digest_key_file": {"type": "path", "no_log": False},
    "health_timeout": {"type": "int", "default": 10},
}


class RefusedError(Exception):
    """What the task asks for cannot be; nothing was written."""


@dataclass
class Plan:
    """One data source of the task: what is there, what it lacks, and what became of it."""

    item: dict[str, Any]
    secrets: Secrets
    uid: str = ""
    # As it was found, complete where it has to change; None where there is none.
    live: dict[str, Any] | None = None
    # The same before it was changed, for the way back.
    found: dict[str, Any] | None = None
    change: Change | None = None
    state: str = "unchanged"

    @property
    def title(self) -> str:
        """How it is called in messages."""
        return title_of(self.item)

    @property
    def absent(self) -> bool:
        """Whether it is to go."""
        return bool(self.item["state"] == "absent")


@dataclass
class Outcome:
    """What was done, or would be."""

    actions: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)

    def note(self, action: str, title: str = "", before: Any = None, after: Any = None) -> None:
        """Add one change; with a title it has a part in the diff."""
        self.actions.append(action)
        if title:
            texts = {"before": rendered(before), "after": rendered(after)}
            self.diff.append({"before_header": title, "after_header": title, **texts})


class Sources:
    """The data sources of one organisation."""

    def __init__(self, client: Grafana, plans: list[Plan], check_mode: bool) -> None:
        self.client = client
        self.check_mode = check_mode
        self.outcome = Outcome()
        # The new default one first: whatever is written after it must not take that back.
        self.plans = sorted(plans, key=lambda plan: not plan.item["is_default"])
        self.listed: list[dict[str, Any]] = []
        self.moved_default = ""

    # Looking

    def read(self, uid: str) -> dict[str, Any] | None:
        """Return everything that Grafana tells of one data source."""
        found: dict[str, Any] | None = self.client.find(f"{LIST}/uid/{quoted(uid)}")
        return self.seen(found)

    def seen(self, source: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return a data source as it is once another one has become the default."""
        if source and self.moved_default and source["uid"] != self.moved_default:
            return {**source, "isDefault": False}
        return dict(source) if source else None

    def look(self) -> None:
        """Find out what is there and what it lacks; raise RefusedError with all that cannot be."""
        self.listed = self.client.get(LIST)
        refused = []
        for plan in self.plans:
            try:
                self.examine(plan)
            except (RefusedError, ValueError) as error:
                refused.append(str(error))
        refused += self.strays()
        if refused:
            raise RefusedError("\n".join(refused))

    def examine(self, plan: Plan) -> None:
        """Compare one data source with what is live."""
        item = plan.item
        listed = matching(item, self.listed)
        plan.uid = item["uid"] or (listed or {}).get("uid") or ""
        plan.live = self.seen(listed)
        if plan.absent:
            if plan.live and plan.live.get("readOnly"):
                raise RefusedError(f"{plan.title}: {PROVISIONED}")
            return
        going = {other.uid or other.item["uid"] for other in self.plans if other.absent}
        other = namesake({**item, "uid": plan.uid}, [one for one in self.listed if one["uid"] not in going])
        if other:
            raise RefusedError(
                f"{plan.title}: Grafana has one of this name already, with the uid {other['uid']}. A uid cannot be "
                f"changed: set uid to {other['uid']}, or rename or remove that one first"
            )
        if plan.live and not list_can_tell(item, plan.live):
            plan.live = self.read(plan.uid)
        self.compare(plan)
        if plan.live and plan.change and plan.change.body and plan.live.get("readOnly"):
            raise RefusedError(
                f"{plan.title} would have to change ({', '.join(plan.change.fields)}), but {PROVISIONED}"
            )
        if item["is_default"] and plan.change and plan.change.body:
            self.moved_default = plan.uid or item["name"]

    def compare(self, plan: Plan) -> None:
        """Say what a data source lacks, going by all that Grafana tells of it where it lacks something."""
        if plan.live:
            plan.change = update(plan.item, plan.live, plan.secrets)
            if plan.change.body and "version" not in plan.live:
                plan.live = self.read(plan.uid)
                if plan.live:
                    plan.change = update(plan.item, plan.live, plan.secrets)
        if not plan.live:
            plan.change = creation(plan.item, plan.secrets)

    def strays(self) -> list[str]:
        """Return what is wrong with the targets of correlations."""
        going = {plan.uid for plan in self.plans if plan.absent}
        there = ({one["uid"] for one in self.listed} | {plan.uid for plan in self.plans}) - going
        return [
            f"{plan.title}: a correlation leads to the uid {wish['target_uid']}, and there is no such data source"
            for plan in self.plans
            if not plan.absent
            for wish in plan.item["correlations"] or []
            if wish["target_uid"] and wish["target_uid"] not in there
        ]

    def suppose_nothing(self) -> None:
        """Take it that Grafana is not there yet, so that everything would be created."""
        for plan in self.plans:
            plan.change = None if plan.absent else creation(plan.item, plan.secrets)

    # Writing

    def converge(self) -> None:
        """Remove, create and change, then see to the correlations, which may lead from any one to any other."""
        for plan in self.plans:
            if plan.absent:
                self.remove(plan)
        for plan in self.plans:
            if not plan.absent:
                self.write(plan)
        for plan in self.plans:
            if not plan.absent and plan.item["correlations"] is not None:
                self.correlate(plan)

    def remove(self, plan: Plan) -> None:
        """Take a data source away."""
        plan.state = "absent" if plan.live is None else "removed"
        if plan.live is None:
            return
        if not self.check_mode:
            self.client.delete(f"{LIST}/uid/{quoted(plan.uid)}")
        shown = {key: plan.live[key] for key in ("name", "uid", "type", "url") if key in plan.live}
        self.outcome.note(f"removed {plan.title}", plan.title, shown)

    def write(self, plan: Plan) -> None:
        """Create or change a data source."""
        change = plan.change
        if change is None or change.body is None:
            return
        if plan.live is None:
            plan.state = "created"
            if not self.check_mode:
                self.create(plan, change.body)
            self.outcome.note(f"created {plan.title}", plan.title, None, change.after)
            return
        plan.state, plan.found = "changed", plan.live
        if not self.check_mode:
            plan.live = self.put(plan.live, lambda live: update(plan.item, live, plan.secrets).body)
        what = ", ".join(change.fields)
        self.outcome.note(f"changed {what} of {plan.title}", plan.title, change.before, change.after)

    def create(self, plan: Plan, body: dict[str, Any]) -> None:
        """Have Grafana make a data source; one that came in between is taken over."""
        try:
            live = self.client.send("POST", LIST, body)["datasource"]
            # The first data source of an organisation becomes the default, whatever it says itself.
            complete = plan.item["is_default"] is None or live.get("isDefault") is plan.item["is_default"]
        except GrafanaError as error:
            listed = matching(plan.item, self.client.get(LIST)) if error.status == 409 else None
            live = self.read(listed["uid"]) if listed else None
            if live is None:
                raise
            complete = False
        plan.uid = live["uid"]
        plan.live = live if complete else self.put(live, lambda live: update(plan.item, live, plan.secrets).body)

    def put(self, live: dict[str, Any], body_of: Callable[[dict[str, Any]], dict[str, Any] | None]) -> dict[str, Any]:
        """Change a data source, going by a fresh look once if somebody else was quicker."""
        for last in (False, True):
            body = body_of(live)
            if body is None:
                break
            try:
                return dict(self.client.send("PUT", f"{LIST}/uid/{quoted(live['uid'])}", body)["datasource"])
            except GrafanaError as error:
                fresh = self.read(live["uid"]) if error.status == 409 and not last else None
                if fresh is None:
                    raise
                live = fresh
        return live

    def correlate(self, plan: Plan) -> None:
        """Bring a data source's correlations to what is declared."""
        path = f"{LIST}/uid/{quoted(plan.uid)}/correlations"
        live = [] if plan.live is None or plan.state == "created" else self.client.find(path) or []
        owned = set(((plan.live or {}).get("jsonData") or {}).get(CORRELATIONS) or [])
        needs = compare_correlations(plan.item["correlations"], live, owned)
        if needs:
            ours = owned | needs.wanted
            before = {identity(one): correlation_shown(one) for one in live if identity(one) in ours}
            after = {identity(wish): correlation_shown(wish) for wish in plan.item["correlations"]}
            self.outcome.note(f"changed the correlations of {plan.title}", f"{plan.title}: correlations", before, after)
        elif not needs.wanted <= owned:
            self.outcome.note(f"took over the correlations of {plan.title}")
        elif owned == needs.wanted:
            return
        if plan.state == "unchanged":
            plan.state = "changed"
        if self.check_mode:
            return
        # What is about to be made is noted first: after a run that ends here, the next one knows whose it is.
        if not needs.wanted <= owned:
            self.record(plan, owned | needs.wanted)
        for body in needs.create:
            # One too many would be a link that is shown twice.
            self.client.send("POST", path, body, repeatable=False)
        for uid, body in needs.change:
            self.client.send("PATCH", f"{path}/{quoted(uid)}", body)
        for uid in needs.remove:
            self.client.delete(f"{path}/{quoted(uid)}")
        if not owned <= needs.wanted:
            self.record(plan, needs.wanted)

    def record(self, plan: Plan, owned: Iterable[str]) -> None:
        """Note in a data source which of its correlations are ours."""
        live = self.read(plan.uid)
        if live:
            plan.live = self.put(live, lambda live: recorded(live, owned))

    # Proving

    def prove(self, seconds: float) -> None:
        """Raise GrafanaError unless Grafana reaches what each data source with `health` stands for.

        One that this task has made or changed in vain is put back before.
        """
        failing = []
        for plan in self.plans:
            if plan.item["health"] and not plan.absent:
                problem = self.health(plan.uid, canonical_type(plan.item["type"]), seconds)
                failing += [f"{plan.title}: {problem}. {self.put_back(plan)}"] if problem else []
        if failing:
            raise GrafanaError("Grafana does not reach what stands behind a data source.\n" + "\n".join(failing))

    def put_back(self, plan: Plan) -> str:
        """Undo what the task has done to a data source, and say so."""
        if plan.state == "created":
            self.client.delete(f"{LIST}/uid/{quoted(plan.uid)}")
            said = "It has been removed again."
        elif plan.found is not None and plan.change is not None:
            found = plan.found
            self.put(self.read(plan.uid) or found, lambda live: as_before(found, live))
            said = "It is as it was before."
            if "secureJsonData" in plan.change.fields:
                said = "It is as it was before, but for its secrets, which Grafana does not give back."
        else:
            return "It has not been changed."
        # Another one may have had to stop being the default for it.
        default = next((one["uid"] for one in self.listed if one.get("isDefault")), plan.uid)
        live = self.client.find(f"{LIST}/uid/{quoted(default)}") if default != plan.uid else None
        if live and not live.get("isDefault"):
            self.put(live, lambda live: {**sendable(live), "isDefault": True})
        return said

    def health(self, uid: str, kind: str, seconds: float) -> str:
        """Return what is wrong with a data source, nothing if it answers in time."""
        if kind == "alertmanager":
            # This type has no health check of its own.
            path = f"/api/alertmanager/{quoted(uid)}/api/v2/status"
        else:
            path = f"{LIST}/uid/{quoted(uid)}/health"
        end = time.monotonic() + seconds
        while True:
            try:
                self.client.get(path, waits=())
                return ""
            except GrafanaError as error:
                if time.monotonic() >= end:
                    return str(error)
            time.sleep(min(1.0, max(end - time.monotonic(), 0)))


def correlation_shown(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return a correlation, declared or live, as the diff shows it."""
    config = one.get("config") or {}
    shown = {"description": one.get("description") or "", "type": one.get("type") or "query", **config}
    return {key: value for key, value in shown.items() if value not in (None, "", [], {})}


def plans_of(params: Mapping[str, Any]) -> list[Plan]:
    """Return the task's data sources; raise RefusedError when something is wrong with them."""
    items = params["datasources"] if params["datasource"] is None else [params["datasource"]]
    wrong = problems(items)
    if wrong:
        raise RefusedError("\n".join(wrong))
    key = params["digest_key"] or read_secret(params["digest_key_file"], "digest_key_file")
    return [Plan(item, Secrets.of(item, key, params["update_secrets"])) for item in items]


def main() -> None:
    """Do it, or say what would be done."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        mutually_exclusive=[LOGINS, ("datasource", "datasources"), ("digest_key", "digest_key_file")],
        required_one_of=[LOGINS, ("datasource", "datasources")],
        supports_check_mode=True,
    )
    params = module.params
    actions: list[str] = []
    try:
        bare = module.check_mode and grafana_not_there(params)
        if bare:
            params = {**params, "password": params["password"] or "none yet", "digest_key_file": None}
            module.warn(f"Grafana does not run at {params['url']} yet: every data source would be created")
        plans = plans_of(params)
        client = Grafana.from_params(params)
        for plan in plans:
            client.hide((plan.secrets.values or {}).values())
        sources = Sources(client, plans, module.check_mode)
        outcome = sources.outcome
        actions = outcome.actions
        if bare:
            sources.suppose_nothing()
        else:
            sources.look()
        sources.converge()
        if not module.check_mode:
            sources.prove(params["health_timeout"])
    except (RefusedError, GrafanaError) as error:
        module.fail_json(msg=str(error), changed=bool(actions) and not module.check_mode, actions=actions)
    shown = [
        {"name": plan.item["name"] or "", "uid": plan.uid or plan.item["uid"] or "", "state": plan.state}
        for plan in plans
    ]
    result = {"changed": bool(actions), "actions": actions, "datasources": shown}
    module.exit_json(**result, **({"diff": outcome.diff} if module._diff else {}))


if __name__ == "__main__":
    main()
