"""Errors in the browser, from the page to the tracker: the role's snippet, Sentry's SDK, Chromium and a real Bugsink.

The projects are made by sentry_project, and the DSN goes from there to the role without a human.
"""

from __future__ import annotations

import getpass
import grp
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium
from tests.browser.server import PageServer
from tests.harness import bugsink
from tests.unit.health_app.processes import environment
from tests.unit.health_app.test_observability_errors import REPORTED
from tests.unit.runs import ROOT, inventory, run_site

pytestmark = pytest.mark.skipif(bool(chromium.lacking()), reason=chromium.lacking())

PLANTED = {name: f"planted-{name}" for name in ("token", "password", "cookie", "query")}
PLANTED["mail"] = "anna.planted@example.org"
# Makes the projects, then runs the whole job for the host with what they are.
PLAYBOOK = """\
- name: Make the projects
  hosts: app
  gather_facts: false
  tags: [always]
  tasks:
    - name: Make the projects
      sentry_project:
        kind: bugsink
        url: "{{ tracker_url }}"
        token: "{{ lookup('ansible.builtin.env', 'TRACKER_TOKEN') }}"
        projects: [{name: shop, team: web}, {name: shop-browser, team: web}]
      register: made

- name: Converge
  ansible.builtin.import_playbook: %s/site.yml
"""


@dataclass(frozen=True)
class Tracker:
    """A Bugsink with two projects, and the role's file for the pages of one."""

    server: dict[str, str]
    projects: dict[str, dict[str, str]]
    files: Path

    def issues(self, project: str, least: int) -> dict[str, dict[str, Any]]:
        """The first event of each issue of a project, by the kind of the error."""
        found = bugsink.wait({**self.server, "project": self.projects[project]["id"]}, 30, least)
        assert sum(len(issue["events"]) for issue in found) == least
        return {issue["events"][0]["exception"]["values"][-1]["type"]: issue["events"][0] for issue in found}

    def stacktrace(self, event_id: str, project: str) -> str:
        """What Bugsink shows of an event's stack."""
        for issue in self._get(f"issues/?project={self.projects[project]['id']}")["results"]:
            for event in self._get(f"events/?issue={issue['id']}")["results"]:
                if event["event_id"].replace("-", "") == event_id:
                    return str(self._open(f"events/{event['id']}/stacktrace/"))
        raise AssertionError(f"no event {event_id}")

    def _get(self, path: str) -> Any:
        return json.loads(self._open(path))

    def _open(self, path: str) -> str:
        headers = {"Authorization": f"Bearer {self.server['token']}"}
        request = urllib.request.Request(f"{self.server['url']}/api/canonical/0/{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.read().decode())


@pytest.fixture(scope="module")
def modules() -> Path:
    """The SDK from npm; skips the tests where it cannot be had."""
    try:
        return chromium.install()
    except chromium.NpmError as error:
        pytest.skip(f"@sentry/browser cannot be installed from npm: {error}")


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracker]:
    """Projects made by the module, a snippet made by the role."""
    try:
        bugsink.install()
    except bugsink.DownloadError as error:
        pytest.skip(f"Bugsink cannot be installed from PyPI: {str(error)[-200:]}")
    folder = tmp_path_factory.mktemp("tracker")
    application = {
        "name": "shop",
        "owner": getpass.getuser(),
        "group": grp.getgrgid(os.getegid()).gr_name,
        "environment": "staging",
        "release": "1.4.2",
        "sentry_browser_dsn": "{{ made.projects['shop-browser'].dsn }}",
        "sentry_dsn": "{{ made.projects.shop.dsn }}",
        "replays_session_sample_rate": 0.0,
    }
    with bugsink.serve(folder / "bugsink") as server:
        hosts = inventory(
            {"server": {}},
            {"app": {"app_observability_applications": [application], "tracker_url": server["url"]}},
            {"application": ["app"]},
        )
        done = run_site(
            folder / "run",
            hosts,
            "--tags=app_observability",
            playbook=PLAYBOOK % ROOT,
            real=("sentry_project",),
            TRACKER_TOKEN=server["token"],
        )
        assert done.code == 0, done.output
        yield Tracker(server, done.of("sentry_project", "app")["projects"], folder / "run" / "observability" / "shop")


@pytest.fixture(scope="module")
def reported(modules: Path, tracker: Tracker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What has come from the browser to Bugsink, by the kind of the error."""
    with PageServer(modules, tracker.files, PLANTED) as server:
        page = f"{server.base_url}/?query={PLANTED['query']}"
        with chromium.opened(page, tmp_path_factory.mktemp("direct")) as browser:
            said = server.done()
            assert said == {"started": True, "flushed": True, "seen": f"session={PLANTED['cookie']}"}, browser.log
    return tracker.issues("shop-browser", 4)


def test_errors_of_the_page_are_found_in_the_tracker(reported: dict[str, dict[str, Any]]) -> None:
    """Uncaught, rejected, rejected without an error, and caught; neither the failed nor the aborted request."""
    assert set(reported) == {"RangeError", "TypeError", "UnhandledRejection", "SyntaxError"}
    for event in reported.values():
        assert (event["environment"], event["release"]) == ("staging", "1.4.2")
        assert event["request"]["url"].endswith("/basket")
    frames = reported["RangeError"]["exception"]["values"][0]["stacktrace"]["frames"]
    assert frames[-1]["function"].endswith("refuse")
    assert frames[-1]["filename"].endswith("/shop.js")


def test_nothing_planted_reaches_the_tracker(reported: dict[str, dict[str, Any]]) -> None:
    """Neither in the error's own words nor in what led to it; what is no secret is still there."""
    everything = json.dumps(reported)
    assert "planted" not in everything
    assert "anna" not in everything
    assert reported["RangeError"]["exception"]["values"][0]["value"] == (
        "no order for (hidden): password=(hidden) was refused by "
        "https://(hidden)@api.example.org/orders with Bearer (hidden)"
    )
    assert reported["TypeError"]["exception"]["values"][0]["value"] == "the token=(hidden) is used up"
    assert reported["UnhandledRejection"]["extra"]["__serialized__"] == {
        "mail": "(hidden)",
        "password": "(hidden)",
        "order": 7,
    }
    assert reported["SyntaxError"]["contexts"]["order"] == {
        "id": 7,
        "customer": {"mail": "(hidden)", "sessionId": "(hidden)"},
        "tokens": "(hidden)",
    }
    crumbs = reported["SyntaxError"]["breadcrumbs"]
    assert {crumb["category"] for crumb in crumbs} >= {"console", "fetch", "navigation", "ui.click", "ui.input", "xhr"}
    assert "signed in as (hidden) [object Object]" in [crumb.get("message") for crumb in crumbs]
    assert "Cookie: (hidden)" in [crumb.get("message") for crumb in crumbs]


def test_nothing_planted_leaves_the_browser(modules: Path, tracker: Tracker, tmp_path: Path) -> None:
    """In no kind of report: not with the spans of traces and not in recordings, which Bugsink does not take."""
    with PageServer(modules, tracker.files, PLANTED) as server:
        page = f"{server.base_url}/?tunnel&query={PLANTED['query']}"
        with chromium.opened(page, tmp_path / "browser") as browser:
            assert server.done()["flushed"], browser.log
        items = server.items()
        told = [record["path"] for record in server.records]
    # The page itself did send it all.
    assert any(PLANTED["query"] in path for path in told)
    assert any(PLANTED["token"] in path for path in told)
    kinds = [kind for kind, _content in items]
    assert kinds.count("event") == 4
    assert set(kinds) >= {"envelope", "session", "span", "replay_event", "replay_recording"}
    for kind, content in items:
        assert "planted" not in content, kind
    (recording,) = [content for kind, content in items if kind == "replay_recording"]
    _about, _newline, moments = recording.partition("\n")
    addresses = {moment["data"]["href"] for moment in json.loads(moments) if "href" in moment["data"]}
    assert {address.removeprefix("http://").partition("/")[2] for address in addresses} >= {"basket"}


def test_a_minified_page_is_shown_as_it_was_written(modules: Path, tracker: Tracker, tmp_path: Path) -> None:
    """Built with esbuild, its source map given to Bugsink by sentry-cli and to nobody else."""
    (tmp_path / "node_modules").symlink_to(modules)
    shutil.copy(chromium.HERE / "pages" / "checkout.js", tmp_path)
    shutil.copy(tracker.files / "sentry-browser.js", tmp_path)
    build = ("--bundle", "--minify", "--sourcemap", "--format=esm", "--outfile=dist/checkout.min.js")
    chromium.run(modules, tmp_path, "esbuild", "checkout.js", *build)
    chromium.run(modules, tmp_path, "sentry-cli", "sourcemaps", "inject", "dist")
    chromium.run(
        modules,
        tmp_path,
        "sentry-cli",
        "sourcemaps",
        "upload",
        "dist",
        SENTRY_URL=tracker.server["url"],
        SENTRY_AUTH_TOKEN=tracker.server["token"],
        SENTRY_ORG="any",
        SENTRY_PROJECT=tracker.projects["shop-browser"]["slug"],
    )
    (tmp_path / "dist" / "checkout.min.js.map").unlink()
    before = bugsink.issues({**tracker.server, "project": tracker.projects["shop-browser"]["id"]})
    with PageServer(modules, tmp_path / "dist", {}) as server:
        page = f"{server.base_url}/checkout.html"
        with chromium.opened(page, tmp_path / "browser") as browser:
            assert server.done() == {"flushed": True}, browser.log
    there = sum(len(issue["events"]) for issue in before)
    found = bugsink.wait({**tracker.server, "project": tracker.projects["shop-browser"]["id"]}, 30, there + 1)
    (event,) = [
        event
        for issue in found
        for event in issue["events"]
        if event["exception"]["values"][0]["value"].startswith("Cannot read properties")
    ]
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    assert {frame["filename"].rpartition("/")[2] for frame in frames} == {"checkout.min.js", "<anonymous>"}
    shown = tracker.stacktrace(event["event_id"], "shop-browser")
    assert "checkout.js:7 [in-app]" in shown
    assert "▶  7 |   return basket.items.reduce((sum, item) => sum + item.price.amount, 0);" in shown


def test_errors_of_the_health_app_arrive_likewise(tracker: Tracker) -> None:
    """With the DSN of the other project that the module has made, and as well masked."""
    command = [sys.executable, "-m", "tests.unit.health_app.reporting", tracker.projects["shop"]["dsn"], "{}"]
    subprocess.run(command, env=environment(PLANTED=PLANTED["token"]), capture_output=True, check=True, timeout=60)
    found = tracker.issues("shop", len(REPORTED))
    assert set(found) == set(REPORTED)
    assert "planted" not in json.dumps(found)


# Sends the texts of texts.json by the snippet as messages of events, and prints what has come to the transport of the
# page's own, which the snippet is given as an option.
THROUGH_THE_SNIPPET = """
import { readFileSync } from "node:fs";
import { startSentry } from "./sentry-browser.js";
const texts = JSON.parse(readFileSync("texts.json", "utf8"));
let options;
const Sentry = {
  init: (given) => (options = given),
  browserTracingIntegration: () => ({}),
  replayIntegration: () => ({}),
};
const sent = [];
const own = () => ({ send: async ([header, items]) => void sent.push([header, ...items]), flush: () => true });
startSentry(Sentry, { transport: own });
const transport = options.transport({});
const began = performance.now();
await transport.send([{ dsn: "https://public@errors.example.org/1" }, [
  [{ type: "event" }, { message: texts }],
  [{ type: "feedback" }, { contexts: { feedback: { contact_email: "anna@example.org" } } }],
  [{ type: "event" }, { extra: { hasToken: false, noPassword: null, "anna@example.org": 1, userAuth: 7 } }],
  [{ type: "attachment" }, new Uint8Array([1, 2, 3])],
]]);
const recording = `{"segment_id":0}\n${JSON.stringify([{ type: 4, data: { href: "https://example.org/a?b=c" } }])}`;
await transport.send([{}, [[{ type: "replay_recording", length: recording.length }, recording]]]);
const [header, body] = sent[1][1];
console.log(JSON.stringify({
  header: sent[0][0],
  items: sent[0].slice(1).map(([, payload]) => payload),
  recording: new TextDecoder().decode(body),
  length: header.length === body.length,
  flush: transport.flush(),
  seconds: (performance.now() - began) / 1000,
}));
"""

# What a text becomes; None is that it stays.
TEXTS: dict[str, str | None] = {
    "token is undefined": None,
    "Unexpected token '<', \"<!doctype \"... is not valid JSON": None,
    "author: Bob, compass: north, is it ok? yes": None,
    "Invalid hook call (react@18.2.0), see https://react.dev/link/hooks#rules": None,
    "https://shop.example.org/#/basket": None,
    '{"password":"a b","order":7}': '{"password":(hidden),"order":7}',
    "user_pwd='a b' next": "user_pwd=(hidden) next",
    "Authorization: Basic dXNlcjpwYXNz\nnext": "Authorization: (hidden)\nnext",
    "Set-Cookie: a=b; c=d\nnext": "Set-Cookie: (hidden)\nnext",
    "sent with bearer abcdefgh12": "sent with bearer (hidden)",
    "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln": "got (hidden)",
    "redis://:geheim@cache/0": "redis://(hidden)@cache/0",
    "GET /orders?customer=7&page=2 failed": "GET /orders failed",
    "https://example.org/reset?abc": "https://example.org/reset",
    "https://example.org/back#access_token=abc&x=1": "https://example.org/back",
    "/users/anna%40example.org/orders of anna.b+c@mail.example.org": "/users/(hidden)/orders of (hidden)",
    "user[password]=x": "user[password]=(hidden)",
}
LONG = ["a" * 200000, "://" * 30000, "token" * 30000, "a@b." * 30000, "eyJ" * 50000, "?a" * 50000, "password=" * 20000]


@pytest.mark.skipif(not shutil.which("node"), reason="needs the program node (Debian's package nodejs)")
def test_what_is_masked_and_what_is_not(tracker: Tracker, tmp_path: Path) -> None:
    """In each kind of thing that is sent, also by a transport of the page's own, and in little time."""
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (tmp_path / "texts.json").write_text(json.dumps([*TEXTS, *LONG]), encoding="utf-8")
    (tmp_path / "main.js").write_text(THROUGH_THE_SNIPPET, encoding="utf-8")
    shutil.copy(tracker.files / "sentry-browser.js", tmp_path)
    done = subprocess.run(["node", "main.js"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    event, feedback, extra, attachment = said["items"]
    assert dict(zip(TEXTS, event["message"], strict=False)) == {
        text: text if becomes is None else becomes for text, becomes in TEXTS.items()
    }
    assert feedback["contexts"]["feedback"]["contact_email"] == "anna@example.org"
    assert extra["extra"] == {
        "hasToken": False,
        "noPassword": None,
        "(hidden)": 1,
        "userAuth": "(hidden)",
    }
    assert attachment == {"0": 1, "1": 2, "2": 3}
    assert said["header"]["dsn"] == "https://public@errors.example.org/1"
    assert json.loads(said["recording"].partition("\n")[2])[0]["data"]["href"] == "https://example.org/a"
    assert (said["length"], said["flush"]) == (True, True)
    # Each text of LONG would take minutes if one of the forms looked back from every place.
    assert said["seconds"] < 10
