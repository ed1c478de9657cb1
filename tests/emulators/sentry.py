"""The part of Sentry's web API that makes projects, keys, alerts, releases and deploys, from its documentation.

It takes no events: a real Bugsink does that in the tests. A request is refused for a field that Sentry does not know,
which Sentry itself would pass over; what a client has wrong is seen that way.
"""

from __future__ import annotations

import json
import re
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .base import Answer, HttpSink, Request, parser, serve

ALL_SCOPES = frozenset({"org:read", "team:write", "project:admin", "project:releases", "alerts:write"})
PLATFORMS = {"", "other", "javascript", "javascript-react", "node", "python", "python-django", "python-fastapi"}
QUIRKS = frozenset(
    {
        # A rule with a channel of Slack is saved after a while, and asked for by its task.
        "async_slack",
        # As above, and Slack does not know the channel.
        "async_slack_fails",
        # A new project has no key of its own.
        "no_default_key",
        # The page after a page is the page itself.
        "link_to_itself",
    }
)
RULES = "sentry.rules.conditions."
FIRST_SEEN = f"{RULES}first_seen_event.FirstSeenEventCondition"
REGRESSION = f"{RULES}regression_event.RegressionEventCondition"
MAIL = "sentry.mail.actions.NotifyEmailAction"
SLACK = "sentry.integrations.slack.notify_action.SlackNotifyServiceAction"
SLUG = re.compile(r"(?![0-9]+$)[a-z0-9_-]{1,100}")
NO_SLUG = "A slug is of lower-case letters, digits, _ and -, and no number."
GONE = {"detail": "The requested resource does not exist"}
Reply = tuple[int, Any]


class RefusedError(Exception):
    """A request that Sentry turns down."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status, self.body = status, body


@dataclass
class Stored:
    """One project with all that belongs to it."""

    fields: dict[str, Any]
    teams: list[str]
    keys: list[dict[str, Any]] = field(default_factory=list)
    rules: list[dict[str, Any]] = field(default_factory=list)


class SentryEmulator(HttpSink):
    """One organisation of a Sentry."""

    def __init__(
        self,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        log: Path | None = None,
        *,
        token: str = "sntrys_of-the-tests",  # noqa: S107 - of a server that lives as long as a test
        organization: str = "acme",
        scopes: frozenset[str] = ALL_SCOPES,
        page: int = 100,
        quirks: frozenset[str] = frozenset(),
    ) -> None:
        """`page` is how many items a list has at once; `quirks` are names from QUIRKS."""
        super().__init__(listen, log)
        self.token, self.organization, self.scopes, self.page, self.quirks = token, organization, scopes, page, quirks
        self.teams: dict[str, str] = {}
        self.projects: dict[str, Stored] = {}
        self.releases: dict[str, dict[str, Any]] = {}
        self.deploys: list[dict[str, Any]] = []
        self.workspaces: dict[str, str] = {}
        self._tasks: dict[str, list[dict[str, Any]]] = {}
        self._number = 0
        # Several clients may come at once.
        self._turn = threading.Lock()

    @property
    def requests(self) -> list[str]:
        """What was asked so far, as `METHOD path`."""
        return [f"{item['method']} {item['path']}" for item in self.records]

    def forget(self) -> None:
        """Forget the requests so far."""
        with self._changed:
            self._records.clear()

    def add_team(self, slug: str) -> str:
        """Add a team and return its id."""
        self.teams[slug] = self._next()
        return self.teams[slug]

    def add_project(self, name: str, team: str, **fields: Any) -> Stored:
        """Add a project as people do through Sentry's pages."""
        return self._made(name, fields.pop("slug", None), fields.pop("platform", None), team, True)

    def add_workspace(self, name: str) -> str:
        """Connect a workspace of Slack and return the id of the integration."""
        self.workspaces[name] = self._next()
        return self.workspaces[name]

    def _next(self) -> str:
        self._number += 1
        return str(self._number)

    # What is asked

    def answer(self, request: Request) -> Answer:
        """Find out what a request is about, whether the token may do it, and do it."""
        parts = urllib.parse.urlsplit(request.path)
        query = urllib.parse.parse_qs(parts.query)
        try:
            with self._turn:
                status, body = self._routed(request, parts.path, query)
        except RefusedError as refused:
            return Answer(refused.status, json.dumps(refused.body), content_type="application/json")
        headers: dict[str, str] = {}
        if isinstance(body, list):
            body, headers = self._paged(body, parts.path, query)
        text = "" if body is None else json.dumps(body)
        return Answer(status, text, accepted=True, content_type="application/json", headers=headers)

    def _routed(self, request: Request, path: str, query: Mapping[str, list[str]]) -> Reply:
        given = request.headers.get("authorization", "")
        if not given:
            raise RefusedError(401, {"detail": "Authentication credentials were not provided."})
        if given != f"Bearer {self.token}":
            raise RefusedError(401, {"detail": "Invalid token"})
        body: Any = {}
        if request.body:
            try:
                body = json.loads(request.body)
            except ValueError:
                raise RefusedError(400, {"detail": "JSON parse error"}) from None
        for method, pattern, scope, do in self._routes():
            found = re.fullmatch(rf"/api/0/{pattern}/", path)
            if not found or method != request.method:
                continue
            names = {name: urllib.parse.unquote(value) for name, value in found.groupdict().items()}
            if names.pop("org") != self.organization:
                raise RefusedError(404, GONE)
            if scope not in self.scopes:
                raise RefusedError(403, {"detail": "You do not have permission to perform this action."})
            return do(names, body, query)
        raise RefusedError(404, {"detail": "not a request that is known here"})

    def _routes(self) -> list[tuple[str, str, str, Callable[[dict[str, str], Any, Mapping[str, list[str]]], Reply]]]:
        org, project = "organizations/(?P<org>[^/]+)", "projects/(?P<org>[^/]+)/(?P<project>[^/]+)"
        release = f"{org}/releases/(?P<version>[^/]+)"
        return [
            ("GET", f"{org}/teams", "org:read", self._list_teams),
            ("POST", f"{org}/teams", "team:write", self._create_team),
            ("GET", f"{org}/projects", "org:read", self._list_projects),
            ("GET", f"{org}/integrations", "org:read", self._list_workspaces),
            ("POST", "teams/(?P<org>[^/]+)/(?P<team>[^/]+)/projects", "project:admin", self._create_project),
            ("PUT", project, "project:admin", self._change_project),
            ("DELETE", project, "project:admin", self._delete_project),
            ("POST", f"{project}/teams/(?P<team>[^/]+)", "project:admin", self._add_team),
            ("GET", f"{project}/keys", "project:admin", lambda at, _body, _query: (200, self._of(at).keys)),
            ("POST", f"{project}/keys", "project:admin", self._create_key),
            ("GET", f"{project}/rules", "alerts:write", lambda at, _body, _query: (200, self._of(at).rules)),
            ("POST", f"{project}/rules", "alerts:write", self._save_rule),
            ("PUT", f"{project}/rules/(?P<rule>[0-9]+)", "alerts:write", self._save_rule),
            ("DELETE", f"{project}/rules/(?P<rule>[0-9]+)", "alerts:write", self._delete_rule),
            ("GET", f"{project}/rule-task/(?P<task>[^/]+)", "alerts:write", self._task),
            ("POST", f"{org}/releases", "project:releases", self._create_release),
            ("GET", release, "project:releases", self._release),
            ("PUT", release, "project:releases", self._change_release),
            ("GET", f"{release}/deploys", "project:releases", self._list_deploys),
            ("POST", f"{release}/deploys", "project:releases", self._create_deploy),
        ]

    def _paged(self, items: list[Any], path: str, query: Mapping[str, list[str]]) -> tuple[list[Any], dict[str, str]]:
        start = int(query.get("cursor", ["0:0:0"])[0].split(":")[1])
        end = start + self.page
        kept = {name: values for name, values in query.items() if name != "cursor"}
        links = []
        following = (start, True) if "link_to_itself" in self.quirks else (end, end < len(items))
        for name, at, more in (("previous", max(start - self.page, 0), start > 0), ("next", *following)):
            cursor = f"0:{at}:{int(name == 'previous')}"
            # Sentry tells its address as it knows it, which need not be the one that it was asked at.
            address = f"http://sentry.internal{path}?{urllib.parse.urlencode({**kept, 'cursor': cursor}, doseq=True)}"
            links.append(f'<{address}>; rel="{name}"; results="{str(more).lower()}"; cursor="{cursor}"')
        return items[start:end], {"Link": ", ".join(links)}

    # Teams and projects

    def _list_teams(self, _at: dict[str, str], _body: Any, _query: Any) -> Reply:
        return 200, [{"id": number, "slug": slug, "name": slug} for slug, number in sorted(self.teams.items())]

    def _create_team(self, _at: dict[str, str], body: Any, _query: Any) -> Reply:
        fields(body, {"slug": str, "name": str})
        slug = body.get("slug") or body.get("name")
        if not slug:
            raise RefusedError(400, {"non_field_errors": ["Name or slug is required"]})
        if not SLUG.fullmatch(slug):
            raise RefusedError(400, {"slug": [NO_SLUG]})
        if slug in self.teams:
            raise RefusedError(409, {"non_field_errors": ["A team with this slug already exists."]})
        return 201, {"id": self.add_team(slug), "slug": slug, "name": body.get("name") or slug}

    def _list_projects(self, _at: dict[str, str], _body: Any, _query: Any) -> Reply:
        return 200, [self._told(project) for _slug, project in sorted(self.projects.items())]

    def _told(self, project: Stored) -> dict[str, Any]:
        teams = [{"id": self.teams[slug], "slug": slug, "name": slug} for slug in project.teams]
        return {**project.fields, "teams": teams, "team": teams[0] if teams else None, "hasAccess": True}

    def _of(self, at: Mapping[str, str]) -> Stored:
        found = self.projects.get(at["project"])
        if found is None:
            raise RefusedError(404, GONE)
        return found

    def _made(self, name: str, slug: str | None, platform: str | None, team: str, default_rules: bool) -> Stored:
        if not slug:
            base = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-") or "project"
            taken = (base, *(f"{base}-{number}" for number in range(2, 1000)))
            slug = next(one for one in taken if one not in self.projects)
        if slug in self.projects:
            raise RefusedError(409, {"detail": "A project with this slug already exists."})
        made = Stored({"id": self._next(), "slug": slug, "name": name, "platform": platform or None}, [team])
        if "no_default_key" not in self.quirks:
            made.keys.append(self._key(made, "Default"))
        if default_rules:
            rule = {"id": self._next(), "name": "Send a notification for high priority issues", "conditions": []}
            made.rules.append({**rule, "actionMatch": "any", "actions": [{"id": MAIL, "targetType": "IssueOwners"}]})
        self.projects[slug] = made
        return made

    def _create_project(self, at: dict[str, str], body: Any, _query: Any) -> Reply:
        if at["team"] not in self.teams:
            raise RefusedError(404, GONE)
        fields(body, {"name": str, "slug": str, "platform": str, "default_rules": bool}, ("name",))
        check_project(body)
        rules = body.get("default_rules", True)
        return 201, self._told(self._made(body["name"], body.get("slug"), body.get("platform"), at["team"], rules))

    def _change_project(self, at: dict[str, str], body: Any, _query: Any) -> Reply:
        project = self._of(at)
        fields(body, {"name": str, "slug": str, "platform": str})
        check_project(body)
        project.fields.update(body)
        return 200, self._told(project)

    def _delete_project(self, at: dict[str, str], _body: Any, _query: Any) -> Reply:
        self._of(at)
        del self.projects[at["project"]]
        return 204, None

    def _add_team(self, at: dict[str, str], _body: Any, _query: Any) -> Reply:
        project = self._of(at)
        if at["team"] not in self.teams:
            raise RefusedError(404, {"detail": "Team does not exist."})
        if at["team"] not in project.teams:
            project.teams.append(at["team"])
        return 201, self._told(project)

    # Keys

    def _key(self, project: Stored, name: str, active: bool = True) -> dict[str, Any]:
        public, secret, number = uuid.uuid4().hex, uuid.uuid4().hex, project.fields["id"]
        return {
            "id": public,
            "name": name,
            "label": name,
            "isActive": active,
            "public": public,
            "secret": secret,
            "dateCreated": datetime.now(UTC).isoformat(),
            "dsn": {
                "public": f"https://{public}@ingest.example.com/{number}",
                "secret": f"https://{public}:{secret}@ingest.example.com/{number}",
            },
        }

    def _create_key(self, at: dict[str, str], body: Any, _query: Any) -> Reply:
        project = self._of(at)
        fields(body, {"name": str})
        made = self._key(project, body.get("name") or "Default")
        # The newest comes first.
        project.keys.insert(0, made)
        return 201, made

    # Alerts

    def _list_workspaces(self, _at: dict[str, str], _body: Any, query: Mapping[str, list[str]]) -> Reply:
        if query.get("provider_key") != ["slack"]:
            raise RefusedError(400, {"detail": "only Slack is known here"})
        provider = {"key": "slack", "slug": "slack", "name": "Slack"}
        items = sorted(self.workspaces.items())
        return 200, [{"id": number, "name": name, "status": "active", "provider": provider} for name, number in items]

    def _save_rule(self, at: dict[str, str], body: Any, _query: Any) -> Reply:
        project = self._of(at)
        kinds: dict[str, Any] = {"name": str, "actionMatch": str, "filterMatch": str, "frequency": int}
        kinds |= {"conditions": list, "filters": list, "actions": list, "environment": str, "owner": str}
        fields(body, kinds, ("name", "actionMatch", "frequency", "conditions", "actions"))
        if not body["actions"]:
            raise RefusedError(400, {"actions": ["An action is needed."]})
        if not 5 <= body["frequency"] <= 43200:
            raise RefusedError(400, {"frequency": ["Ensure this value is greater than or equal to 5."]})
        for condition in body["conditions"]:
            if condition.get("id") not in (FIRST_SEEN, REGRESSION):
                raise RefusedError(400, {"conditions": ["Invalid node."]})
        slack = False
        for action in body["actions"]:
            slack = self._check_action(action) or slack
        old = next((rule for rule in project.rules if rule["id"] == at.get("rule")), None)
        if "rule" in at and old is None:
            raise RefusedError(404, GONE)
        if old is None and any(same(rule, body) for rule in project.rules):
            raise RefusedError(400, {"name": ["There is a rule like this one."]})
        rule = {**body, "id": at.get("rule") or self._next(), "status": "active", "projects": [at["project"]]}
        # Each part comes back with a sentence for people.
        rule["conditions"] = [{**one, "name": "a sentence for people"} for one in body["conditions"]]
        rule["actions"] = [self._action_told(one) for one in body["actions"]]
        states: list[dict[str, Any]] = [{"status": "pending"}, {"status": "success", "rule": rule}]
        if slack and "async_slack_fails" in self.quirks:
            states = [{"status": "pending"}, {"status": "failed", "error": "The channel could not be found."}]
        elif old is None:
            project.rules.insert(0, rule)
        else:
            project.rules[project.rules.index(old)] = rule
        if slack and self.quirks & {"async_slack", "async_slack_fails"}:
            task = uuid.uuid4().hex
            self._tasks[task] = states
            return 202, {"uuid": task}
        return 200 if old else 201, rule

    def _check_action(self, action: dict[str, Any]) -> bool:
        if action.get("id") == MAIL:
            fields(action, {"id": str, "targetType": str, "targetIdentifier": str})
            if action.get("targetType") == "Team" and action.get("targetIdentifier") not in self.teams.values():
                raise RefusedError(400, {"actions": ["This team is not part of the project."]})
            return False
        if action.get("id") == SLACK:
            fields(action, {"id": str, "workspace": str, "channel": str, "channel_id": str, "name": str})
            if action.get("workspace") not in self.workspaces.values():
                raise RefusedError(400, {"actions": ["Slack: Workspace is a required field."]})
            if not action.get("channel"):
                raise RefusedError(400, {"actions": ["Slack: Channel is a required field."]})
            return True
        raise RefusedError(400, {"actions": ["Invalid node."]})

    def _action_told(self, action: dict[str, Any]) -> dict[str, Any]:
        told = {**action, "name": "a sentence for people", "uuid": str(uuid.uuid4())}
        if action["id"] == SLACK:
            told["channel_id"] = "C0123"
        return told

    def _task(self, at: dict[str, str], _body: Any, _query: Any) -> Reply:
        states = self._tasks.get(at["task"])
        if not states:
            raise RefusedError(404, GONE)
        return 200, states.pop(0) if len(states) > 1 else states[0]

    def _delete_rule(self, at: dict[str, str], _body: Any, _query: Any) -> Reply:
        project = self._of(at)
        left = [rule for rule in project.rules if rule["id"] != at["rule"]]
        if len(left) == len(project.rules):
            raise RefusedError(404, GONE)
        project.rules = left
        return 202, None

    # Releases

    def _slugs(self, slugs: list[str]) -> list[str]:
        unknown = [slug for slug in slugs if slug not in self.projects]
        if unknown:
            raise RefusedError(400, {"projects": ["Invalid project ids or slugs"]})
        return slugs

    def _create_release(self, _at: dict[str, str], body: Any, _query: Any) -> Reply:
        kinds = {"version": str, "projects": list, "ref": str, "url": str, "dateReleased": str}
        fields(body, kinds, ("version", "projects"))
        version = body["version"]
        if not version.strip() or len(version) > 250 or re.search(r"[\r\n\f\t/\\]", version) or version == "latest":
            raise RefusedError(400, {"version": ["Release with name does not have a valid format"]})
        slugs = self._slugs(body["projects"])
        if not slugs:
            raise RefusedError(400, {"projects": ["This list may not be empty."]})
        old = self.releases.get(version)
        if old:
            old["projects"] = sorted({*old["projects"], *slugs})
            return 208, self._release_told(old)
        facts = {name: body.get(name) for name in ("ref", "url", "dateReleased")}
        self.releases[version] = {"version": version, "projects": sorted(slugs), **facts}
        return 201, self._release_told(self.releases[version])

    def _release_told(self, release: dict[str, Any]) -> dict[str, Any]:
        projects = [{key: self.projects[slug].fields[key] for key in ("slug", "name")} for slug in release["projects"]]
        return {**release, "shortVersion": release["version"], "projects": projects}

    def _found_release(self, at: Mapping[str, str]) -> dict[str, Any]:
        found = self.releases.get(at["version"])
        if found is None:
            raise RefusedError(404, GONE)
        return found

    def _release(self, at: dict[str, str], _body: Any, _query: Any) -> Reply:
        return 200, self._release_told(self._found_release(at))

    def _change_release(self, at: dict[str, str], body: Any, _query: Any) -> Reply:
        release = self._found_release(at)
        fields(body, {"ref": str, "url": str, "dateReleased": str})
        release.update(body)
        return 200, self._release_told(release)

    def _list_deploys(self, at: dict[str, str], _body: Any, query: Mapping[str, list[str]]) -> Reply:
        self._found_release(at)
        asked = {project.fields["id"]: slug for slug, project in self.projects.items()}
        slugs = [asked[number] for number in query.get("project", list(asked)) if number in asked]
        last: dict[tuple[str, str], dict[str, Any]] = {}
        for deploy in self.deploys:
            for slug in deploy["projects"]:
                if deploy["version"] == at["version"] and slug in slugs:
                    last[slug, deploy["environment"]] = deploy
        told = {deploy["id"]: deploy for deploy in last.values()}
        return 200, [{key: one[key] for key in one if key not in ("version", "projects")} for one in told.values()]

    def _create_deploy(self, at: dict[str, str], body: Any, _query: Any) -> Reply:
        release = self._found_release(at)
        kinds = {"environment": str, "name": str, "url": str, "dateStarted": str, "dateFinished": str, "projects": list}
        fields(body, kinds, ("environment",))
        environment = body["environment"]
        if environment in (".", "..") or re.search(r"[\n\r\f/]", environment) or len(environment) > 64:
            raise RefusedError(400, {"environment": ["Invalid value for environment"]})
        slugs = self._slugs(body.get("projects") or release["projects"])
        foreign = sorted(set(slugs) - set(release["projects"]))
        if foreign:
            raise RefusedError(400, {"detail": f"Invalid projects ({', '.join(foreign)}) for release {at['version']}"})
        facts = {name: body.get(name) for name in ("name", "url", "dateStarted", "dateFinished")}
        deploy = {"id": self._next(), "environment": environment, **facts}
        self.deploys.append({**deploy, "version": at["version"], "projects": slugs})
        return 201, deploy


def fields(body: Any, kinds: Mapping[str, type], required: tuple[str, ...] = ()) -> None:
    """Refuse a body with a field of a wrong kind, a field that nobody knows, or without one that is needed."""
    if not isinstance(body, dict):
        raise RefusedError(400, {"non_field_errors": ["Invalid data. Expected a dictionary."]})
    wrong: dict[str, list[str]] = {name: ["This field is required."] for name in required if name not in body}
    for name, value in body.items():
        if name not in kinds:
            wrong[name] = ["Not a field that is known."]
        elif not isinstance(value, kinds[name]) or (kinds[name] is int and isinstance(value, bool)):
            wrong[name] = [f"Not a valid {kinds[name].__name__}."]
    if wrong:
        raise RefusedError(400, wrong)


def check_project(body: Mapping[str, Any]) -> None:
    """Refuse what Sentry refuses of a project."""
    if "name" in body and not body["name"].strip():
        raise RefusedError(400, {"name": ["This field may not be blank."]})
    if len(body.get("name", "")) > 50:
        raise RefusedError(400, {"name": ["Ensure this field has no more than 50 characters."]})
    if body.get("slug") and not SLUG.fullmatch(body["slug"]):
        raise RefusedError(400, {"slug": [NO_SLUG]})
    if body.get("platform", "") not in PLATFORMS:
        raise RefusedError(400, {"platform": ["Invalid platform"]})


def same(rule: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Tell whether a rule is told a second time."""
    ids = [[part["id"] for part in one["conditions"] + one["actions"]] for one in (rule, body)]
    return ids[0] == ids[1] and rule["name"] == body["name"]


def main() -> None:
    """Runs the emulator from the command line."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--token", default="sntrys_of-the-tests")
    arguments.add_argument("--organization", default="acme")
    arguments.add_argument("--quirk", action="append", default=[], choices=sorted(QUIRKS))
    options = arguments.parse_args()
    quirks = frozenset(options.quirk)
    serve(
        SentryEmulator(
            options.listen, options.log, token=options.token, organization=options.organization, quirks=quirks
        )
    )


if __name__ == "__main__":
    main()
