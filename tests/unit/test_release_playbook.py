"""playbooks/release.yml in a real ansible-playbook: what the error tracker of the inventory is told after a rollout."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulators.sentry import SentryEmulator
from tests.harness import bugsink
from tests.unit.runs import ROOT, STAND_IN, Run, inventory, run_site

PLAYBOOK = (ROOT / "playbooks" / "release.yml").read_text(encoding="utf-8")
TOKEN = "planted-sentry-token"  # noqa: S105 - of a server that lives as long as a test
APPLICATIONS = [
    {"name": "shop", "release": "shop@1.4.2", "environment": "staging"},
    {"name": "back office", "release": "office@7"},
    {"name": "unreleased"},
]


@pytest.fixture
def sentry() -> Iterator[SentryEmulator]:
    """Give a Sentry with the projects of the applications."""
    with SentryEmulator(token=TOKEN) as server:
        server.add_team("web")
        for name in ("shop", "shop-browser", "back office", "back office-browser"):
            server.add_project(name, "web")
        yield server


def run(folder: Path, settings: dict[str, Any], *words: str, **variables: Any) -> Run:
    """Run the playbook with variables of the command line, for three hosts, two of them with the applications."""
    nodes = {name: {"app_observability_applications": APPLICATIONS} for name in ("web1", "web2")}
    hosts = inventory({"monitor": {}}, nodes, {"application": list(nodes)}, **settings)
    given = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
    return run_site(folder, hosts, *words, *given, playbook=PLAYBOOK)


def external(server: SentryEmulator, **more: Any) -> dict[str, Any]:
    """Return the settings of a Sentry that somebody else runs."""
    return {
        "watchkeeper_error_tracker": "external",
        "sentry_url": server.base_url,
        "sentry_organization": "acme",
        "sentry_token": TOKEN,
        **more,
    }


def changes(run: Run) -> int:
    """Return how often the run changed something."""
    assert run.code == 0, run.output
    return sum(item["result"].get("changed", False) for item in run.results if item["action"] == "sentry_release")


def test_a_release_and_its_deployment_are_told_once(sentry: SentryEmulator, tmp_path: Path) -> None:
    said = {"release_version": "shop@2.0", "release_projects": "shop,shop-browser", "release_reference": "v2.0"}
    assert changes(run(tmp_path, external(sentry), "--check", **said)) == 1
    assert sentry.releases == {}
    first = run(tmp_path, external(sentry), "-vvv", **said)
    assert changes(first) == 1
    assert TOKEN not in first.output
    assert list(sentry.releases) == ["shop@2.0"]
    assert sentry.releases["shop@2.0"]["projects"] == ["shop", "shop-browser"]
    assert sentry.releases["shop@2.0"]["ref"] == "v2.0"
    assert [(one["environment"], one["projects"]) for one in sentry.deploys] == [
        ("production", ["shop", "shop-browser"])
    ]
    assert changes(run(tmp_path, external(sentry), **said)) == 0
    assert changes(run(tmp_path, external(sentry), **said, release_environment="staging")) == 1
    assert [one["environment"] for one in sentry.deploys] == ["production", "staging"]


def test_without_variables_every_application_with_a_release_is_told(sentry: SentryEmulator, tmp_path: Path) -> None:
    settings = external(sentry, watchkeeper_external_labels={"environment": "europe"})
    assert changes(run(tmp_path, settings)) == 1
    told = {one["version"]: (one["environment"], sorted(one["projects"])) for one in sentry.deploys}
    assert told == {
        "shop@1.4.2": ("staging", ["shop", "shop-browser"]),
        "office@7": ("europe", ["back-office", "back-office-browser"]),
    }
    assert len(sentry.deploys) == 2
    assert changes(run(tmp_path, settings)) == 0


def test_an_application_without_project_is_left_out(sentry: SentryEmulator, tmp_path: Path) -> None:
    del sentry.projects["shop-browser"]
    settings = external(sentry)
    nodes = {"web": {"app_observability_applications": [{**APPLICATIONS[0], "sentry_browser_dsn": "https://a@b.c/1"}]}}
    hosts = inventory({"monitor": {}}, nodes, {"application": ["web"]}, **settings)
    done = run_site(tmp_path, hosts, playbook=PLAYBOOK)
    assert changes(done) == 1
    assert sentry.releases["shop@1.4.2"]["projects"] == ["shop"]


@pytest.mark.parametrize(
    ("settings", "variables", "words"),
    [
        ({}, {}, "There is no error tracker to tell"),
        ({"watchkeeper_error_tracker": "external", "sentry_dsns": {"a": "b"}}, {}, "There is no error tracker to tell"),
        ({"sentry_url": "http://127.0.0.1:1"}, {"release_version": "1"}, "Say both: -e release_version=NAME and -e"),
        ({"sentry_url": "http://127.0.0.1:1"}, {"release_projects": "a"}, "Say both: -e release_version=NAME and -e"),
    ],
)
def test_what_is_missing_is_said(
    tmp_path: Path, settings: dict[str, Any], variables: dict[str, str], words: str
) -> None:
    if "sentry_url" in settings:
        settings = {"watchkeeper_error_tracker": "external", "sentry_organization": "acme", **settings}
    done = run(tmp_path, settings, **variables)
    assert done.code != 0
    assert words in next(iter(done.errors.values()))


def test_a_project_that_is_not_there_is_named(sentry: SentryEmulator, tmp_path: Path) -> None:
    done = run(tmp_path, external(sentry), release_version="1.0", release_projects="shopp")
    assert done.code != 0
    assert "shopp" in done.output
    assert sentry.releases == {}


def test_the_tracker_on_a_host_is_asked_from_there(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "sentry_release.py").write_text(STAND_IN, encoding="utf-8")
    said = {"release_version": "1.0", "release_projects": "shop"}
    done = run(tmp_path, {"watchkeeper_error_tracker": "self_hosted"}, **said)
    assert done.code == 0, done.output
    (sent,) = done.sent
    assert sent.host == "monitor"
    assert sent.arguments["url"] == "http://127.0.0.1:9000"
    assert sent.arguments["organization"] == "sentry"
    assert sent.arguments["token_file"] == "/var/lib/watchkeeper/sentry/secrets/token"  # noqa: S105 - a path
    assert sent.arguments["environment"] == "production"


def test_bugsink_is_told_of_the_release(tmp_path: Path) -> None:
    try:
        with bugsink.serve(tmp_path / "bugsink") as server:
            settings = {
                "watchkeeper_error_tracker": "external",
                "sentry_api": "bugsink",
                "sentry_url": server["url"],
                "sentry_token": server["token"],
            }
            said = {"release_version": "shop@2.0", "release_projects": "tests", "release_environment": "staging"}
            assert changes(run(tmp_path, settings, **said)) == 1
            assert changes(run(tmp_path, settings, **said)) == 0
            request = urllib.request.Request(
                f"{server['url']}/api/canonical/0/releases/?project={server['project']}",
                headers={"Authorization": f"Bearer {server['token']}"},
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert "shop@2.0" in [one["version"] for one in json.load(answer)["results"]]
    except bugsink.DownloadError as error:
        pytest.skip(f"needs a download: {error}")
