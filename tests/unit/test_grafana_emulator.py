"""The emulator answers as Grafana's API description and documentation say; so does a real one if it is there."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper.catalogue import Project
from ansible.module_utils.watchkeeper.release import unpack

from tests.emulators.grafana import CONTROL, Settings, SettingsError, _yaml
from tests.harness import mirror
from tests.unit.grafana_fixture import (
    EMULATOR,
    KINDS,
    Grafana,
    configuration,
    grafana,
    release,
    running,
)
from tests.unit.live import Program, answers, archive, free_port, get, lacking, wait_until

__all__ = ["grafana"]

ROOT = Path(__file__).resolve().parents[2]
SOURCE = {"name": "Metrics", "uid": "metrics", "type": "prometheus", "access": "proxy", "url": "http://127.0.0.1:1"}
SECRETS = {"basicAuthPassword": "hush-1", "httpHeaderValue1": "hush-2"}


def create(server: Grafana, **more: Any) -> dict[str, Any]:
    status, answer = server.ask("POST", "/api/datasources", {**SOURCE, **more})
    assert status == 200, answer
    return dict(answer["datasource"])


def update(server: Grafana, uid: str = "metrics", **more: Any) -> tuple[int, Any]:
    return server.ask("PUT", f"/api/datasources/uid/{uid}", {**SOURCE, **more})


def read(server: Grafana, uid: str = "metrics") -> dict[str, Any]:
    status, answer = server.ask("GET", f"/api/datasources/uid/{uid}")
    assert status == 200, answer
    return dict(answer)


# --- data sources ---


def test_a_source_is_known_by_uid_and_name_but_not_by_number(grafana: Grafana) -> None:
    made = create(grafana, jsonData={"httpMethod": "POST"})
    assert (made["uid"], made["version"], made["readOnly"]) == ("metrics", 1, False)
    assert read(grafana)["jsonData"] == {"httpMethod": "POST"}
    assert grafana.ask("GET", "/api/datasources/name/Metrics")[1]["uid"] == "metrics"
    for method in ("GET", "PUT", "DELETE"):
        assert grafana.ask(method, f"/api/datasources/{made['id']}", SOURCE if method == "PUT" else None)[0] == 404
    assert grafana.ask("GET", "/api/datasources/uid/nowhere") == (404, {"message": "Data source not found"})


@pytest.mark.parametrize(
    ("more", "status", "word"),
    [
        ({"uid": "other"}, 409, "same name"),
        ({"name": "Other"}, 409, "same uid"),
        ({"name": "Other", "uid": "spaces and/slashes"}, 400, ""),
        ({"name": "Other", "uid": "x" * 41}, 400, ""),
        ({"name": "Other", "uid": "other", "url": "http://[::1"}, 400, "invalid URL"),
        ({"name": "", "uid": "other"}, 400, "bad request data"),
        ({"name": "Other", "uid": "other", "type": ""}, 400, "bad request data"),
    ],
)
def test_a_source_is_refused(grafana: Grafana, more: dict[str, str], status: int, word: str) -> None:
    create(grafana)
    answer = grafana.ask("POST", "/api/datasources", {**SOURCE, **more})
    assert answer[0] == status
    assert word in answer[1]["message"]
    assert len(grafana.ask("GET", "/api/datasources")[1]) == 1


def test_an_old_version_of_a_source_is_refused(grafana: Grafana) -> None:
    create(grafana)
    assert update(grafana, version=1, jsonData={"timeInterval": "15s"})[1]["datasource"]["version"] == 2
    status, answer = update(grafana, version=1, jsonData={})
    assert status == 409
    assert "already been updated by someone else" in answer["message"]
    assert read(grafana)["jsonData"] == {"timeInterval": "15s"}


def test_without_a_version_anything_is_overwritten_and_counting_starts_again(grafana: Grafana) -> None:
    create(grafana)
    for version in (1, 2):
        update(grafana, version=version)
    assert update(grafana)[1]["datasource"]["version"] == 1


def test_secrets_are_kept_until_they_are_emptied_and_never_told(grafana: Grafana) -> None:
    create(grafana, secureJsonData=SECRETS)
    assert read(grafana)["secureJsonFields"] == dict.fromkeys(SECRETS, True)
    update(grafana, version=1, secureJsonData={"basicAuthPassword": "hush-3"})
    assert read(grafana)["secureJsonFields"] == dict.fromkeys(SECRETS, True)
    update(grafana, version=2, secureJsonData={"httpHeaderValue1": ""})
    assert read(grafana)["secureJsonFields"] == {"basicAuthPassword": True}
    everything = json.dumps([read(grafana), grafana.ask("GET", "/api/datasources")])
    assert "hush" not in everything
    assert grafana.emulator.secrets_of("metrics") == {"basicAuthPassword": "hush-3"}


def test_some_empty_fields_are_not_cleared(grafana: Grafana) -> None:
    source = {**SOURCE, "type": "grafana-testdata-datasource", "basicAuth": True, "basicAuthUser": "me", "user": "you"}
    assert grafana.ask("POST", "/api/datasources", {**source, "database": "there"})[0] == 200
    empty = {"url": "", "basicAuthUser": "", "user": "", "database": "", "basicAuth": False}
    status, answer = grafana.ask("PUT", "/api/datasources/uid/metrics", {**source, **empty, "version": 1})
    assert status == 200, answer
    found = read(grafana)
    assert (found["url"], found["basicAuthUser"]) == ("http://127.0.0.1:1", "me")
    assert (found["user"], found["database"], found["basicAuth"]) == ("", "", False)


def test_a_core_source_needs_a_url_for_an_update(grafana: Grafana) -> None:
    create(grafana)
    assert update(grafana, url="")[0] == 400
    assert update(grafana, url="127.0.0.1:9090")[0] == 200


def test_postgres_has_another_name_when_it_is_read(grafana: Grafana) -> None:
    create(grafana, type="postgres", url="127.0.0.1:5432")
    assert read(grafana)["type"] == "grafana-postgresql-datasource"
    assert grafana.ask("GET", "/api/datasources")[1][0]["type"] == "grafana-postgresql-datasource"


def test_there_is_one_default(grafana: Grafana) -> None:
    create(grafana, isDefault=True)
    create(grafana, name="Others", uid="others", isDefault=True)
    assert [read(grafana, uid)["isDefault"] for uid in ("metrics", "others")] == [False, True]
    update(grafana, isDefault=True)
    assert [read(grafana, uid)["isDefault"] for uid in ("metrics", "others")] == [True, False]


def test_a_list_tells_less_than_a_read(grafana: Grafana) -> None:
    create(grafana, name="b", uid="b")
    create(grafana, name="A", uid="a")
    listed = grafana.ask("GET", "/api/datasources")[1]
    assert [item["name"] for item in listed] == ["A", "b"]
    assert not {"version", "secureJsonFields", "basicAuthUser", "withCredentials"} & listed[0].keys()


def test_a_source_from_a_file_is_read_only(grafana: Grafana) -> None:
    grafana.emulator.provision(name="Metrics", uid="metrics", type="prometheus", url="http://127.0.0.1:1")
    assert read(grafana)["readOnly"] is True
    assert update(grafana) == (403, {"message": "Cannot update read-only data source"})
    assert grafana.ask("DELETE", "/api/datasources/uid/metrics")[0] == 403
    assert grafana.ask("DELETE", "/api/datasources/name/Metrics")[0] == 403


def test_a_source_is_renamed_and_deleted(grafana: Grafana) -> None:
    create(grafana, secureJsonData=SECRETS)
    create(grafana, name="Others", uid="others")
    assert update(grafana, name="Others")[0] == 409
    assert update(grafana, name="New")[1]["name"] == "New"
    assert read(grafana)["secureJsonFields"] == dict.fromkeys(SECRETS, True)
    assert grafana.ask("DELETE", "/api/datasources/uid/metrics")[1]["message"] == "Data source deleted"
    assert grafana.ask("DELETE", "/api/datasources/uid/metrics")[0] == 404


def test_health_is_told_by_status(grafana: Grafana) -> None:
    create(grafana)
    status, answer = grafana.ask("GET", "/api/datasources/uid/metrics/health")
    assert (status, answer["status"]) == (400, "ERROR")
    assert grafana.ask("GET", "/api/datasources/uid/nowhere/health")[0] == 500
    create(grafana, name="Alerts", uid="alerts", type="alertmanager")
    status, answer = grafana.ask("GET", "/api/datasources/uid/alerts/health")
    assert status >= 404
    assert "status" not in answer


needs_prometheus = pytest.mark.skipif(bool(lacking("prometheus")), reason=lacking("prometheus"))


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """The address of a real Prometheus."""
    packed = archive("prometheus")
    assert packed
    unpack(packed, tmp_path / "release")
    (tmp_path / "prometheus.yml").write_text("{}", encoding="utf-8")
    port = free_port()
    command = [str(tmp_path / "release" / "prometheus"), f"--config.file={tmp_path}/prometheus.yml"]
    command += [f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={tmp_path}/data"]
    with Program(command, tmp_path / "log", answers(port)) as program:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: get(f"{url}/-/ready")[0] == 200, "readiness", lambda: program.log)
        yield url


@needs_prometheus
def test_queries_reach_a_real_prometheus(grafana: Grafana, prometheus: str) -> None:
    create(grafana, url=prometheus)
    status, answer = grafana.ask("GET", "/api/datasources/uid/metrics/health")
    assert (status, answer["status"]) == (200, "OK")
    query: dict[str, Any] = {"refId": "A", "datasource": {"uid": "metrics"}, "expr": "vector(7)", "instant": True}
    asked = {"queries": [query], "from": "now-5m", "to": "now"}
    (frame,) = grafana.ask("POST", "/api/ds/query", asked)[1]["results"]["A"]["frames"]
    assert frame["data"]["values"][1] == [7]
    query |= {"instant": False, "range": True, "intervalMs": 60000}
    (frame,) = grafana.ask("POST", "/api/ds/query", asked)[1]["results"]["A"]["frames"]
    assert set(frame["data"]["values"][1]) == {7}
    assert len(frame["data"]["values"][0]) == 6
    query["expr"] = "sum("
    status, answer = grafana.ask("POST", "/api/ds/query", asked)
    assert status == 400
    assert "parse error" in answer["results"]["A"]["error"]
    proxied = grafana.ask("GET", "/api/datasources/proxy/uid/metrics/api/v1/query?query=vector(8)")
    assert proxied[1]["data"]["result"][0]["value"][1] == "8"


def test_correlations(grafana: Grafana) -> None:
    create(grafana)
    create(grafana, name="Logs", uid="logs", type="loki")
    path = "/api/datasources/uid/logs/correlations"
    assert grafana.ask("GET", path) == (200, [])
    wanted = {"targetUID": "metrics", "label": "To metrics", "type": "query", "config": {"field": "job", "target": {}}}
    status, answer = grafana.ask("POST", path, wanted)
    assert (status, answer["result"]["sourceUID"]) == (200, "logs")
    one = f"{path}/{answer['result']['uid']}"
    assert grafana.ask("PATCH", one, {"label": "New"})[1]["result"]["label"] == "New"
    assert grafana.ask("PATCH", one, {})[0] == 400
    assert [item["label"] for item in grafana.ask("GET", path)[1]] == ["New"]
    assert grafana.ask("GET", "/api/datasources/correlations")[1]["totalCount"] == 1
    assert grafana.ask("POST", path, {**wanted, "targetUID": "nowhere"})[0] == 404
    assert grafana.ask("POST", path, {**wanted, "config": {}})[0] == 400
    assert grafana.ask("DELETE", one)[0] == 200
    assert grafana.ask("DELETE", one)[0] == 404
    assert grafana.ask("GET", "/api/datasources/uid/nowhere/correlations")[0] == 404


# --- logins ---


@pytest.mark.parametrize(
    ("how", "identity"),
    [
        ({"login": "admin:wrong"}, "password-auth.failed"),
        ({"login": "nobody:wrong"}, "password-auth.failed"),
        ({"token": "glsa_wrong_00000000"}, "api-key.invalid"),
        ({"login": ""}, ""),
    ],
)
def test_wrong_logins_are_refused(grafana: Grafana, how: dict[str, str], identity: str) -> None:
    status, answer = grafana.ask("GET", "/api/datasources", **how)  # type: ignore[arg-type]
    assert status == 401
    assert identity in answer.get("messageId", "")


def test_after_five_failures_the_right_password_is_refused_too(grafana: Grafana) -> None:
    assert grafana.emulator, "a real one would stay locked for five minutes"
    for _ in range(5):
        assert grafana.ask("GET", "/api/user", login="admin:wrong")[0] == 401
    status, answer = grafana.ask("GET", "/api/user")
    assert (status, answer["messageId"]) == (401, "login-attempt.blocked")


def test_a_login_counts_failures_anew(grafana: Grafana) -> None:
    for _ in range(4):
        grafana.ask("GET", "/api/user", login="admin:wrong")
    assert grafana.ask("GET", "/api/user")[1]["login"] == "admin"
    grafana.ask("GET", "/api/user", login="admin:wrong")
    assert grafana.ask("GET", "/api/user")[0] == 200


def test_a_password_is_changed(grafana: Grafana) -> None:
    assert grafana.ask("PUT", "/api/admin/users/1/password", {"password": "abc"})[0] == 400
    assert grafana.ask("PUT", "/api/admin/users/1/password", {"password": "Another-one-9"})[0] == 200
    other = "admin:Another-one-9"
    try:
        assert grafana.ask("GET", "/api/user", login=other)[0] == 200
        assert grafana.ask("GET", "/api/user")[0] == 401
    finally:
        grafana.ask("PUT", "/api/admin/users/1/password", {"password": grafana.password}, login=other)
    assert grafana.ask("GET", "/api/user")[0] == 200


def test_organisations_are_chosen_by_header(grafana: Grafana) -> None:
    other = grafana.ask("POST", "/api/orgs", {"name": "Other"})[1]["orgId"]
    assert grafana.ask("POST", "/api/datasources", SOURCE, org=other)[0] == 200
    assert grafana.ask("GET", "/api/datasources")[1] == []
    assert grafana.ask("GET", "/api/datasources/uid/metrics")[0] == 404
    assert len(grafana.ask("GET", "/api/datasources", org=other)[1]) == 1
    assert grafana.ask("GET", "/api/org", org=other)[1]["name"] == "Other"
    assert grafana.ask("GET", "/api/datasources", org=99)[0] in (401, 403)


def account(server: Grafana, role: str, name: str = "robot") -> tuple[int, str]:
    status, made = server.ask("POST", "/api/serviceaccounts", {"name": name, "role": role})
    assert (status, made["role"]) == (201, role)
    key = server.ask("POST", f"/api/serviceaccounts/{made['id']}/tokens", {"name": f"{name}-1"})[1]["key"]
    return made["id"], key


def test_tokens_open_what_their_role_may(grafana: Grafana) -> None:
    number, key = account(grafana, "Viewer")
    assert key.startswith("glsa_")
    assert grafana.ask("GET", "/api/datasources", token=key)[0] in (200, 403)
    status, answer = grafana.ask("POST", "/api/datasources", SOURCE, token=key)
    assert status == 403
    assert "datasources:create" in answer["message"]
    grafana.ask("PATCH", f"/api/serviceaccounts/{number}", {"role": "Admin"})
    assert grafana.ask("POST", "/api/datasources", SOURCE, token=key)[0] == 200
    assert grafana.ask("POST", "/api/admin/provisioning/dashboards/reload", token=key)[0] == 403
    assert grafana.ask("POST", "/api/admin/provisioning/dashboards/reload")[0] == 200
    grafana.ask("PATCH", f"/api/serviceaccounts/{number}", {"isDisabled": True})
    assert grafana.ask("GET", "/api/datasources", token=key)[0] == 401


def test_tokens_belong_to_one_organisation(grafana: Grafana) -> None:
    _, key = account(grafana, "Admin")
    other = grafana.ask("POST", "/api/orgs", {"name": "Other"})[1]["orgId"]
    assert grafana.ask("GET", "/api/org", token=key, org=1)[0] == 200
    assert grafana.ask("GET", "/api/org", token=key, org=other)[0] == 401


def test_names_of_accounts_and_tokens_are_taken_once(grafana: Grafana) -> None:
    number, key = account(grafana, "Editor")
    status, answer = grafana.ask("POST", "/api/serviceaccounts", {"name": "robot", "role": "Editor"})
    assert (status, answer["messageId"]) == (400, "serviceaccounts.ErrAlreadyExists")
    other, _ = account(grafana, "Viewer", "other")
    status, answer = grafana.ask("POST", f"/api/serviceaccounts/{other}/tokens", {"name": "robot-1"})
    assert (status, answer["messageId"]) == (400, "serviceaccounts.ErrTokenAlreadyExists")
    (token,) = grafana.ask("GET", f"/api/serviceaccounts/{number}/tokens")[1]
    assert (token["name"], token["hasExpired"], token["expiration"]) == ("robot-1", False, None)
    assert key not in json.dumps(grafana.ask("GET", f"/api/serviceaccounts/{number}/tokens"))
    assert grafana.ask("DELETE", f"/api/serviceaccounts/{number}/tokens/{token['id']}")[0] == 200
    assert grafana.ask("GET", "/api/org", token=key)[0] == 401
    found = grafana.ask("GET", "/api/serviceaccounts/search?query=robot")[1]
    assert [(item["name"], item["tokens"]) for item in found["serviceAccounts"]] == [("robot", 0)]
    assert grafana.ask("DELETE", f"/api/serviceaccounts/{number}")[0] == 200
    assert grafana.ask("GET", f"/api/serviceaccounts/{number}")[0] == 404


def test_tokens_expire(grafana: Grafana) -> None:
    number, _ = account(grafana, "Viewer")
    made = grafana.ask("POST", f"/api/serviceaccounts/{number}/tokens", {"name": "short", "secondsToLive": 3600})[1]
    assert grafana.ask("GET", "/api/org", token=made["key"])[0] == 200
    grafana.emulator.expire_token("short")
    assert grafana.ask("GET", "/api/org", token=made["key"])[0] == 401
    assert [token["hasExpired"] for token in grafana.ask("GET", f"/api/serviceaccounts/{number}/tokens")[1]] == [
        False,
        True,
    ]


# --- folders, dashboards, annotations ---


def save(server: Grafana, dashboard: dict[str, Any], **more: Any) -> tuple[int, Any]:
    return server.ask("POST", "/api/dashboards/db", {"dashboard": dashboard, **more})


def test_a_dashboard_is_saved_and_guarded_by_its_version(grafana: Grafana) -> None:
    assert save(grafana, {"title": "One", "uid": "one", "panels": []})[1]["version"] == 1
    assert save(grafana, {"title": "Two", "uid": "one", "version": 1})[1]["version"] == 2
    # A real one answers the second as soon as saving goes through its newer API.
    assert save(grafana, {"title": "Three", "uid": "one", "version": 1})[0] in (412, 409)
    assert save(grafana, {"title": "Three", "uid": "one"})[0] in (412, 409)
    assert save(grafana, {"title": "Three", "uid": "one"}, overwrite=True)[1]["version"] == 3
    found = grafana.ask("GET", "/api/dashboards/uid/one")[1]
    assert (found["dashboard"]["title"], found["dashboard"]["version"]) == ("Three", 3)
    assert found["meta"]["provisioned"] is False
    assert grafana.ask("DELETE", "/api/dashboards/uid/one")[0] == 200
    assert grafana.ask("GET", "/api/dashboards/uid/one")[0] == 404


def test_the_conflict_of_dashboards_can_be_the_newer_one(grafana: Grafana) -> None:
    grafana.emulator.api.dashboard_conflict = 409
    save(grafana, {"title": "One", "uid": "one"})
    assert save(grafana, {"title": "One", "uid": "one"})[0] == 409


@pytest.mark.parametrize(
    ("dashboard", "words"),
    [
        ({"title": "x", "elements": {}, "layout": {}}, "dashboard appears to be in v2 format"),
        (
            {"id": 1, "apiVersion": "dashboard.grafana.app/v2", "kind": "Dashboard", "metadata": {}, "spec": {}},
            "must not include an id",
        ),
        ({"dashboard": {"title": "x"}}, "title"),
        ({"title": ""}, "title"),
        ({"title": "x", "uid": "a b"}, "uid"),
        ({"title": "x", "uid": "x" * 41}, "uid"),
    ],
)
def test_a_dashboard_is_refused_in_grafanas_words(grafana: Grafana, dashboard: dict[str, Any], words: str) -> None:
    status, answer = save(grafana, dashboard)
    assert status == 400
    assert words in answer["message"]
    assert grafana.ask("GET", "/api/search")[1] == []


def test_folders_hold_dashboards(grafana: Grafana) -> None:
    made = grafana.ask("POST", "/api/folders", {"uid": "ops", "title": "Ops"})[1]
    assert (made["uid"], made["version"]) == ("ops", 1)
    assert grafana.ask("POST", "/api/folders", {"uid": "ops", "title": "Again"})[0] in (409, 412)
    assert grafana.ask("POST", "/api/folders", {"title": ""})[0] == 400
    inner = grafana.ask("POST", "/api/folders", {"uid": "inner", "title": "Inner", "parentUid": "ops"})[1]
    assert inner["parentUid"] == "ops"
    assert [item["uid"] for item in grafana.ask("GET", "/api/folders")[1]] == ["ops"]
    assert [item["uid"] for item in grafana.ask("GET", "/api/folders?parentUid=ops")[1]] == ["inner"]
    save(grafana, {"title": "One", "uid": "one", "tags": ["x"]}, folderUid="inner")
    assert grafana.ask("GET", "/api/dashboards/uid/one")[1]["meta"]["folderTitle"] == "Inner"
    assert save(grafana, {"title": "Two"}, folderUid="nowhere")[0] in (400, 403, 404)
    assert [item["uid"] for item in grafana.ask("GET", "/api/search?tag=x&type=dash-db")[1]] == ["one"]
    assert grafana.ask("PUT", "/api/folders/ops", {"title": "New", "version": 7})[0] == 412
    assert grafana.ask("PUT", "/api/folders/ops", {"title": "New", "version": 1})[1]["title"] == "New"
    assert grafana.ask("POST", "/api/folders/inner/move", {"parentUid": ""})[0] == 200
    assert grafana.ask("DELETE", "/api/folders/inner")[0] == 200
    assert grafana.ask("GET", "/api/dashboards/uid/one")[0] == 404
    assert grafana.ask("GET", "/api/folders/inner")[0] == 404


def test_annotations(grafana: Grafana) -> None:
    for number, tags in enumerate((["deployment", "shop"], ["other"])):
        body = {"text": f"note {number}", "tags": tags, "time": 1_700_000_000_000 + number}
        assert grafana.ask("POST", "/api/annotations", body)[1]["message"] == "Annotation added"
    found = grafana.ask("GET", "/api/annotations?tags=deployment")[1]
    assert [(item["text"], item["tags"]) for item in found] == [("note 0", ["deployment", "shop"])]
    assert grafana.ask("GET", "/api/annotations?tags=deployment&tags=other")[1] == []
    assert grafana.ask("POST", "/api/annotations", {"text": ""})[0] in (400, 500)


def test_metrics_and_health_need_no_login(grafana: Grafana) -> None:
    status, page = grafana.ask("GET", "/metrics", login="")
    assert status == 200
    for name in ("grafana_build_info", "grafana_stat_totals_dashboard", "grafana_http_request_duration_seconds"):
        assert f"# TYPE {name} " in page
    assert grafana.ask("GET", "/api/health", login="")[1]["database"] == "ok"


# --- what only the emulator has ---


def test_faults_come_on_demand(grafana: Grafana) -> None:
    emulator = grafana.emulator
    emulator.fail_next(2, 429, "1", method="GET")
    assert grafana.ask("POST", "/api/datasources", SOURCE)[0] == 200
    assert [grafana.ask("GET", "/api/org")[0] for _ in range(3)] == [429, 429, 200]
    emulator.drop_next(path="/api/org$")
    assert grafana.ask("GET", "/api/user")[0] == 200
    with pytest.raises(OSError, match=r"closed connection|reset"):
        grafana.ask("GET", "/api/org")
    emulator.delay_next(0.3)
    before = time.monotonic()
    assert grafana.ask("GET", "/api/org")[0] == 200
    assert time.monotonic() - before >= 0.3
    emulator.fail_next(status=502, method="DELETE", after=True)
    assert [grafana.ask("DELETE", "/api/datasources/uid/metrics")[0] for _ in range(2)] == [502, 404]


def test_faults_come_over_http_too(grafana: Grafana) -> None:
    assert grafana.emulator
    grafana.ask("POST", f"{CONTROL}/faults", {"count": 1, "status": 503, "retry_after": "2"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(grafana.url + "/api/health")
    with refused.value as error:
        assert (error.code, error.headers["Retry-After"]) == (503, "2")
    assert grafana.ask("GET", "/api/health")[0] == 200
    assert [item["path"] for item in grafana.ask("GET", f"{CONTROL}/requests")[1]] == ["/api/health"] * 2


def test_requests_are_recorded_without_passwords(grafana: Grafana) -> None:
    emulator = grafana.emulator
    create(grafana)
    assert emulator.writes == ["POST /api/datasources"]
    assert (emulator.requests[-1]["body"]["uid"], emulator.requests[-1]["caller"]) == ("metrics", "admin")
    assert "battery" not in json.dumps(emulator.requests)
    emulator.forget()
    assert emulator.requests == []


def test_what_is_kept_outlives_a_pause(grafana: Grafana) -> None:
    create(grafana)
    grafana.emulator.stop()
    with pytest.raises(OSError, match="refused"):
        grafana.ask("GET", "/api/health")
    grafana.emulator.start()
    assert read(grafana)["name"] == "Metrics"


# --- the program ---


@pytest.fixture(scope="module", params=KINDS)
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked release."""
    return release(request.param, tmp_path_factory.mktemp("release"))


def provide(folder: Path, path: Path, **more: Any) -> None:
    """Write a provider file as the role does."""
    options = {"path": str(path), "foldersFromFilesStructure": True}
    provider = {"name": "watchkeeper", "type": "file", "updateIntervalSeconds": 1, "options": options, **more}
    file = folder / "provisioning" / "dashboards" / "watchkeeper.yml"
    file.write_text(yaml.safe_dump({"apiVersion": 1, "providers": [provider]}), encoding="utf-8")


def put(file: Path, **content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"panels": [], "schemaVersion": 41, **content}), encoding="utf-8")


def titles(server: Grafana) -> list[str]:
    return [item["title"] for item in server.ask("GET", "/api/search?type=dash-db")[1]]


def test_dashboards_come_from_files(home: Path, tmp_path: Path) -> None:
    boards = tmp_path / "boards"
    put(boards / "Ops" / "one.json", title="One", uid="one", id=77)
    put(boards / "Ops" / "two.json", title="Two", uid="two", elements={}, layout={})
    put(boards / "Ops" / "three.json", dashboard={"title": "Three"})
    ini = configuration(tmp_path)
    provide(tmp_path, boards)
    with running(home, ini) as server:
        wait_until(lambda: titles(server) == ["One"], "a dashboard", lambda: server.program.log)
        meta = server.ask("GET", "/api/dashboards/uid/one")[1]["meta"]
        assert (meta["folderTitle"], meta["provisioned"]) == ("Ops", True)
        assert meta["provisionedExternalId"] == "Ops/one.json"
        assert "dashboard appears to be in v2 format" in server.program.log
        assert "itle" in server.program.log.split("three.json", 1)[1]
        refused = save(server, {"title": "Mine", "uid": "one"}, overwrite=True)
        assert refused == (400, {"message": "Cannot save provisioned dashboard"})
        assert server.ask("DELETE", "/api/dashboards/uid/one")[0] == 400

        put(boards / "Ops" / "one.json", title="Changed", uid="one")
        wait_until(lambda: titles(server) == ["Changed"], "a change", lambda: server.program.log)
        assert server.ask("GET", "/api/dashboards/uid/one")[1]["meta"]["version"] == 2
        (boards / "Ops" / "one.json").unlink()
        wait_until(lambda: titles(server) == [], "a removal", lambda: server.program.log)


@pytest.mark.parametrize("key", ["uid", "title"])
def test_a_dashboard_that_is_there_twice_stops_its_provider(home: Path, tmp_path: Path, key: str) -> None:
    boards = tmp_path / "boards"
    put(boards / "Ops" / "one.json", title="One", uid="one")
    ini = configuration(tmp_path)
    provide(tmp_path, boards)
    with running(home, ini) as server:
        wait_until(lambda: titles(server) == ["One"], "a dashboard", lambda: server.program.log)
        put(boards / "Ops" / "two.json", **{"title": "Two", "uid": "two", key: {"uid": "one", "title": "One"}[key]})
        words = "no database write permissions because of duplicates"
        wait_until(lambda: words in server.program.log, "a refusal", lambda: server.program.log)
        assert ("the same UID is used more than once" in server.program.log) == (key == "uid")


def test_the_password_of_the_file_counts_once(home: Path, tmp_path: Path) -> None:
    ini = configuration(tmp_path)
    with running(home, ini) as server:
        assert server.ask("GET", "/api/user")[0] == 200
        create(server, secureJsonData=SECRETS)
    (tmp_path / "password").write_text("Another-one-9", encoding="utf-8")
    with running(home, ini) as server:
        assert server.ask("GET", "/api/user", login="admin:Another-one-9")[0] == 401
        assert read(server)["secureJsonFields"] == dict.fromkeys(SECRETS, True)
        command = [str(home / "bin/grafana"), "cli", "--homepath", str(home), "--config", str(ini)]
        command += ["admin", "reset-admin-password", "--password-from-stdin"]
        done = subprocess.run(command, input="Another-one-9\n", capture_output=True, text=True, check=True)
        assert "Admin password changed successfully" in done.stdout
        assert server.ask("GET", "/api/user", login="admin:Another-one-9")[0] == 200
        assert server.ask("GET", "/api/user")[0] == 401


def test_secrets_cannot_be_read_with_another_secret_key(tmp_path: Path) -> None:
    home = release(EMULATOR, tmp_path)
    with running(home, configuration(tmp_path, security={"secret_key": "first"})) as server:
        create(server, secureJsonData=SECRETS)
    with running(home, configuration(tmp_path, security={"secret_key": "second"})) as server:
        assert read(server)["secureJsonFields"] == {}


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda folder: (folder / "password").unlink(), "No such file"),
        (lambda folder: (folder / "grafana.ini").write_text("[server]\nnonsense\n"), "key-value delimiter not found"),
        (lambda folder: (folder / "grafana.ini").unlink(), "No such file"),
        (lambda folder: (folder / "provisioning/dashboards/a.yml").write_text("providers: [\n"), "a.yml"),
    ],
)
def test_the_program_does_not_start_on_a_broken_configuration(tmp_path: Path, break_it: Any, words: str) -> None:
    home = release(EMULATOR, tmp_path)
    ini = configuration(tmp_path)
    break_it(tmp_path)
    command = [str(home / "bin/grafana"), "server", "--homepath", str(home), "--config", str(ini)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_program_says_what_it_is(tmp_path: Path) -> None:
    home = release(EMULATOR, tmp_path)
    version = subprocess.run([str(home / "bin/grafana"), "-v"], capture_output=True, text=True, check=True).stdout
    assert version == "grafana version 13.2.3-emulator\n"
    with running(home, configuration(tmp_path)) as server:
        assert server.ask("GET", "/api/health")[1]["version"] == "13.2.3-emulator"
        assert "test emulator" in server.program.log
        server.program.process.terminate()
        assert server.program.process.wait(10) == 0


def test_the_emulator_needs_nothing_but_python() -> None:
    tree = ast.parse((ROOT / "tests" / "emulators" / "grafana.py").read_text(encoding="utf-8"))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names | {"__future__"}


def test_the_configuration_is_read_as_grafana_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/defaults.ini").write_text(
        "top = 1\n[server]\nprotocol = http\nroot_url = %(protocol)s://x/\n[auth.anonymous]\nenabled = false\n",
        encoding="utf-8",
    )
    (tmp_path / "secret").write_text("kept\n", encoding="utf-8")
    custom = tmp_path / "grafana.ini"
    custom.write_text(
        "# a comment\n; another\n[server]\nprotocol = https ; why\n"
        f'[security]\nadmin_password = $__file{{{tmp_path}/secret}}\nsecret_key = """a#b;c"""\nquoted = `x y`\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("GF_AUTH_ANONYMOUS_ENABLED", "true")
    found = Settings.read(tmp_path, custom, ["cfg:server.http_port=4000"])
    assert found.get("server", "root_url") == "https://x/"
    assert found.get("server", "http_port") == "4000"
    assert found.flag("auth.anonymous", "enabled")
    assert [found.get("security", key) for key in ("admin_password", "secret_key", "quoted")] == [
        "kept",
        "a#b;c",
        "x y",
    ]


@pytest.mark.parametrize(
    "content",
    [
        {"apiVersion": 1, "providers": [{"name": "a", "options": {"path": "/x y", "deep": True}}, {"name": "b: c"}]},
        {
            "datasources": [
                {"name": "it's", "jsonData": {"list": [1, "two", None], "empty": {}}, "secureJsonData": None}
            ]
        },
        {"a": [], "b": {"c": {"d": [{"e": [{"f": -1}]}]}}, "text": "# no comment", "number": "12"},
    ],
)
def test_provisioning_files_are_read_as_yaml(content: Any) -> None:
    for text in (yaml.safe_dump(content), json.dumps(content), "---\n# head\n" + yaml.safe_dump(content, indent=4)):
        assert _yaml(text, "file") == yaml.safe_load(text)


def test_a_file_that_is_no_yaml_is_refused() -> None:
    for text in ("a: [\n", "a: 1\n   b: 2\n", "just words\n", "a:\n    b: 1\n  c: 2\n"):
        with pytest.raises(SettingsError, match=r"file:\d"):
            _yaml(text, "file")


# --- the mirror ---


def test_the_mirror_offers_the_emulator_to_tests_only(tmp_path: Path) -> None:
    dest, project = tmp_path / "mirror", Project.load(ROOT)
    dest.mkdir()
    mirror.write_lock(dest, {})
    mirror.add_emulator(dest, "amd64", project)
    version = project.components["grafana"].version
    held = dest / "grafana" / version / f"grafana-{version}.linux-amd64.tar.gz"
    first = held.read_bytes()

    plain = mirror.variables(dest, "http://mirror")
    assert (plain["test_grafana"], "grafana_version" in plain) == ("missing", False)
    assert "grafana" in plain["test_mirror_missing"]
    assert "grafana" not in yaml.safe_load(Path(plain["watchkeeper_lock_file"]).read_text(encoding="utf-8"))

    testing = mirror.variables(dest, "http://mirror", emulators=True)
    assert (testing["test_grafana"], testing["grafana_version"]) == ("emulator", version)
    assert "grafana" not in testing["test_mirror_missing"]
    pin = yaml.safe_load(Path(testing["watchkeeper_lock_file"]).read_text(encoding="utf-8"))["grafana"][version]
    assert f"{pin['amd64']['sha256']}  {held.name}\n" == (held.parent / "sha256sums.txt").read_text(encoding="utf-8")

    mirror.add_emulator(dest, "amd64", project)
    assert held.read_bytes() == first


def test_a_real_release_takes_the_emulators_place(tmp_path: Path) -> None:
    dest, project = tmp_path / "mirror", Project.load(ROOT)
    dest.mkdir()
    mirror.write_lock(dest, {})
    mirror.add_emulator(dest, "amd64", project)
    version = project.components["grafana"].version
    extra = tmp_path / "extra" / f"grafana-{version}.linux-amd64.tar.gz"
    extra.parent.mkdir()
    extra.write_bytes(b"a real one")
    mirror.add_extras(dest, "amd64", project)
    mirror.add_emulator(dest, "amd64", project)
    assert (dest / "grafana" / version / extra.name).read_bytes() == b"a real one"
    for emulators in (False, True):
        found = mirror.variables(dest, "http://mirror", emulators)
        assert (found["test_grafana"], found["grafana_version"]) == ("real", version)
        assert Path(found["watchkeeper_lock_file"]).name == "lock.yml"
