"""Error tracking for all applications of an inventory: which projects there are, who asks whom, and who gets which DSN.

The module itself has tests of its own, and so has a real Bugsink; here Sentry's API is an emulator.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.watchkeeper import trackers
from ansible.module_utils.watchkeeper.catalogue import Project

from tests.emulators.sentry import SentryEmulator
from tests.unit.runs import ROOT, Run, inventory, run_site

PROJECT = Project.load(ROOT)
TOKEN = "sntrys_planted-token"  # noqa: S105
GIVEN = "https://plantedkey@errors.example.com/42"
APPLICATIONS: dict[str, dict[str, Any]] = {
    "app": {"health_app_service": "shop"},
    "twin": {"health_app_service": "shop"},
    "own": {"health_app_sentry_dsn": GIVEN},
    "web": {
        "health_app_state": "absent",
        "app_observability_applications": [
            {"name": "front", "directory": "{{ playbook_dir }}/front"},
            {"name": "shop", "directory": "{{ playbook_dir }}/shop", "sentry_browser_dsn": GIVEN},
        ],
    },
}


def run(folder: Path, server: dict[str, Any], *arguments: str, real: bool = True, **hosts: dict[str, Any]) -> Run:
    """Run the job for a monitoring host and the applications."""
    nodes = {name: {**variables, **hosts.get(name, {})} for name, variables in APPLICATIONS.items()}
    everything = inventory({"server": server}, nodes, groups={"application": list(nodes)})
    # The hosts are one machine, but each has its own record of what the role has written.
    record = {"__app_observability_folder": f"{folder}/observability/{{{{ inventory_hostname }}}}"}
    arguments = (*arguments, f"--extra-vars={json.dumps(record)}")
    if "--tags" not in arguments:
        arguments = ("--tags", "sentry,health_app,app_observability", *arguments)
    return run_site(folder, everything, *arguments, real=("sentry_project",) if real else (), CI="true")


def dsns(done: Run) -> dict[str, str]:
    """Return the DSN that each host's health app got."""
    found = {}
    for item in done.sent:
        if item.arguments.get("name") == "health_app" and "secrets" in item.arguments:
            found[item.host] = item.arguments["secrets"].get("secrets/sentry_dsn", "")
    return found


@pytest.fixture
def sentry() -> Iterator[SentryEmulator]:
    """The part of Sentry's web API that makes projects."""
    with SentryEmulator(token=TOKEN, organization="acme") as emulator:
        yield emulator


def external(sentry: SentryEmulator, **more: Any) -> dict[str, Any]:
    """Return what a monitoring host says of an external tracker."""
    return {
        "watchkeeper_error_tracker": "external",
        "sentry_url": sentry.base_url,
        "sentry_organization": "acme",
        "sentry_token": TOKEN,
        **more,
    }


def test_every_application_gets_the_dsn_of_its_project(sentry: SentryEmulator, tmp_path: Path) -> None:
    """One project for each name; who has a DSN of its own keeps it; a second run finds everything."""
    variables = external(
        sentry,
        sentry_team="web",
        sentry_alert={"via": "email"},
        sentry_projects=[{"name": "worker", "platform": "python"}, {"name": "front", "platform": "node"}],
    )
    done = run(tmp_path / "first", variables, "-vvv", "--diff")
    assert done.code == 0, done.output
    projects = {stored.fields["name"]: stored for stored in sentry.projects.values()}
    assert sorted(projects) == ["front", "front-browser", "shop", "worker"]
    platforms = {name: stored.fields["platform"] for name, stored in projects.items()}
    assert platforms == {
        "front": "node",
        "front-browser": "javascript",
        "shop": "python-fastapi",
        "worker": "python",
    }
    assert all(stored.teams == ["web"] and len(stored.rules) == 1 for stored in projects.values())
    made = {name: stored.keys[0]["dsn"]["public"] for name, stored in projects.items()}
    assert dsns(done) == {"app": made["shop"], "twin": made["shop"], "own": GIVEN}
    env = (tmp_path / "first" / "front" / "observability.env").read_text(encoding="utf-8")
    assert f"\nSENTRY_DSN={made['front']}\n" in env
    assert made["front-browser"] in (tmp_path / "first" / "front" / "sentry-browser.js").read_text(encoding="utf-8")
    assert GIVEN in (tmp_path / "first" / "shop" / "sentry-browser.js").read_text(encoding="utf-8")
    for secret in (TOKEN, made["front"], made["shop"]):
        assert secret not in done.output

    again = run(tmp_path / "second", variables)
    assert again.code == 0, again.output
    assert not any(item["result"].get("changed") for item in again.results if item["action"] == "sentry_project")
    assert dsns(again) == dsns(done)


def test_given_dsns_need_no_api(tmp_path: Path) -> None:
    """An application without one has no error tracking."""
    variables = {"watchkeeper_error_tracker": "external", "sentry_dsns": {"front": GIVEN}}
    done = run(tmp_path, variables, app={"health_app_service": "front"})
    assert done.code == 0, done.output
    assert dsns(done) == {"app": GIVEN, "twin": "", "own": GIVEN}
    assert not any(item["action"] == "sentry_project" for item in done.results)


@pytest.mark.parametrize(
    ("wrong", "mode", "word"),
    [({"sentry_token": "sntrys_wrong-planted"}, (), "token"), ({"sentry_organization": "emca"}, ("--check",), "emca")],
)
def test_a_tracker_that_refuses(
    sentry: SentryEmulator, tmp_path: Path, wrong: dict[str, str], mode: tuple[str, ...], word: str
) -> None:
    """One clear message; no application is touched, in check mode either."""
    done = run(tmp_path, external(sentry, **wrong), *mode)
    assert done.code != 0
    assert dsns(done) == {}
    [message] = done.errors.values()
    assert word in message
    assert "planted" not in done.output
    assert sentry.projects == {}


@pytest.mark.parametrize("arguments", [("--limit", "app,twin"), ("--tags", "health_app")], ids=lambda found: found[0])
def test_the_trackers_own_host_is_asked_once(tmp_path: Path, arguments: tuple[str, str]) -> None:
    """Also in a run for other hosts, or for one component."""
    server = {"bugsink_listen_address": "[::]", "bugsink_data_dir": "/srv/bugs", "watchkeeper_error_tracker": "bugsink"}
    done = run(tmp_path, server, *arguments, real=False)
    assert done.code == 0, done.output
    [call] = [item.arguments for item in done.sent if item.module == "sentry_project"]
    assert {key: call[key] for key in ("kind", "url", "token_file", "manage")} == {
        "kind": "bugsink",
        "url": "http://[::1]:8010",
        "token_file": "/srv/bugs/api_token",
        "manage": ["runuser", "-u", "bugsink", "--", "/srv/bugs/manage"],
    }
    assert [item["name"] for item in call["projects"]] == ["shop", "front", "front-browser"]
    assert dsns(done)["twin"] == "https://made@errors.example.com/1"


@pytest.mark.parametrize("server", [{}, {"watchkeeper_error_tracker": "bugsink", "sentry_state": "absent"}])
def test_without_a_tracker_nobody_is_asked(tmp_path: Path, server: dict[str, str]) -> None:
    """And nobody gets a DSN but who has one in the inventory."""
    done = run(tmp_path, server, "--tags", "health_app", real=False)
    assert done.code == 0, done.output
    assert "sentry_project" not in [item.module for item in done.sent]
    assert dsns(done) == {"app": "", "twin": "", "own": GIVEN}


def test_a_run_that_needs_no_project_asks_nobody(tmp_path: Path) -> None:
    """So that an error tracker that is down does not stop it."""
    done = run(tmp_path, {"watchkeeper_error_tracker": "bugsink"}, "--tags", "node_exporter,prometheus", real=False)
    assert done.code == 0, done.output
    assert "sentry_project" not in [item.module for item in done.sent]


# What a monitoring host says, and what the message must say.
ALERT = {"via": "slack", "url": "https://hooks.slack.example/planted"}
WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({"sentry_url": ""}, ["which needs sentry_url with sentry_token, or sentry_dsns"]),
    "login": ({"sentry_url": "https://planted@errors.example.com"}, ["sentry_url is (hidden)", "without user name"]),
    "url": ({"sentry_url": "sentry.io"}, ["sentry_url is 'sentry.io'", "starts with http:// or https://"]),
    "token": ({"sentry_token": ""}, ["sentry_token is not set, but sentry_url is", "vault"]),
    "organization": ({"sentry_organization": ""}, ["sentry_organization is not set"]),
    "dsn": ({"sentry_dsns": {"shop": "planted"}}, ["sentry_dsns.shop is (hidden)", "a DSN of the form"]),
    "twice": (
        {"sentry_projects": [{"name": "a"}, {"name": "a"}]},
        ["sentry_projects[1].name is 'a'", "different for each project"],
    ),
    "key": ({"sentry_projects": [{"name": "a", "plattform": "x"}]}, ["did you mean 'platform'?"]),
    "mail": (
        {"watchkeeper_error_tracker": "bugsink", "sentry_alert": {"via": "email"}},
        ["sentry_alert.via is 'email'", "one of slack, mattermost, discord", "with the API of bugsink"],
    ),
    "webhook": (
        {"watchkeeper_error_tracker": "bugsink", "sentry_alert": {**ALERT, "url": "planted"}},
        ["sentry_alert.url is (hidden)", "the webhook of the channel"],
    ),
    "channel": (
        {"sentry_projects": [{"name": "a", "alert": ALERT}]},
        ["sentry_projects[0].alert needs channel, such as '#errors'"],
    ),
    "administrator": (
        {"watchkeeper_error_tracker": "self_hosted"},
        ["sentry_self_hosted_admin_email is ''", "e-mail address"],
    ),
    "port": (
        {
            "watchkeeper_error_tracker": "self_hosted",
            "sentry_self_hosted_admin_email": "ops@example.com",
            "prometheus_port": 9000,
        },
        ["prometheus_port is 9000", "another port than sentry_self_hosted_port"],
    ),
}


def test_bad_input(tmp_path: Path) -> None:
    """One clear message for each before anything changes, without a secret."""
    good = {
        "watchkeeper_error_tracker": "external",
        "sentry_url": "https://sentry.io",
        "sentry_organization": "acme",
        "sentry_token": "planted",
    }
    hosts = inventory({name: {**good, **variables} for name, (variables, _words) in WRONG.items()})
    done = run_site(tmp_path, hosts)
    assert done.stopped_before_any_change(), done.output
    for name, (_variables, words) in WRONG.items():
        assert "things are wrong" not in done.errors[name]
        for word in words:
            assert word in done.errors[name]
    assert "planted" not in done.output


def test_a_port_of_a_sentry_that_is_not_there_is_free(tmp_path: Path) -> None:
    """Who has no Sentry may have something else on its port."""
    done = run_site(tmp_path, inventory({"server": {"prometheus_port": 9000}}), "--tags", "node_exporter")
    assert done.code == 0, done.output


# By themselves


def of(server: dict[str, Any], nodes: dict[str, dict[str, Any]] | None = None) -> trackers.Inventory:
    """Return an inventory as the functions read it."""
    hosts = {"server": server, **(nodes or {})}
    return trackers.Inventory(PROJECT, {"monitoring": ["server"], "application": list(nodes or {})}, hosts, {})


def test_a_self_hosted_sentry_is_asked_on_its_host() -> None:
    """With the token that was made there, and nothing that only a run on that host would know."""
    found = trackers.find(of({"watchkeeper_error_tracker": "self_hosted", "sentry_self_hosted_port": 9001}))
    assert (found.api, found.host, found.url) == ("sentry", "server", "http://127.0.0.1:9001")
    assert (found.organization, found.token) == ("sentry", "")
    assert found.token_file == trackers.SELF_HOSTED_TOKEN


def test_an_external_tracker_is_asked_by_the_controller() -> None:
    """Its token reaches no host. It may be a Bugsink."""
    found = trackers.find(
        of({"watchkeeper_error_tracker": "external", "sentry_url": "https://x", "sentry_api": "bugsink"})
    )
    assert (found.api, found.host, found.manage) == ("bugsink", "localhost", ())


def test_projects_of_the_inventory_and_beyond() -> None:
    """Each name once; what the inventory says of one wins; whose DSN is given needs none."""
    tracker = trackers.Tracker(
        kind="external",
        team="t",
        alert={"via": "email"},
        projects=({"name": "a", "team": "own"}, {"name": "z"}),
        dsns={"b": GIVEN},
    )
    assert trackers.projects(tracker, {"a": "python", "b": "node", "c": ""}) == [
        {"name": "a", "team": "own", "platform": "python", "alert": {"via": "email"}},
        {"name": "c", "team": "t", "alert": {"via": "email"}},
        {"name": "z", "team": "t", "alert": {"via": "email"}},
    ]


def test_the_dsn_of_an_application() -> None:
    """The given one, else that of the project; empty where errors are not tracked or check mode would make it."""
    tracker = trackers.Tracker(kind="external", dsns={"a": GIVEN})
    made = {"projects": {"a": {"dsn": "x"}, "b": {"dsn": "y"}, "new": {"dsn": ""}}}
    assert [trackers.dsn(tracker, name, made) for name in ("a", "b", "c", "new")] == [GIVEN, "y", "", ""]
    assert trackers.dsn(tracker, "b", None) == trackers.dsn(tracker, "b", {"skipped": True}) == ""
    assert trackers.dsn(trackers.Tracker(dsns={"a": GIVEN}), "a", made) == ""
