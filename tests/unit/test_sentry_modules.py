"""The modules of error trackers as processes of their own, against an emulator of Sentry and a real Bugsink."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.emulators.base import Answer, Request
from tests.emulators.sentry import ALL_SCOPES, FIRST_SEEN, REGRESSION, SentryEmulator
from tests.emulators.slack import SlackSink
from tests.harness import bugsink
from tests.unit.runs import ROOT
from tests.unit.test_grafana_modules import compare
from tests.unit.uptimerobot_fixture import Start, good, refused, start

__all__ = ["start"]

MODULES = ("sentry_project", "sentry_release")
TOKEN = "sntrys_of-the-tests"  # noqa: S105 - of servers that live as long as a test
WEBHOOK = "http://93.184.216.34/services/planted-webhook"
FRAGMENT = ROOT / "plugins" / "doc_fragments" / "error_tracker.py"


class Runner:
    """The modules, logged in to a tracker."""

    def __init__(self, start: Start, **login: Any) -> None:
        self.start, self.login = start, login
        # Everything that modules have said, to look for what must not be in it.
        self.output = ""

    def __call__(self, module: str, *, check: bool = False, **given: Any) -> dict[str, Any]:
        """Run a module with a diff and return its answer."""
        special = {"_ansible_check_mode": check, "_ansible_diff": True}
        answer = self.start(module, {**self.login, **special, **given})
        self.output += json.dumps(answer)
        return answer

    def projects(self, *items: dict[str, Any], **given: Any) -> dict[str, Any]:
        """Bring projects to what is declared."""
        return self("sentry_project", projects=list(items), **given)

    def project(self, *, changed: bool, check: bool = False, **item: Any) -> dict[str, Any]:
        """Bring one project to what is declared, and return the whole answer."""
        return good(self.projects(item, check=check), changed)

    def release(self, **given: Any) -> dict[str, Any]:
        """Tell of a release."""
        return self("sentry_release", **given)


# Documentation


@pytest.mark.parametrize("module", MODULES)
def test_the_documentation_is_the_argument_spec(module: str) -> None:
    """Options, types, defaults, choices and what is required, on every level."""
    names: dict[str, Any] = {}
    text = (ROOT / "library" / f"{module}.py").read_text(encoding="utf-8")
    code = text.replace('if __name__ == "__main__"', "if False") + (
        "\nclass Caught(Exception): pass\n"
        "def AnsibleModule(**given): raise Caught(given['argument_spec'])\n"
        "try: main()\nexcept Caught as caught: SPEC = caught.args[0]\n"
    )
    exec(compile(code, module, "exec"), names)  # noqa: S102 - the project's own module
    shared = yaml.safe_load(re.findall(r'r"""(.*?)"""', FRAGMENT.read_text(encoding="utf-8"), re.DOTALL)[0])
    about = yaml.safe_load(names["DOCUMENTATION"])
    assert about["module"] == module
    assert about["extends_documentation_fragment"] == ["error_tracker"]
    compare({**about["options"], **shared["options"]}, names["SPEC"], module)


def test_ansible_doc_shows_it_all(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-doc"), "--type", "module", "--json", *MODULES],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    for module in MODULES:
        assert {"url", "kind", "token_file", "organization"} <= set(shown[module]["doc"]["options"])
        assert shown[module]["examples"]
        assert shown[module]["return"]


def examples(module: str, kind: str) -> list[dict[str, Any]]:
    """Return the options of a module's examples for one tracker."""
    text = (ROOT / "library" / f"{module}.py").read_text(encoding="utf-8")
    tasks = yaml.safe_load(re.findall(r'EXAMPLES = r"""(.*?)"""', text, re.DOTALL)[0])
    return [task[module] for task in tasks if task[module].get("kind", "sentry") == kind]


# Sentry


@pytest.fixture
def sentry() -> Iterator[SentryEmulator]:
    """An organisation with one team."""
    with SentryEmulator(token=TOKEN) as emulator:
        emulator.add_team("web")
        yield emulator


@pytest.fixture
def run(sentry: SentryEmulator, start: Start) -> Runner:
    """The modules, logged in to Sentry."""
    return at(sentry, start)


def at(emulator: SentryEmulator, start: Start) -> Runner:
    """Return the modules, logged in to an emulator."""
    return Runner(start, url=emulator.base_url, token=TOKEN, organization="acme")


def rules(emulator: SentryEmulator, slug: str) -> dict[str, dict[str, Any]]:
    """Return the alerts of a project by their names."""
    return {rule["name"]: rule for rule in emulator.projects[slug].rules}


def test_the_examples_run_as_they_stand(sentry: SentryEmulator, run: Runner) -> None:
    sentry.add_workspace("Acme")
    for module in MODULES:
        (example,) = examples(module, "sentry")
        given = {**example, **run.login}
        good(run(module, **given), changed=True)
        good(run(module, **given), changed=False)
    assert set(sentry.projects) == {"shop", "shop-pages"}


def test_create_and_no_change(sentry: SentryEmulator, run: Runner) -> None:
    items = [
        {"name": "Shop", "team": "web", "platform": "python-fastapi"},
        {"name": "Shop pages", "team": "pages", "platform": "javascript", "slug": "pages"},
    ]
    answer = good(run.projects(*items), changed=True)
    assert answer["actions"] == ["created project Shop", "created team pages", "created project Shop pages"]
    told = answer["projects"]
    assert {name: (item["slug"], item["state"]) for name, item in told.items()} == {
        "Shop": ("shop", "created"),
        "Shop pages": ("pages", "created"),
    }
    for item in told.values():
        assert item["dsn"] == sentry.projects[item["slug"]].keys[0]["dsn"]["public"]
        assert item["id"] == sentry.projects[item["slug"]].fields["id"]
    assert sentry.projects["pages"].teams == ["pages"]
    assert sentry.projects["shop"].fields["platform"] == "python-fastapi"
    again = good(run.projects(*items), changed=False)
    assert again["diff"] == []
    assert {name: {**item, "state": ""} for name, item in again["projects"].items()} == {
        name: {**item, "state": ""} for name, item in told.items()
    }


def test_a_run_without_a_change_asks_little(sentry: SentryEmulator, run: Runner) -> None:
    items = [{"name": "Shop"}, {"name": "Pages"}]
    good(run.projects(*items), changed=True)
    sentry.forget()
    good(run.projects(*items), changed=False)
    assert sentry.requests == [
        "GET /api/0/organizations/acme/teams/?detailed=0",
        "GET /api/0/organizations/acme/projects/",
        "GET /api/0/projects/acme/shop/keys/",
        "GET /api/0/projects/acme/pages/keys/",
    ]


def test_check_mode_writes_nothing_and_says_what_would_be(sentry: SentryEmulator, run: Runner) -> None:
    alert = {"via": "email", "name": "New"}
    item: dict[str, Any] = {"name": "Shop", "team": "new", "key_name": "backend", "alert": alert}
    before = run.project(changed=True, check=True, **item)
    assert before["projects"]["Shop"] == {"id": "", "slug": "", "dsn": "", "state": "created"}
    assert not sentry.projects
    assert not [one for one in sentry.requests if not one.startswith("GET ")]
    assert run.project(changed=True, **item)["actions"] == before["actions"]
    changed = {**item, "platform": "python", "alert": {**alert, "state": "absent"}}
    would = run.project(changed=True, check=True, **changed)["actions"]
    assert would == ["changed platform of project Shop", "removed alert New of project Shop"]
    assert run.project(changed=True, **changed)["actions"] == would
    assert run.project(changed=True, check=True, name="Shop", state="absent")["actions"] == ["removed project Shop"]
    assert "shop" in sentry.projects


def test_what_differs_is_changed_and_the_rest_stays(sentry: SentryEmulator, run: Runner) -> None:
    sentry.add_project("Old name", "web", slug="shop", platform="python")
    sentry.add_team("pages")
    answer = run.project(changed=True, name="Shop", slug="shop", team="pages")
    assert answer["actions"] == ["changed name of project Shop", "gave project Shop to team pages"]
    assert sentry.projects["shop"].fields["name"] == "Shop"
    assert sentry.projects["shop"].fields["platform"] == "python"
    assert sentry.projects["shop"].teams == ["web", "pages"]
    (diff,) = answer["diff"]
    assert json.loads(diff["before"]) == {"name": "Old name", "teams": ["web"]}
    assert json.loads(diff["after"]) == {"name": "Shop", "teams": ["pages", "web"]}
    run.project(changed=False, name="Shop", slug="shop", team="pages")


def test_a_name_of_several_is_refused(sentry: SentryEmulator, run: Runner) -> None:
    sentry.add_project("Shop", "web")
    sentry.add_project("Shop", "web")
    words = refused(run.projects({"name": "New"}, {"name": "Shop"}))
    assert "has 2 projects of the name Shop: say which by its slug (shop, shop-2)" in words
    assert set(sentry.projects) == {"shop", "shop-2"}, "nothing was to be written"
    run.project(changed=False, name="Shop", slug="shop-2")


def test_a_new_project_needs_a_team_where_there_are_several(sentry: SentryEmulator, run: Runner) -> None:
    sentry.add_team("pages")
    words = refused(run.projects({"name": "Shop", "team": "web"}, {"name": "Other"}))
    assert "Other is to be created and names no team, and there are 2 (pages, web): set its team" in words
    assert not sentry.projects


def test_the_key_that_is_told(sentry: SentryEmulator, run: Runner) -> None:
    answer = run.project(changed=True, name="Shop", key_name="backend")
    assert answer["actions"] == ["created project Shop", "created key backend of project Shop"]
    default = run.project(changed=False, name="Shop")["projects"]["Shop"]["dsn"]
    backend = run.project(changed=False, name="Shop", key_name="backend")["projects"]["Shop"]["dsn"]
    newest, oldest = sentry.projects["shop"].keys
    assert (backend, default) == (newest["dsn"]["public"], oldest["dsn"]["public"])
    oldest["isActive"] = False
    assert run.project(changed=False, name="Shop")["projects"]["Shop"]["dsn"] == backend
    for key in sentry.projects["shop"].keys:
        key["isActive"] = False
    assert run.project(changed=True, name="Shop")["actions"] == ["created key Watchkeeper of project Shop"]
    run.project(changed=False, name="Shop")
    assert not re.search("|".join(key["secret"] for key in sentry.projects["shop"].keys), run.output)


def test_a_project_without_a_key_gets_one(start: Start) -> None:
    with SentryEmulator(token=TOKEN, quirks=frozenset({"no_default_key"})) as emulator:
        run = at(emulator, start)
        answer = run.project(changed=True, name="Shop", team="web")
        assert answer["projects"]["Shop"]["dsn"].startswith("https://")
        run.project(changed=False, name="Shop", team="web")


def test_absent(sentry: SentryEmulator, run: Runner) -> None:
    sentry.add_project("Shop", "web")
    answer = run.project(changed=True, name="Shop", state="absent")
    assert answer["projects"] == {}
    assert not sentry.projects
    run.project(changed=False, name="Shop", state="absent")


def test_lists_come_in_pages(start: Start) -> None:
    with SentryEmulator(token=TOKEN, page=2) as emulator:
        emulator.add_team("web")
        for number in range(5):
            emulator.add_project(f"Shop {number}", "web")
        at(emulator, start).project(changed=False, name="Shop 4")
        assert len([one for one in emulator.requests if "/acme/projects/" in one]) == 3


def test_a_list_without_an_end_is_refused(start: Start) -> None:
    with SentryEmulator(token=TOKEN, quirks=frozenset({"link_to_itself"})) as emulator:
        assert "the list does not end" in refused(at(emulator, start).projects({"name": "Shop"}))


# Alerts of Sentry


def test_an_alert_by_mail_to_the_team(sentry: SentryEmulator, run: Runner) -> None:
    answer = run.project(changed=True, name="Shop", alert={"via": "email"})
    assert answer["actions"] == ["created project Shop", "created alert Watchkeeper of project Shop"]
    (rule,) = rules(sentry, "shop").values()
    assert [one["id"] for one in rule["conditions"]] == [FIRST_SEEN, REGRESSION]
    assert rule["actions"][0]["targetIdentifier"] == sentry.teams["web"]
    run.project(changed=False, name="Shop", alert={"via": "email"})
    run.project(changed=True, name="Shop", alert={"via": "email", "regression": False})
    assert [one["id"] for one in rules(sentry, "shop")["Watchkeeper"]["conditions"]] == [FIRST_SEEN]
    answer = run.project(changed=True, name="Shop", alert={"state": "absent"})
    assert answer["actions"] == ["removed alert Watchkeeper of project Shop"]
    assert rules(sentry, "shop") == {}
    run.project(changed=False, name="Shop", alert={"state": "absent"})


def test_an_alert_to_slack(sentry: SentryEmulator, run: Runner) -> None:
    sentry.add_project("Shop", "web")
    workspace = sentry.add_workspace("Acme")
    alert = {"via": "slack", "channel": "#errors"}
    run.project(changed=True, name="Shop", alert=alert)
    action = rules(sentry, "shop")["Watchkeeper"]["actions"][0]
    assert (action["workspace"], action["channel"]) == (workspace, "#errors")
    assert len(rules(sentry, "shop")) == 2, "that of people stays"
    # Sentry may tell the channel without its sign.
    action["channel"] = "errors"
    run.project(changed=False, name="Shop", alert=alert)
    run.project(changed=True, name="Shop", alert={**alert, "channel": "#shop"})
    sentry.add_workspace("Other")
    words = refused(run.projects({"name": "Shop", "alert": alert}))
    assert "the Slack workspace (not said); connected to organization acme are: Acme, Other" in words
    run.project(changed=True, name="Shop", alert={**alert, "workspace": "Other"})


def test_a_workspace_that_is_not_connected_is_refused_before_anything_is_written(
    sentry: SentryEmulator, run: Runner
) -> None:
    alert = {"via": "slack", "channel": "#errors", "workspace": "Nowhere"}
    words = refused(run.projects({"name": "Shop"}, {"name": "Pages", "alert": alert}))
    assert "the Slack workspace Nowhere; connected to organization acme are: none" in words
    assert not sentry.projects


def test_what_the_alert_does_not_say_stays(sentry: SentryEmulator, run: Runner) -> None:
    run.project(changed=True, name="Shop", alert={"via": "email"})
    kept = {"frequency": 1440, "environment": "production", "filterMatch": "any"}
    rules(sentry, "shop")["Watchkeeper"].update(kept)
    run.project(changed=False, name="Shop", alert={"via": "email"})
    run.project(changed=True, name="Shop", alert={"via": "email", "regression": False})
    assert kept.items() <= rules(sentry, "shop")["Watchkeeper"].items()


def test_sentry_saves_after_a_while(start: Start) -> None:
    alert = {"via": "slack", "channel": "#errors"}
    with SentryEmulator(token=TOKEN, quirks=frozenset({"async_slack"})) as emulator:
        emulator.add_workspace("Acme")
        run = at(emulator, start)
        run.project(changed=True, name="Shop", team="web", alert=alert)
        run.project(changed=False, name="Shop", team="web", alert=alert)
        assert len([one for one in emulator.requests if "rule-task" in one]) == 2


def test_slack_does_not_know_the_channel(start: Start) -> None:
    with SentryEmulator(token=TOKEN, quirks=frozenset({"async_slack_fails"})) as emulator:
        emulator.add_workspace("Acme")
        item = {"name": "Shop", "team": "web", "alert": {"via": "slack", "channel": "#nowhere"}}
        answer = at(emulator, start).projects(item)
        assert "could not save the alert Watchkeeper: The channel could not be found" in refused(answer)
        assert answer["changed"] is True
        assert "created project Shop" in answer["actions"]


# What is refused


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"projects": [{"name": "Shop"}, {"name": "Shop"}]}, "projects: Shop is there twice"),
        ({"projects": [{"name": "Shop", "alert": {}}]}, "alert.via is not set; for sentry it is one of email, slack"),
        (
            {"projects": [{"name": "Shop", "alert": {"via": "discord", "url": WEBHOOK}}]},
            "alert.via is discord; for sentry it is one of email, slack",
        ),
        ({"projects": [{"name": "Shop", "alert": {"via": "slack"}}]}, "alert.via is slack, which needs alert.channel"),
        ({"kind": "bugsink", "projects": [{"name": "Shop", "state": "absent"}]}, "its API deletes no project"),
        (
            {"kind": "bugsink", "projects": [{"name": "Shop", "alert": {"via": "slack", "url": WEBHOOK}}]},
            "set manage to the command bugsink-manage",
        ),
        (
            {"kind": "bugsink", "manage": ["no"], "projects": [{"name": "Shop", "alert": {"via": "email"}}]},
            "alert.via is email; for bugsink it is one of slack, mattermost, discord",
        ),
        (
            {"kind": "bugsink", "manage": ["no"], "projects": [{"name": "Shop", "alert": {"via": "slack"}}]},
            "alert.via is slack, which needs alert.url",
        ),
        ({"organization": None, "projects": []}, "organization is empty; Sentry needs its slug"),
        ({"token": "", "projects": []}, "the token is empty"),
        ({"url": "sentry.io", "projects": []}, "url is 'sentry.io'; it must be like https://sentry.io"),
        ({"token": None, "token_file": "/nowhere/token", "projects": []}, "token_file /nowhere/token cannot be read"),
    ],
)
def test_bad_options_are_named_before_anything_is_asked(
    sentry: SentryEmulator, run: Runner, given: dict[str, Any], words: str
) -> None:
    options = {name: value for name, value in {**run.login, **given}.items() if value is not None}
    assert words in refused(run.start("sentry_project", options))
    assert sentry.requests == []


@pytest.mark.parametrize(
    ("login", "words"),
    [
        ({"token": "wrong-token-planted"}, "HTTP 401: Invalid token. Sentry does not know the token"),
        ({"organization": "other"}, "Is organization other the right slug, and may the token see it?"),
    ],
)
def test_a_wrong_login_is_named(run: Runner, login: dict[str, str], words: str) -> None:
    assert words in refused(run.projects({"name": "Shop"}, **login))
    assert "planted" not in run.output
    assert TOKEN not in run.output


def test_a_token_that_may_not_is_named(start: Start) -> None:
    with SentryEmulator(token=TOKEN, scopes=ALL_SCOPES - {"project:admin"}) as emulator:
        emulator.add_team("web")
        words = refused(at(emulator, start).projects({"name": "Shop"}))
        assert "HTTP 403: You do not have permission to perform this action. The token may not do that" in words
        assert "project:admin" in words


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"name": "x" * 51}, "name: Ensure this field has no more than 50 characters"),
        ({"name": "Shop", "platform": "cobol"}, "platform: Invalid platform"),
        ({"name": "Shop", "slug": "No Slug"}, "slug: A slug is of lower-case letters"),
        ({"name": "Shop", "team": "No Slug"}, "slug: A slug is of lower-case letters"),
    ],
)
def test_the_trackers_own_words_are_told(run: Runner, item: dict[str, str], words: str) -> None:
    assert words in refused(run.projects(item))


def test_a_limit_of_requests_is_waited_for(sentry: SentryEmulator, run: Runner) -> None:
    sentry.fail_next(1, Answer(429, '{"detail": "slow down"}', headers={"Retry-After": "0"}))
    run.project(changed=True, name="Shop")
    sentry.fail_next(1, Answer(429, "", headers={"X-Sentry-Rate-Limit-Reset": "99999999999"}))
    assert "HTTP 429" in refused(run.projects({"name": "Shop"})), "nobody waits for years"


def test_a_creation_is_not_repeated_and_found_by_the_next_run(sentry: SentryEmulator, run: Runner) -> None:
    original = sentry.answer

    def lying(request: Request) -> Answer:
        """Do what is asked, and say that it failed."""
        answer = original(request)
        return Answer(500, "") if request.method == "POST" else answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentry, "answer", lying)
        answer = run.projects({"name": "Shop"})
    assert "HTTP 500" in refused(answer)
    assert answer["changed"] is False
    assert len([one for one in sentry.requests if one.startswith("POST")]) == 1
    run.project(changed=False, name="Shop")
    assert set(sentry.projects) == {"shop"}


# Releases of Sentry


def test_a_release_and_its_deployment(sentry: SentryEmulator, run: Runner) -> None:
    for name in ("Shop", "Pages"):
        sentry.add_project(name, "web")
    given: dict[str, Any] = {"version": "shop@1.0.0", "projects": ["shop", "Pages"], "environment": "production"}
    would = good(run.release(check=True, **given), changed=True)["actions"]
    assert not sentry.releases
    answer = good(run.release(**given), changed=True)
    assert answer["actions"] == would
    assert answer["actions"] == [
        "created release shop@1.0.0 of project pages",
        "created release shop@1.0.0 of project shop",
        "told of a deployment of shop@1.0.0 to production (shop, pages)",
    ]
    assert answer["projects"] == ["shop", "pages"]
    assert sentry.releases["shop@1.0.0"]["dateReleased"]
    (deploy,) = sentry.deploys
    assert deploy["projects"] == ["shop", "pages"]
    good(run.release(**given), changed=False)
    answer = good(run.release(**{**given, "environment": "staging"}), changed=True)
    assert answer["actions"] == ["told of a deployment of shop@1.0.0 to staging (shop, pages)"]
    good(run.release(**given, deploy_name="second"), changed=True)
    good(run.release(**given, deploy_name="second"), changed=False)
    assert len(sentry.deploys) == 3


def test_a_project_that_joins_later_is_told_alone(sentry: SentryEmulator, run: Runner) -> None:
    for name in ("Shop", "Pages"):
        sentry.add_project(name, "web")
    good(run.release(version="1.0.0", projects=["shop"], environment="production"), changed=True)
    answer = good(run.release(version="1.0.0", projects=["shop", "pages"], environment="production"), changed=True)
    assert answer["actions"] == [
        "created release 1.0.0 of project pages",
        "told of a deployment of 1.0.0 to production (pages)",
    ]
    assert sentry.releases["1.0.0"]["projects"] == ["pages", "shop"]


def test_a_release_that_an_event_made_is_completed(sentry: SentryEmulator, run: Runner) -> None:
    sentry.add_project("Shop", "web")
    sentry.releases["1.0.0"] = {
        "version": "1.0.0",
        "projects": ["shop"],
        "ref": None,
        "url": None,
        "dateReleased": None,
    }
    given: dict[str, Any] = {"version": "1.0.0", "projects": ["shop"], "reference": "c41b"}
    good(run.release(**given, released=False), changed=True)
    assert sentry.releases["1.0.0"]["dateReleased"] is None
    answer = good(run.release(**given), changed=True)
    assert answer["actions"] == ["changed dateReleased of release 1.0.0"]
    good(run.release(**given), changed=False)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"version": "a/b"}, "version is 'a/b'; it has 1 to 200 characters"),
        ({"version": "latest"}, "version is 'latest'"),
        ({"version": "x" * 201}, "it has 1 to 200 characters"),
        ({"projects": []}, "projects is empty"),
        ({"deploy_name": "first"}, "deploy_name: there is no deployment without environment"),
        ({"environment": "production", "started": "yesterday"}, "started is 'yesterday'; it must be a moment"),
        ({"kind": "bugsink", "environment": "production"}, "environment: Bugsink's API knows releases alone"),
    ],
)
def test_bad_options_of_a_release(sentry: SentryEmulator, run: Runner, given: dict[str, Any], words: str) -> None:
    assert words in refused(run.release(**{"version": "1.0.0", "projects": ["shop"], **given}))
    assert sentry.requests == []


def test_a_release_of_nobody_is_refused(sentry: SentryEmulator, run: Runner) -> None:
    words = refused(run.release(version="1.0.0", projects=["nowhere"]))
    assert "has no project nowhere, by slug or by name" in words
    assert not sentry.releases


# Bugsink


class Tracker:
    """A real Bugsink, and the modules logged in to it."""

    def __init__(self, server: dict[str, str], state: Path, start: Start) -> None:
        self.server = server
        self.run = Runner(start, kind="bugsink", url=server["url"], token=server["token"])
        program = str(bugsink.HOME / "bin" / "bugsink-manage")
        settings = ["DJANGO_SETTINGS_MODULE=bugsink_conf", f"PYTHONPATH={state}"]
        self.manage = ["env", f"--chdir={state}", *settings, program]

    def told(self, path: str) -> dict[str, Any]:
        """Return what Bugsink's API says."""
        return bugsink._ask(self.server["url"], self.server["token"], path)

    def issues(self, project: str) -> list[dict[str, Any]]:
        """Return the errors of a project."""
        return bugsink._all(self.server, "issues/", project=project)


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory, start: Start) -> Iterator[Tracker]:
    """A Bugsink that sends its alerts to private addresses, too; one for all tests of this file."""
    state = tmp_path_factory.mktemp("bugsink") / "state"
    configure = bugsink._configure

    def configured(folder: Path, url: str) -> None:
        configure(folder, url)
        with (folder / "bugsink_conf.py").open("a", encoding="utf-8") as file:
            file.write('BUGSINK["ALERTS_WEBHOOK_DENY_NON_GLOBAL"] = False\n')

    with pytest.MonkeyPatch.context() as patch:
        try:
            bugsink.install()
        except bugsink.DownloadError as error:
            pytest.skip(str(error))
        patch.setattr(bugsink, "_configure", configured)
        with bugsink.serve(state) as server:
            yield Tracker(server, state, start)


def send(dsn: str, error: str) -> None:
    """Send an error as an SDK does."""
    found = re.fullmatch(r"(https?)://(\w+)@([^/]+)/(\d+)", dsn)
    assert found, dsn
    scheme, key, host, project = found.groups()
    number = uuid.uuid4().hex
    exception = {"values": [{"type": error, "value": "of the test"}]}
    event = {"event_id": number, "timestamp": "2026-01-01T00:00:00Z", "platform": "python", "exception": exception}
    lines = [{"event_id": number, "dsn": dsn}, {"type": "event"}, event]
    request = urllib.request.Request(
        f"{scheme}://{host}/api/{project}/envelope/",
        "\n".join(json.dumps(line) for line in lines).encode(),
        {
            "X-Sentry-Auth": f"Sentry sentry_key={key}, sentry_version=7",
            "Content-Type": "application/x-sentry-envelope",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


def test_the_examples_run_on_bugsink(tracker: Tracker, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(tracker.server["token"] + "\n", encoding="utf-8")
    for module in MODULES:
        (example,) = examples(module, "bugsink")
        given = {**example, "url": tracker.server["url"], "token_file": str(file)}
        del given["kind"]
        run = Runner(tracker.run.start, kind="bugsink")
        good(run(module, **given), changed=True)
        good(run(module, **given), changed=False)


def test_a_dsn_of_bugsink_takes_errors(tracker: Tracker) -> None:
    items = [{"name": "Backend", "team": "Web team"}, {"name": "Browser", "team": "Web team"}]
    would = good(tracker.run.projects(*items, check=True), changed=True)
    assert would["projects"]["Backend"] == {"id": "", "slug": "", "dsn": "", "state": "created"}
    answer = good(tracker.run.projects(*items), changed=True)
    assert answer["actions"] == would["actions"]
    assert answer["actions"] == ["created team Web team", "created project Backend", "created project Browser"]
    again = good(tracker.run.projects(*items), changed=False)
    assert again["diff"] == []
    for name, item in answer["projects"].items():
        assert again["projects"][name] == {**item, "state": "unchanged"}
        send(item["dsn"], f"{name}Error")
    for name, item in answer["projects"].items():
        assert [issue["calculated_type"] for issue in tracker.issues(item["id"])] == [f"{name}Error"]


def test_a_name_on_bugsink_belongs_to_its_team(tracker: Tracker) -> None:
    run = tracker.run
    one = run.project(changed=True, name="Twin", team="First")["projects"]["Twin"]
    other = run.project(changed=True, name="Twin", team="Second")["projects"]["Twin"]
    assert one["id"] != other["id"]
    words = refused(run.projects({"name": "Twin"}))
    assert f"Bugsink has 2 projects of the name Twin: say which by its slug ({one['slug']}, {other['slug']})" in words
    answer = run.project(changed=True, name="Renamed", slug=other["slug"])
    assert answer["actions"] == ["changed name of project Renamed"]
    assert tracker.told(f"projects/{other['id']}/")["name"] == "Renamed"


def test_what_bugsink_cannot_do_is_refused_before_anything_is_written(tracker: Tracker) -> None:
    words = refused(tracker.run.projects({"name": "Never", "team": "Never"}, {"name": "Other", "slug": "of-my-own"}))
    assert "Bugsink has no project with the slug of-my-own, and makes slugs of names itself" in words
    words = refused(tracker.run.projects({"name": "Never", "team": "Never"}, {"name": "Without team"}))
    assert re.search(r"Without team is to be created and names no team, and there are \d+ \(.*\): set its team", words)
    assert "Never" not in {team["name"] for team in bugsink._all(tracker.server, "teams/")}


def test_a_wrong_token_of_bugsink_is_named(tracker: Tracker) -> None:
    words = refused(tracker.run.projects({"name": "Shop"}, token="0" * 40))
    assert "HTTP 401: Invalid Bearer token. Bugsink does not know the token: set token or token_file" in words


def test_lists_of_bugsink_come_in_pages(tracker: Tracker) -> None:
    for number in range(251):
        bugsink._ask(tracker.server["url"], tracker.server["token"], "teams/", {"name": f"Page {number:03}"})
    answer = tracker.run.project(changed=True, name="Paged", team="Page 250")
    assert answer["actions"] == ["created project Paged"], "the team is on the second page"


def test_a_new_error_reaches_the_channel(tracker: Tracker) -> None:
    with SlackSink() as slack:
        item = {"name": "Loud", "team": "Loud", "alert": {"via": "slack", "url": slack.url, "regression": False}}
        would = good(tracker.run.projects(item, manage=tracker.manage, check=True), changed=True)
        answer = good(tracker.run.projects(item, manage=tracker.manage), changed=True)
        assert answer["actions"] == would["actions"]
        assert answer["actions"][-2:] == ["created project Loud", "created alert Watchkeeper of project Loud"]
        good(tracker.run.projects(item, manage=tracker.manage), changed=False)
        send(answer["projects"]["Loud"]["dsn"], "LoudError")
        slack.wait(lambda record: "LoudError" in json.dumps(record["body"]))
        project = tracker.told(f"projects/{answer['projects']['Loud']['id']}/")
        assert (project["alert_on_new_issue"], project["alert_on_regression"]) == (True, False)
        assert slack.url not in tracker.run.output


def test_an_alert_of_bugsink_changes_and_goes(tracker: Tracker) -> None:
    def run(changed: bool, **alert: Any) -> list[str]:
        item = {"name": "Quiet", "team": "Quiet", "alert": alert}
        answer = good(tracker.run.projects(item, manage=tracker.manage), changed)
        actions: list[str] = answer["actions"]
        return actions

    run(True, via="mattermost", url=WEBHOOK, channel="errors")
    assert run(True, via="mattermost", url=WEBHOOK, channel="shop") == ["changed alert Watchkeeper of project Quiet"]
    assert run(True, via="webhook", url=WEBHOOK) == ["changed alert Watchkeeper of project Quiet"]
    assert run(True, via="webhook", url=WEBHOOK, name="Second") == ["created alert Second of project Quiet"]
    run(False, via="webhook", url=WEBHOOK)
    assert run(True, state="absent") == ["removed alert Watchkeeper of project Quiet"]
    run(False, state="absent")
    run(False, via="webhook", url=WEBHOOK, name="Second")
    assert WEBHOOK not in tracker.run.output


def test_bugsinks_own_words_about_an_alert_are_told(tracker: Tracker) -> None:
    item = {"name": "Refused", "team": "Refused", "alert": {"via": "slack", "url": "ftp://planted-webhook"}}
    words = refused(tracker.run.projects(item, manage=tracker.manage))
    assert "Bugsink refuses the alert Watchkeeper: " in words
    assert "Refused" not in {team["name"] for team in bugsink._all(tracker.server, "teams/")}
    item["alert"] = {"via": "slack", "url": WEBHOOK}
    words = refused(tracker.run.projects(item, manage=["false"]))
    assert words == "manage: false could not see to the alerts: it ended with 1"
    words = refused(tracker.run.projects(item, manage=["/nowhere/manage"]))
    assert words == "manage: /nowhere/manage cannot be run: No such file or directory"
    # What is told is masked before it is cut: half a secret is one, too.
    chatty = ["sh", "-c", "printf %0255d 0 >&2; grep -o 'http[^\"]*' >&2; exit 1", "manage"]
    words = refused(tracker.run.projects(item, manage=chatty))
    assert words.endswith("0********")
    assert "planted" not in tracker.run.output


def test_a_release_on_bugsink(tracker: Tracker) -> None:
    run = tracker.run
    ids = []
    for name in ("Released", "Released too"):
        ids.append(run.project(changed=True, name=name, team="Released")["projects"][name]["id"])
    given: dict[str, Any] = {"version": "released@1.0.0", "projects": ["Released", "released-too"]}
    would = good(run.release(check=True, **given), changed=True)
    answer = good(run.release(**given), changed=True)
    assert answer["actions"] == would["actions"]
    good(run.release(**given), changed=False)
    for number in ids:
        told = bugsink._all(tracker.server, "releases/", project=number)
        assert [item["version"] for item in told] == ["released@1.0.0"]
