"""Clients of two error trackers: Sentry's web API, and the API of Bugsink, which takes the same events."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from email.message import Message
from typing import Any, Callable

from ansible.module_utils.watchkeeper import http_api
from ansible.module_utils.watchkeeper.http_api import WAITS, Api, ApiError, quoted, retry_after

# The options by which each module reaches a tracker; the documentation fragment `error_tracker` says the same in words.
CONNECTION: dict[str, Any] = {
    "url": {"type": "str", "required": True},
    "kind": {"type": "str", "choices": ["sentry", "bugsink"], "default": "sentry"},
    "token": {"type": "str", "no_log": True},
    "token_file": {"type": "path", "no_log": False},
    "organization": {"type": "str"},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "timeout": {"type": "int", "default": 30},
}
# Exactly one of these is needed.
TOKENS = ("token", "token_file")
# A list of more pages than this is no list, but a server that sends the same page again.
PAGES = 1000
NEXT_PAGE = re.compile(r'<([^>]*)>;[^,]*rel="next";[^,]*results="true"')


class ErrorTrackerError(ApiError):
    """What an error tracker refused, or why it gave no answer."""


@dataclass(frozen=True)
class Project:
    """A project as a tracker tells it; `teams` holds what the tracker names a team by."""

    id: str
    name: str
    slug: str
    teams: tuple[str, ...] = ()
    platform: str = ""
    dsn: str = ""
    on_new: bool = True
    on_regression: bool = True


class ErrorTracker(Api):
    """What both have in common: a token of their own, and the errors of the framework that both are made with."""

    error = ErrorTrackerError
    api = "/api/0"
    where_tokens_are = ""

    def __init__(
        self,
        url: str,
        *,
        token: str,
        validate_certs: bool = True,
        ca_path: str | None = None,
        timeout: float = 30,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(
            url,
            headers={"Authorization": f"Bearer {token}"},
            secrets=[token],
            validate_certs=validate_certs,
            ca_path=ca_path,
            timeout=timeout,
            sleep=sleep,
        )

    def message(self, body: bytes) -> str:
        """Return the reason that was given: a `detail`, or sentences for each field."""
        try:
            data = json.loads(body)
        except ValueError:
            return ""
        return "; ".join(sentence.rstrip(".") for sentence in _sentences(data))

    def listing(self, path: str) -> list[dict[str, Any]]:
        """Return all items of a list, which comes in pages."""
        found: list[dict[str, Any]] = []
        seen: set[str] = set()
        while path:
            if path in seen or len(seen) == PAGES:
                raise ErrorTrackerError(
                    f"GET {self.url}{path}: the list does not end: each page leads to a further one"
                )
            seen.add(path)
            items, following = self.page(path)
            found += items
            # Behind a proxy the address may be another one than ours: only the query counts.
            query = urllib.parse.urlsplit(following).query
            path = f"{path.partition('?')[0]}?{query}" if query else ""
        return found

    def page(self, path: str) -> tuple[list[dict[str, Any]], str]:
        """Return the items of one page, and the address of the next one."""
        raise NotImplementedError

    def advice(self, status: int, text: str) -> str:  # noqa: ARG002 - Sentry's needs it
        """Return what to do about a refusal."""
        if status == 401:
            return (
                f". {self.service} does not know the token: set token or token_file to one of {self.where_tokens_are}"
            )
        if status == 403:
            return f". The token may not do that: {self.rights}"
        return ""

    @property
    def rights(self) -> str:
        """Return what a token needs."""
        raise NotImplementedError


class Bugsink(ErrorTracker):
    """One Bugsink, seen by the owner of a token."""

    service = "Bugsink"
    example = "http://127.0.0.1:8010 or https://errors.example.com"
    api = "/api/canonical/0"
    where_tokens_are = "its page Tokens, or of bugsink-manage create_auth_token"

    @property
    def rights(self) -> str:
        """Return what a token needs."""
        return "it needs the rights to read and manage teams and projects, and to read and create releases"

    def page(self, path: str) -> tuple[list[dict[str, Any]], str]:
        """Return the items of one page, and the address of the next one."""
        answer = self.get(path)
        return answer["results"], answer.get("next") or ""

    def teams(self) -> dict[str, str]:
        """Return the ids of the teams by their names, which are unique."""
        return {team["name"]: team["id"] for team in self.listing(f"{self.api}/teams/")}

    def create_team(self, name: str) -> str:
        """Make a team and return its id."""
        # A repetition would meet the team that the first attempt has made.
        return str(self.send("POST", f"{self.api}/teams/", {"name": name}, repeatable=False)["id"])

    def projects(self) -> list[Project]:
        """Return all projects; a team is told by its id."""
        return [_of_bugsink(item) for item in self.listing(f"{self.api}/projects/")]

    def create_project(self, name: str, team: str, flags: Mapping[str, bool]) -> Project:
        """Make a project in a team, which is told by its id."""
        body = {"name": name, "team": team, **flags}
        made = self.send("POST", f"{self.api}/projects/", body, repeatable=False)["id"]
        # The answer has neither slug nor DSN.
        return _of_bugsink(self.get(f"{self.api}/projects/{quoted(made)}/"))

    def change_project(self, project: Project, flags: Mapping[str, bool]) -> None:
        """Change when a project alerts."""
        self.send("PATCH", f"{self.api}/projects/{quoted(project.id)}/", dict(flags))

    def releases(self, project: Project) -> list[str]:
        """Return the versions that a project knows."""
        path = f"{self.api}/releases/?project={quoted(project.id)}"
        return [item["version"] for item in self.listing(path)]

    def create_release(self, project: Project, version: str) -> None:
        """Make a release known to a project; another's quicker one is as good."""
        try:
            body = {"project": project.id, "version": version}
            self.send("POST", f"{self.api}/releases/", body, repeatable=False)
        except ErrorTrackerError as error:
            if error.status != 400 or version not in self.releases(project):
                raise


class Sentry(ErrorTracker):
    """One organisation of a Sentry, seen by the owner of a token."""

    service = "Sentry"
    example = "https://sentry.io or https://sentry.example.com"
    where_tokens_are = "Settings, Developer Settings, of the same server and organisation"

    def __init__(self, url: str, *, organization: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.organization = organization
        self._link = ""

    @property
    def rights(self) -> str:
        """Return what a token needs."""
        return "it needs the scopes org:read, team:write, project:admin, project:releases and alerts:write"

    def advice(self, status: int, text: str) -> str:
        """Return what to do about a refusal."""
        if status == 404:
            return f". Is organization {self.organization} the right slug, and may the token see it?"
        return super().advice(status, text)

    def after_answer(self, status: int, headers: Message) -> None:  # noqa: ARG002 - the hook's own form
        """Keep the header that leads to the next page."""
        self._link = headers.get("Link") or ""

    def asked_wait(self, headers: Message) -> float:
        """Return the seconds that Sentry asks for: it names the moment at which a new window begins."""
        reset = retry_after(headers.get("X-Sentry-Rate-Limit-Reset"))
        return super().asked_wait(headers) or max(reset - time.time(), 0.0)

    def of_project(self, project: Project, rest: str = "") -> str:
        """Return the path of a project."""
        return f"{self.api}/projects/{quoted(self.organization)}/{quoted(project.slug)}/{rest}"

    def of_organization(self, rest: str) -> str:
        """Return a path of the organisation."""
        return f"{self.api}/organizations/{quoted(self.organization)}/{rest}"

    def page(self, path: str) -> tuple[list[dict[str, Any]], str]:
        """Return the items of one page, and the address of the next one, which a header holds."""
        items = self.get(path)
        following = NEXT_PAGE.search(self._link)
        return items, following[1] if following else ""

    def teams(self) -> dict[str, str]:
        """Return the ids of the teams by their slugs."""
        return {team["slug"]: str(team["id"]) for team in self.listing(self.of_organization("teams/?detailed=0"))}

    def create_team(self, slug: str) -> str:
        """Make a team and return its id."""
        body = {"slug": slug, "name": slug}
        return str(self.send("POST", self.of_organization("teams/"), body, repeatable=False)["id"])

    def projects(self) -> list[Project]:
        """Return all projects; a team is told by its slug."""
        return [_of_sentry(item) for item in self.listing(self.of_organization("projects/"))]

    def create_project(self, body: Mapping[str, Any], team: str) -> Project:
        """Make a project in a team, which is told by its slug."""
        path = f"{self.api}/teams/{quoted(self.organization)}/{quoted(team)}/projects/"
        made = _of_sentry(self.send("POST", path, dict(body), repeatable=False))
        return replace(made, teams=made.teams or (team,))

    def change_project(self, project: Project, change: Mapping[str, Any]) -> None:
        """Change name or platform of a project."""
        self.send("PUT", self.of_project(project), dict(change))

    def add_team(self, project: Project, team: str) -> None:
        """Give a further team a project."""
        self.send("POST", self.of_project(project, f"teams/{quoted(team)}/"), {})

    def delete_project(self, project: Project) -> None:
        """Delete a project with all its events."""
        self.delete(self.of_project(project))

    def keys(self, project: Project) -> list[dict[str, Any]]:
        """Return the active keys of a project, the oldest first."""
        found = [key for key in self.listing(self.of_project(project, "keys/")) if key.get("isActive", True)]
        return sorted(found, key=lambda key: str(key.get("dateCreated") or ""))

    def create_key(self, project: Project, name: str) -> dict[str, Any]:
        """Make a key of a project."""
        made: dict[str, Any] = self.send("POST", self.of_project(project, "keys/"), {"name": name}, repeatable=False)
        return made

    def workspaces(self) -> dict[str, str]:
        """Return the ids of the Slack workspaces that are connected, by their names."""
        found = self.listing(self.of_organization("integrations/?provider_key=slack"))
        return {item["name"]: str(item["id"]) for item in found if item.get("status", "active") == "active"}

    def rules(self, project: Project) -> list[dict[str, Any]]:
        """Return the rules by which a project alerts on issues."""
        return self.listing(self.of_project(project, "rules/"))

    def save_rule(self, project: Project, rule: Mapping[str, Any], number: str = "") -> None:
        """Make a rule, or replace the one with this number."""
        method = "PUT" if number else "POST"
        path = self.of_project(project, f"rules/{quoted(number)}/" if number else "rules/")
        answer = self.send(method, path, dict(rule), repeatable=bool(number))
        task = answer.get("uuid")
        if task and "id" not in answer:
            self._finish(self.of_project(project, f"rule-task/{quoted(task)}/"), str(rule["name"]))

    def _finish(self, path: str, name: str) -> None:
        """Wait while Sentry asks Slack for a channel; the rule is there only then."""
        for wait in (*WAITS, *WAITS):
            state = self.get(path)
            if state.get("status") == "success":
                return
            if state.get("status") == "failed":
                why = self.masked(str(state.get("error") or "no reason is given"))
                raise ErrorTrackerError(f"Sentry could not save the alert {name}: {why}")
            self.pause(wait)
        raise ErrorTrackerError(f"Sentry does not come to an end with saving the alert {name}: try again later")

    def delete_rule(self, project: Project, number: str) -> None:
        """Delete a rule."""
        self.delete(self.of_project(project, f"rules/{quoted(number)}/"))

    def release(self, version: str) -> dict[str, Any] | None:
        """Return a release, None where there is none."""
        found: dict[str, Any] | None = self.find(self.of_organization(f"releases/{quoted(version)}/"))
        return found

    def create_release(self, body: Mapping[str, Any]) -> None:
        """Make a release, or add its projects to the one that is there."""
        # Sentry takes a second one of the same for the first.
        self.send("POST", self.of_organization("releases/"), dict(body))

    def change_release(self, version: str, change: Mapping[str, Any]) -> None:
        """Change a release."""
        self.send("PUT", self.of_organization(f"releases/{quoted(version)}/"), dict(change))

    def deploys(self, version: str, project: Project) -> list[dict[str, Any]]:
        """Return of each environment the last deploy of a release of a project."""
        path = f"releases/{quoted(version)}/deploys/?project={quoted(project.id)}"
        return self.listing(self.of_organization(path))

    def create_deploy(self, version: str, body: Mapping[str, Any]) -> None:
        """Tell of a deploy of a release."""
        path = self.of_organization(f"releases/{quoted(version)}/deploys/")
        self.send("POST", path, dict(body), repeatable=False)


def tracker(params: Mapping[str, Any]) -> Sentry | Bugsink:
    """Make a client of a module's parameters; raise ErrorTrackerError when they do not fit together."""
    try:
        token = params["token"] or http_api.read_secret(params["token_file"], "token_file").strip()
    except ApiError as error:
        raise ErrorTrackerError(str(error)) from None
    if not token:
        raise ErrorTrackerError("the token is empty: set token or token_file to one of the tracker's API")
    options = {name: params[name] for name in ("validate_certs", "ca_path", "timeout")}
    if params["kind"] == "bugsink":
        return Bugsink(params["url"], token=token, **options)
    if not params["organization"]:
        raise ErrorTrackerError("organization is empty; Sentry needs its slug: set organization")
    return Sentry(params["url"], organization=params["organization"], token=token, **options)


def only(client: Sentry | Bugsink, found: Sequence[Project], name: str) -> Project:
    """Return the one project that a name or a slug stands for."""
    if len(found) == 1:
        return found[0]
    if found:
        slugs = ", ".join(sorted(one.slug for one in found))
        raise ErrorTrackerError(
            f"projects: {client.service} has {len(found)} projects of the name {name}: say which by its slug ({slugs})"
        )
    raise ErrorTrackerError(f"projects: {client.service} at {client.url} has no project {name}, by slug or by name")


def _of_sentry(item: Mapping[str, Any]) -> Project:
    return Project(
        id=str(item["id"]),
        name=item["name"],
        slug=item["slug"],
        teams=tuple(team["slug"] for team in item.get("teams") or ()),
        platform=item.get("platform") or "",
    )


def _of_bugsink(item: Mapping[str, Any]) -> Project:
    return Project(
        id=str(item["id"]),
        name=item["name"],
        slug=item["slug"],
        teams=(str(item["team"]),) if item.get("team") else (),
        dsn=item["dsn"],
        on_new=bool(item["alert_on_new_issue"]),
        on_regression=bool(item["alert_on_regression"]),
    )


def _sentences(data: Any, field: str = "") -> list[str]:
    """Return the sentences of an error's body, each with the field that it is about."""
    if isinstance(data, str):
        return [f"{field}: {data}" if field else data]
    if isinstance(data, list):
        return [sentence for item in data for sentence in _sentences(item, field)]
    if isinstance(data, dict):
        if "detail" in data or "message" in data:
            return _sentences(data.get("detail") or data.get("message"), field)
        return [
            sentence
            for name, item in data.items()
            for sentence in _sentences(item, "" if name == "non_field_errors" else str(name))
        ]
    return []
