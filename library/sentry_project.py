#!/usr/bin/python
"""Bring projects of an error tracker to what is declared, and tell their DSNs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sentry_project
short_description: Create projects in Sentry or Bugsink, alert on their errors, and tell the DSN of each
version_added: "0.3.0"
description:
  - All projects of a task are compared with one listing; only what differs is written.
  - A project is found by its slug if the task gives one, else by its name (on Bugsink in its team, if the task gives
    one). Several of one name are refused.
  - A team that is not there is made.
  - A DSN lets everybody send events. Give the task C(no_log=true) if its result is not for everybody.
extends_documentation_fragment: [error_tracker]
options:
  projects:
    description: The projects.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What people see, and the key in the result.
        type: str
        required: true
      slug:
        description: Name in addresses. Left out, the tracker makes it of the name. Bugsink always does; there, it only
          finds a project.
        type: str
      team:
        description: Its team, by slug on Sentry and by name on Bugsink. Left out, a new project is in the only team
          that there is.
        type: str
      platform:
        description: Platform in the words of Sentry, such as V(python-fastapi) or V(javascript). Bugsink does not ask
          for it.
        type: str
      key_name:
        description: Name of the key whose DSN is told, made if it is not there. Left out, it is the oldest active key,
          which Sentry makes with the project. A project of Bugsink has one key, without a name.
        type: str
      alert:
        description: Alert on an error that is new. Left out, alerts stay as they are.
        type: dict
        suboptions:
          name:
            description: Name of the alert.
            type: str
            default: Watchkeeper
          state:
            description: Whether it is to be there.
            type: str
            choices: [present, absent]
            default: present
          via:
            description: Where it goes. Sentry takes V(email), which is to the project's team, and V(slack); Bugsink all
              but V(email). Needed, unless the alert is removed.
            type: str
            choices: [email, slack, mattermost, discord, msteams, google_chat, webhook]
          url:
            description: Webhook of the channel, for Bugsink. It has to lead to a public address, unless
              C(ALERTS_WEBHOOK_DENY_NON_GLOBAL) of Bugsink's settings is off.
            type: str
          channel:
            description: Channel with its C(#), for Slack on Sentry (needed) and Mattermost on Bugsink.
            type: str
          workspace:
            description: Name of the Slack workspace that is connected to Sentry. Left out, it is the only one.
            type: str
          regression:
            description: Whether an error that was resolved and comes back is told, too.
            type: bool
            default: true
      state:
        description: Whether it is to be there. V(absent) is for Sentry alone; Bugsink's API deletes nothing.
        type: str
        choices: [present, absent]
        default: present
  manage:
    description: Command that runs C(bugsink-manage) with Bugsink's settings and as its account, as a list of words.
      O(projects[].alert) needs it on Bugsink, whose API knows no channels; the module then runs on Bugsink's host.
    type: list
    elements: str
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It says what would change. What is still to be created has no id and no DSN.
    support: full
  diff_mode:
    description: It shows each project that changes, never a DSN or a webhook.
    support: full
"""

EXAMPLES = r"""
- name: Have a project for the shop and one for its pages
  sentry_project:
    url: https://sentry.io
    organization: acme
    token: "{{ vault_sentry_token }}"
    projects:
      - name: shop
        team: web
        platform: python-fastapi
        alert:
          via: slack
          channel: "#shop-errors"
      - name: shop-pages
        team: web
        platform: javascript
  no_log: true
  register: shop_projects

- name: Have a project on the host's own Bugsink
  sentry_project:
    kind: bugsink
    url: http://127.0.0.1:8010
    token_file: /etc/watchkeeper/bugsink.token
    projects:
      - name: shop
        team: web
  no_log: true
  register: shop_projects
"""

RETURN = r"""
projects:
  description: The projects by their names; one that is absent is not among them.
  returned: success
  type: dict
  contains:
    id: {description: Its id., type: str, returned: always}
    slug: {description: Its slug., type: str, returned: always}
    dsn: {description: "Its DSN, which an application's SDK wants.", type: str, returned: always}
    state: {description: "V(created), V(changed) or V(unchanged).", type: str, returned: always}
actions:
  description: The changes, one by one; in check mode those that would be made.
  returned: always
  type: list
  elements: str
"""

import json
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.error_tracker import (
    CONNECTION,
    TOKENS,
    Bugsink,
    ErrorTrackerError,
    Project,
    Sentry,
    only,
    tracker,
)
from ansible.module_utils.watchkeeper.http_api import HIDDEN, LONGEST_MESSAGE, rendered

VIA = ["email", "slack", "mattermost", "discord", "msteams", "google_chat", "webhook"]
ALERT: dict[str, Any] = {
    "name": {"type": "str", "default": "Watchkeeper"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "via": {"type": "str", "choices": VIA},
    "url": {"type": "str", "no_log": True},
    "channel": {"type": "str"},
    "workspace": {"type": "str"},
    "regression": {"type": "bool", "default": True},
}
PROJECT: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "slug": {"type": "str"},
    "team": {"type": "str"},
    "platform": {"type": "str"},
    "key_name": {"type": "str", "no_log": False},
    "alert": {"type": "dict", "options": ALERT},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
# The words of Sentry's rules.
FIRST_SEEN = "sentry.rules.conditions.first_seen_event.FirstSeenEventCondition"
REGRESSION = "sentry.rules.conditions.regression_event.RegressionEventCondition"
MAIL = "sentry.mail.actions.NotifyEmailAction"
SLACK = "sentry.integrations.slack.notify_action.SlackNotifyServiceAction"
# One error is told again at the earliest after this time.
EVERY_MINUTES = 30
UNASSERTED = ("frequency", "environment", "owner", "filters", "filterMatch")
# What Bugsink calls a channel; a webhook of one's own is its kind `custom`.
CHANNELS = {"webhook": "custom"}
# Runs in `bugsink-manage shell`, the only way to Bugsink's channels that is no page for people. It reads what to do
# from its input, so that no webhook is on a command line, and has Bugsink's own forms judge what is given.
CHANNELS_OF_BUGSINK = """
import json, sys
from alerts.models import MessagingServiceConfig, get_alert_service_backend_class
from bugsink.transaction import immediate_atomic

def channels(wanted, write):
    told = []
    for item in wanted:
        found = MessagingServiceConfig.objects.filter(project_id=item["project"], display_name=item["name"])
        here = [{"kind": one.kind, "config": json.loads(one.config)} for one in found.order_by("id")]
        form = None
        if item["kind"]:
            form = get_alert_service_backend_class(item["kind"]).get_form_class()(data=item["config"])
            if not form.is_valid():
                return {"error": [item["name"], {key: list(value) for key, value in form.errors.items()}]}
        new = [{"kind": item["kind"], "config": form.get_config()}] if form else []
        told.append("" if here == new else "created" if not here else "changed" if new else "removed")
        if write and here != new:
            found.delete()
            for one in new:
                MessagingServiceConfig.objects.create(
                    project_id=item["project"], display_name=item["name"], kind=one["kind"],
                    config=json.dumps(one["config"]),
                )
    return {"told": told}

given = json.load(sys.stdin)
answer = channels(given["wanted"], False)
if given["write"] and "error" not in answer:
    with immediate_atomic():
        answer = channels(given["wanted"], True)
print("\\n" + json.dumps(answer))
"""


class Outcome:
    """One declared project, and what becomes of it."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self.wanted = wanted
        self.name: str = wanted["name"]
        self.alert: dict[str, Any] | None = wanted["alert"]
        self.absent: bool = wanted["state"] == "absent"
        self.live: Project | None = None
        self.dsn = ""
        self.actions: list[str] = []
        self.created = False
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}

    def differ(self, what: str, before: Any, after: Any) -> None:
        """Add one field to the diff."""
        self.before[what], self.after[what] = before, after

    def told(self) -> dict[str, str]:
        """Return the project as the result tells it."""
        state = "created" if self.created else "changed" if self.actions else "unchanged"
        live = self.live
        return {"id": live.id if live else "", "slug": live.slug if live else "", "dsn": self.dsn, "state": state}

    def diff(self) -> dict[str, str]:
        """Return the change as a diff."""
        header = f"project {self.name}"
        texts = {"before": rendered(self.before or None), "after": rendered(self.after or None)}
        return {"before_header": header, "after_header": header, **texts}


class Projects:
    """The projects of one task on one tracker."""

    def __init__(self, module: AnsibleModule, client: Any) -> None:
        self.module = module
        self.client = client
        self.write = not module.check_mode
        self.outcomes = [Outcome(item) for item in module.params["projects"]]
        self.actions: list[str] = []
        self.teams: dict[str, str] = {}

    def note(self, outcome: Outcome, did: str) -> None:
        """Add one change."""
        outcome.actions.append(did)
        self.actions.append(did)

    def look(self) -> None:
        """Find everything, and refuse what cannot be done, before anything is written."""
        self.teams = self.client.teams()
        every = self.client.projects()
        for outcome in self.outcomes:
            slug, team = outcome.wanted["slug"], outcome.wanted["team"]
            if slug:
                found = [one for one in every if one.slug == slug]
            else:
                found = [one for one in every if one.name == outcome.name and self.is_meant(one, team)]
            outcome.live = only(self.client, found, outcome.name) if found else None
            if outcome.live is None and not outcome.absent:
                self.check_new(outcome)

    def check_new(self, outcome: Outcome) -> None:
        """Refuse what would prevent the creation of a project."""
        self.new_team(outcome)

    def is_meant(self, project: Project, team: str | None) -> bool:  # noqa: ARG002 - Bugsink asks for both
        """Tell whether a project may be the one that is meant by its name."""
        return True

    def converge(self) -> None:
        """Create, change and remove."""
        raise NotImplementedError

    def new_team(self, outcome: Outcome) -> str:
        """Return the team of a project that is to be created."""
        team: str | None = outcome.wanted["team"]
        if team:
            return team
        if len(self.teams) == 1:
            return next(iter(self.teams))
        names = f" ({', '.join(sorted(self.teams))})" if self.teams else ""
        raise ErrorTrackerError(
            f"projects: {outcome.name} is to be created and names no team, and there are {len(self.teams)}{names}: "
            "set its team"
        )

    def have_team(self, outcome: Outcome, team: str) -> None:
        """Make a team that is not there."""
        if team not in self.teams:
            self.teams[team] = self.client.create_team(team) if self.write else ""
            self.note(outcome, f"created team {team}")


class BugsinkProjects(Projects):
    """Projects on a Bugsink."""

    client: Bugsink

    def is_meant(self, project: Project, team: str | None) -> bool:
        """Tell whether a project may be the one that is meant: there, a name is unique in its team alone."""
        return team is None or self.teams.get(team) in project.teams

    def check_new(self, outcome: Outcome) -> None:
        """Refuse what would prevent the creation of a project."""
        if outcome.wanted["slug"]:
            raise ErrorTrackerError(
                f"projects: Bugsink has no project with the slug {outcome.wanted['slug']}, and makes slugs of names "
                f"itself: leave the slug of {outcome.name} out"
            )
        super().check_new(outcome)

    def look(self) -> None:
        """Find everything, and refuse what cannot be done, before anything is written."""
        super().look()
        for outcome in self.outcomes:
            if outcome.live:
                outcome.dsn = outcome.live.dsn
        self.judged = self.channels(write=False)

    def converge(self) -> None:
        """Create and change."""
        for outcome in self.outcomes:
            alert = outcome.alert
            fields: dict[str, Any] = {}
            if alert and alert["state"] == "present":
                fields = {"alert_on_new_issue": True, "alert_on_regression": alert["regression"]}
            if outcome.live:
                self.change(outcome, outcome.live, {"name": outcome.name, **fields})
            else:
                self.create(outcome, fields)
        for outcome, did in self.judged:
            name = (outcome.alert or {})["name"]
            outcome.differ(f"alert {name}", *(None if did == end else HIDDEN for end in ("created", "removed")))
            self.note(outcome, f"{did} alert {name} of project {outcome.name}")
        if self.write and self.judged:
            self.channels(write=True)

    def create(self, outcome: Outcome, fields: dict[str, Any]) -> None:
        """Create a project, and its team where that is not there."""
        team = self.new_team(outcome)
        self.have_team(outcome, team)
        if self.write:
            outcome.live = self.client.create_project(outcome.name, self.teams[team], fields)
            outcome.dsn = outcome.live.dsn
        outcome.created = True
        outcome.after = {"name": outcome.name, "team": team, **fields}
        self.note(outcome, f"created project {outcome.name}")

    def change(self, outcome: Outcome, live: Project, fields: dict[str, Any]) -> None:
        """Bring what the task names to what it says."""
        now = {"name": live.name, "alert_on_new_issue": live.on_new, "alert_on_regression": live.on_regression}
        change = {name: value for name, value in fields.items() if now[name] != value}
        for name, value in change.items():
            outcome.differ(name, now[name], value)
        if change:
            if self.write:
                self.client.change_project(live, change)
            self.note(outcome, f"changed {', '.join(change)} of project {outcome.name}")

    def channels(self, write: bool) -> list[tuple[Outcome, str]]:
        """Return which alerts differ, and what becomes of them; with `write`, bring them to what is declared."""
        outcomes = [outcome for outcome in self.outcomes if outcome.alert]
        if not outcomes:
            return []
        wanted = []
        for outcome in outcomes:
            alert = outcome.alert or {}
            kind = alert["via"] if alert["state"] == "present" else None
            wanted.append(
                {
                    # There is no project 0, and none of its channels.
                    "project": int(outcome.live.id) if outcome.live else 0,
                    "name": alert["name"],
                    "kind": CHANNELS.get(kind or "", kind),
                    "config": {"webhook_url": alert["url"], "channel": alert["channel"] or ""},
                }
            )
        return [
            (outcome, did) for outcome, did in zip(outcomes, self.manage({"wanted": wanted, "write": write})) if did
        ]

    def manage(self, given: dict[str, Any]) -> list[str]:
        """Have Bugsink's own program do it."""
        self.client.hide(item["config"]["webhook_url"] for item in given["wanted"])
        command = [*self.module.params["manage"], "shell", "--verbosity=0", "--command", CHANNELS_OF_BUGSINK]
        program = self.module.params["manage"][-1]
        try:
            # Not by Ansible's own function: that fails without a reason when a program ends before it has read all.
            done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
        except OSError as error:
            raise ErrorTrackerError(f"manage: {command[0]} cannot be run: {error.strerror}") from None
        try:
            answer = json.loads(done.stdout.strip().splitlines()[-1])
        except (ValueError, IndexError):
            answer = {}
        if done.returncode or not answer:
            lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
            raise ErrorTrackerError(
                f"manage: {program} could not see to the alerts: {self.client.masked(lines[-1])[:LONGEST_MESSAGE]}"
            )
        if "error" in answer:
            name, fields = answer["error"]
            why = "; ".join(sentence for sentences in fields.values() for sentence in sentences)
            raise ErrorTrackerError(f"projects: Bugsink refuses the alert {name}: {self.client.masked(why)}")
        told: list[str] = answer["told"]
        return told


class SentryProjects(Projects):
    """Projects of an organisation of Sentry."""

    client: Sentry

    def look(self) -> None:
        """Find everything, and refuse what cannot be done, before anything is written."""
        super().look()
        via_slack = [one.alert for one in self.outcomes if one.alert and one.alert["via"] == "slack" and not one.absent]
        self.workspaces = self.client.workspaces() if via_slack else {}
        for alert in via_slack:
            self.workspace(alert)

    def workspace(self, alert: dict[str, Any]) -> str:
        """Return the id of the Slack workspace that an alert goes to."""
        name = alert["workspace"]
        if name in self.workspaces:
            return self.workspaces[name]
        if name is None and len(self.workspaces) == 1:
            return next(iter(self.workspaces.values()))
        there = ", ".join(sorted(self.workspaces)) or "none"
        raise ErrorTrackerError(
            f"projects: the alert {alert['name']} goes to the Slack workspace {name or '(not said)'}; connected to "
            f"organization {self.client.organization} are: {there}. Set workspace to one of these, or connect it in "
            "Sentry's settings"
        )

    def converge(self) -> None:
        """Create, change and remove."""
        for outcome in self.outcomes:
            if outcome.absent:
                self.remove(outcome)
                continue
            if outcome.live:
                self.change(outcome, outcome.live)
            else:
                self.create(outcome)
            self.have_key(outcome)
            if outcome.alert:
                self.have_alert(outcome, outcome.alert)

    def remove(self, outcome: Outcome) -> None:
        """Delete a project that is there."""
        if outcome.live:
            if self.write:
                self.client.delete_project(outcome.live)
            outcome.before = {"name": outcome.live.name, "slug": outcome.live.slug}
            self.note(outcome, f"removed project {outcome.name}")

    def create(self, outcome: Outcome) -> None:
        """Create a project, and its team where that is not there."""
        team = self.new_team(outcome)
        self.have_team(outcome, team)
        body = {key: outcome.wanted[key] for key in ("name", "slug", "platform") if outcome.wanted[key]}
        outcome.after = {**body, "team": team}
        if self.write:
            # Sentry's own first rule would tell the same errors again.
            rules = {"default_rules": False} if outcome.alert else {}
            outcome.live = self.client.create_project({**body, **rules}, team)
        outcome.created = True
        self.note(outcome, f"created project {outcome.name}")

    def change(self, outcome: Outcome, live: Project) -> None:
        """Bring what the task names to what it says."""
        now = {"name": live.name, "platform": live.platform}
        change = {key: outcome.wanted[key] for key in now if outcome.wanted[key] not in (None, now[key])}
        for key, value in change.items():
            outcome.differ(key, now[key], value)
        if change:
            if self.write:
                self.client.change_project(live, change)
            self.note(outcome, f"changed {', '.join(change)} of project {outcome.name}")
        team = outcome.wanted["team"]
        if team and team not in live.teams:
            self.have_team(outcome, team)
            if self.write:
                self.client.add_team(live, team)
            outcome.differ("teams", sorted(live.teams), sorted([*live.teams, team]))
            self.note(outcome, f"gave project {outcome.name} to team {team}")

    def have_key(self, outcome: Outcome) -> None:
        """Find the key whose DSN is told, and make it where there is none."""
        name = outcome.wanted["key_name"]
        keys = self.client.keys(outcome.live) if outcome.live else []
        key = next((one for one in keys if name is None or name in (one.get("name"), one.get("label"))), None)
        if key is None and (outcome.live or name):
            name = name or "Watchkeeper"
            if outcome.live and self.write:
                key = self.client.create_key(outcome.live, name)
            outcome.differ("key", None, name)
            self.note(outcome, f"created key {name} of project {outcome.name}")
        outcome.dsn = key["dsn"]["public"] if key else ""

    def have_alert(self, outcome: Outcome, alert: dict[str, Any]) -> None:
        """Bring the alert to what is declared."""
        name = alert["name"]
        rules = self.client.rules(outcome.live) if outcome.live else []
        found = [one for one in rules if one.get("name") == name]
        if len(found) > 1:
            raise ErrorTrackerError(
                f"projects: {outcome.name} has {len(found)} alerts of the name {name}: remove all but one, or set the "
                "alert's name to another"
            )
        rule = found[0] if found else None
        if alert["state"] == "absent":
            if rule and outcome.live:
                if self.write:
                    self.client.delete_rule(outcome.live, str(rule["id"]))
                outcome.differ(f"alert {name}", shown(rule), None)
                self.note(outcome, f"removed alert {name} of project {outcome.name}")
            return
        wanted = self.rule(outcome, alert)
        if rule and shown(rule) == shown(wanted):
            return
        if outcome.live and self.write:
            # What nobody asserts stays: how often it may tell, for which environment, by whom it is owned.
            kept = {key: (rule or {}).get(key) for key in UNASSERTED}
            kept = {key: value for key, value in kept.items() if value}
            self.client.save_rule(outcome.live, {**wanted, **kept}, str(rule["id"]) if rule else "")
        outcome.differ(f"alert {name}", shown(rule) if rule else None, shown(wanted))
        self.note(outcome, f"{'changed' if rule else 'created'} alert {name} of project {outcome.name}")

    def rule(self, outcome: Outcome, alert: dict[str, Any]) -> dict[str, Any]:
        """Return the rule that an alert is on Sentry."""
        if alert["via"] == "slack":
            action = {"id": SLACK, "workspace": self.workspace(alert), "channel": alert["channel"]}
        else:
            team = outcome.wanted["team"] or (outcome.live.teams[0] if outcome.live and outcome.live.teams else "")
            action = {"id": MAIL, "targetType": "Team", "targetIdentifier": self.teams.get(team, "")}
        conditions = [FIRST_SEEN, *([REGRESSION] if alert["regression"] else [])]
        return {
            "name": alert["name"],
            "actionMatch": "any",
            "filterMatch": "all",
            "frequency": EVERY_MINUTES,
            "conditions": [{"id": condition} for condition in conditions],
            "actions": [action],
        }


def shown(rule: dict[str, Any]) -> dict[str, Any]:
    """Return of a rule what the module asserts, in one form for what it says and what Sentry tells."""
    actions = []
    for action in rule.get("actions") or ():
        told = {key: str(action[key]) for key in ("workspace", "targetType", "targetIdentifier") if action.get(key)}
        if action.get("channel"):
            told["channel"] = str(action["channel"]).lstrip("#")
        actions.append({"what": str(action["id"]).rsplit(".", 1)[-1], **told})
    conditions = sorted(str(condition["id"]).rsplit(".", 1)[-1] for condition in rule.get("conditions") or ())
    return {"conditions": conditions, "match": rule.get("actionMatch"), "actions": actions}


def refusal(params: dict[str, Any]) -> str:
    """Return what is wrong with the task, nothing if all is well."""
    names = [item["name"] for item in params["projects"]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return f"projects: {', '.join(twice)} is there twice; each name may be there once in a task"
    for item in params["projects"]:
        where = f"projects: {item['name']}"
        if params["kind"] == "bugsink" and item["state"] == "absent":
            return (
                f"{where} has the state absent, which Bugsink cannot do: its API deletes no project. Delete it on its "
                "page, or set state to present"
            )
        alert = item["alert"]
        if not alert or item["state"] == "absent":
            continue
        if params["kind"] == "bugsink" and not params["manage"]:
            return (
                f"{where} has an alert, and Bugsink's API knows no channels: set manage to the command bugsink-manage"
            )
        if alert["state"] == "absent":
            continue
        via, needed = alert["via"], "channel" if params["kind"] == "sentry" else "url"
        allowed = ("email", "slack") if params["kind"] == "sentry" else tuple(VIA[1:])
        if via not in allowed:
            return f"{where}: alert.via is {via or 'not set'}; for {params['kind']} it is one of {', '.join(allowed)}"
        if via != "email" and not alert[needed]:
            return f"{where}: alert.via is {via}, which needs alert.{needed}"
    return ""


def main() -> None:
    """Do it, or say what would be done."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION,
            "projects": {"type": "list", "elements": "dict", "required": True, "options": PROJECT},
            "manage": {"type": "list", "elements": "str"},
        },
        mutually_exclusive=[TOKENS],
        required_one_of=[TOKENS],
        supports_check_mode=True,
    )
    wrong = refusal(module.params)
    if wrong:
        module.fail_json(msg=wrong, actions=[])
    actions: list[str] = []
    try:
        client = tracker(module.params)
        projects = (SentryProjects if isinstance(client, Sentry) else BugsinkProjects)(module, client)
        actions = projects.actions
        projects.look()
        projects.converge()
    except ErrorTrackerError as error:
        module.fail_json(msg=str(error), changed=bool(actions) and not module.check_mode, actions=actions)
    outcomes = projects.outcomes
    result: dict[str, Any] = {
        "changed": bool(actions),
        "actions": actions,
        "projects": {outcome.name: outcome.told() for outcome in outcomes if not outcome.absent},
    }
    if module._diff:
        result["diff"] = [outcome.diff() for outcome in outcomes if outcome.actions]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
