"""The modules of Grafana as processes of their own, against the emulator, and a real Grafana if one is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper.grafana_datasources import DIGEST

from tests.unit.grafana_fixture import Grafana, grafana
from tests.unit.live import free_port
from tests.unit.runs import ROOT, run_site

__all__ = ["grafana"]

MODULES = ("grafana_datasource", "grafana_service_account", "grafana_dashboard", "grafana_folder")
# Runs each module as a process of its own, with this project's code under the name that Ansible gives it. What all of
# them import is imported once, before they part.
RUN = f"""
import atexit, json, os, runpy, sys, traceback
import ansible.module_utils.basic, ansible.module_utils.urls
from ansible.module_utils.testing import patch_module_args
ansible.module_utils.__path__.append({str(ROOT / "plugins" / "module_utils")!r})
for line in sys.stdin:
    module, given, place = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
        os.dup2(1, 2)
        try:
            with patch_module_args(given):
                runpy.run_path({str(ROOT / "library")!r} + "/" + module + ".py", run_name="__main__")
        except SystemExit:
            pass
        except BaseException:
            traceback.print_exc()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    print(flush=True)
"""
PROMETHEUS: dict[str, Any] = {
    "name": "Prometheus",
    "uid": "prometheus",
    "type": "prometheus",
    "url": "http://127.0.0.1:9090",
}
LOKI: dict[str, Any] = {"name": "Loki", "uid": "loki", "type": "loki", "url": "http://127.0.0.1:3100"}
SHOP: dict[str, Any] = {
    "name": "Shop",
    "uid": "shop",
    "type": "postgres",
    "url": "db1.example.com:5432",
    "user": "grafana",
    "json_data": {"database": "shop", "sslmode": "verify-full"},
}
SPECIAL = {"check_mode": "check", "no_log": "no_log"}
SECRET = "correct-horse-staple"  # noqa: S105 - of the test


Start = Callable[[str, dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Runs a module and returns its answer."""
    place = tmp_path_factory.mktemp("modules") / "answer"
    with subprocess.Popen(
        [sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as done:
        assert done.stdin
        assert done.stdout
        sender, receiver = done.stdin, done.stdout

        def run(module: str, given: dict[str, Any]) -> dict[str, Any]:
            sender.write(json.dumps([module, given, str(place)]) + "\n")
            sender.flush()
            receiver.readline()
            text = place.read_text(encoding="utf-8")
            assert text.lstrip().startswith("{"), text
            answer: dict[str, Any] = json.loads(text)
            return answer

        yield run


class Runner:
    """The modules, logged in to a Grafana."""

    def __init__(self, where: Grafana, start: Start) -> None:
        self.grafana = where
        self.start = start
        self.output = ""

    def __call__(self, module: str, **given: Any) -> dict[str, Any]:
        """Run a module with a diff, and return its answer; `check` and `no_log` are those of a task."""
        login = {"url": self.grafana.url, "password": self.grafana.password}
        special = {f"_ansible_{name}": given.pop(option, False) for name, option in SPECIAL.items()}
        special["_ansible_diff"] = True
        answer = self.start(module, {**login, **special, **given})
        self.output += json.dumps(answer)
        return answer

    def sources(self, *items: dict[str, Any], **given: Any) -> dict[str, Any]:
        """Run the module of data sources."""
        return self("grafana_datasource", datasources=list(items), **given)

    def told(self, path: str) -> Any:
        """Return what Grafana says."""
        status, content = self.grafana.ask("GET", path)
        assert status == 200, content
        return content

    def source(self, uid: str) -> Any:
        """Return what Grafana says of a data source."""
        return self.told(f"/api/datasources/uid/{uid}")

    def edit(self, uid: str, **fields: Any) -> None:
        """Change a data source as people do through Grafana's pages."""
        body = {**self.source(uid), **fields}
        status, content = self.grafana.ask("PUT", f"/api/datasources/uid/{uid}", body)
        assert status == 200, content


@pytest.fixture
def run(grafana: Grafana, start: Start) -> Runner:
    """The modules, logged in."""
    return Runner(grafana, start)


def good(answer: dict[str, Any], changed: bool) -> dict[str, Any]:
    """Insist on success and on whether something was changed."""
    assert not answer.get("failed"), answer["msg"]
    assert answer["changed"] is changed, answer
    assert bool(answer["actions"]) is changed
    return answer


def refused(answer: dict[str, Any]) -> str:
    """Insist on a failure and return its words."""
    assert answer.get("failed"), answer
    return str(answer["msg"])


# Documentation


@pytest.mark.parametrize("module", MODULES)
def test_the_documentation_is_the_argument_spec(module: str) -> None:
    """Options, types, defaults, choices and what is required, on every level."""
    names: dict[str, Any] = {}
    text = (ROOT / "library" / f"{module}.py").read_text(encoding="utf-8")
    asked = text.replace('if __name__ == "__main__"', "if False")
    code = asked + "\nimport ansible.module_utils.basic as b\n"
    catch = (
        "class Caught(Exception): pass\n"
        "def AnsibleModule(**given): raise Caught(given['argument_spec'])\n"
        "try: main()\nexcept Caught as caught: SPEC = caught.args[0]\n"
    )
    exec(compile(code + catch, module, "exec"), names)  # noqa: S102 - the project's own module
    fragment = yaml.safe_load(
        re.findall(r'r"""(.*?)"""', (ROOT / "plugins/doc_fragments/grafana.py").read_text(encoding="utf-8"), re.DOTALL)[
            0
        ]
    )
    about = yaml.safe_load(names["DOCUMENTATION"])
    assert about["module"] == module
    assert about["extends_documentation_fragment"] == ["grafana"]
    compare({**about["options"], **fragment["options"]}, names["SPEC"], module)
    for example in yaml.safe_load(names["EXAMPLES"]):
        given = example[module]
        assert set(given) <= {*about["options"], *fragment["options"]}
        assert set(given.get("datasource", {})) <= set(about["options"].get("datasource", {}).get("suboptions", {}))


def test_ansible_doc_shows_it_all(tmp_path: Path) -> None:
    """The options that the modules share come from a fragment, which Ansible has to find."""
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
        assert {"url", "password_file", "organization"} <= set(shown[module]["doc"]["options"])
        assert shown[module]["examples"]
        assert shown[module]["return"]


def compare(documented: dict[str, Any], spec: dict[str, Any], where: str) -> None:
    """Compare one level of options."""
    assert set(documented) == set(spec), where
    for name, option in spec.items():
        text = documented[name]
        assert text["description"], f"{where}.{name}"
        for key in ("type", "default", "choices", "elements", "required"):
            assert text.get(key) == option.get(key), f"{where}.{name}: {key}"
        assert ("suboptions" in text) is ("options" in option), f"{where}.{name}"
        if "options" in option:
            compare(text["suboptions"], option["options"], f"{where}.{name}")


# Data sources: create, no change, change


def test_create_and_no_change(run: Runner) -> None:
    items = [
        {**PROMETHEUS, "is_default": True, "json_data": {"httpMethod": "POST", "timeInterval": "15s"}},
        LOKI,
        {**SHOP, "secure_json_data": {"password": SECRET}},
        {"name": "By name", "type": "testdata"},
    ]
    answer = good(run.sources(*items), changed=True)
    assert [item["state"] for item in answer["datasources"]] == ["created"] * 4
    assert answer["datasources"][3]["uid"], "Grafana made one up"
    assert run.source("prometheus")["jsonData"] == {"httpMethod": "POST", "timeInterval": "15s"}
    assert run.source("prometheus")["isDefault"] is True
    assert run.source("shop")["type"] == "grafana-postgresql-datasource"
    assert run.source("shop")["secureJsonFields"] == {"password": True}
    again = good(run.sources(*items), changed=False)
    assert {item["state"] for item in again["datasources"]} == {"unchanged"}
    assert again["diff"] == []


def test_a_run_without_a_change_asks_little(run: Runner) -> None:
    items = [PROMETHEUS, {**LOKI, "is_default": False}, {**SHOP, "secure_json_data": {"password": SECRET}}]
    emulator = run.grafana.emulator
    run.sources(*items)
    emulator.forget()
    good(run.sources(*items), changed=False)
    paths = [f"{item['method']} {item['path']}" for item in emulator.requests]
    assert paths == ["GET /api/datasources", "GET /api/datasources/uid/shop"], "only secrets are not in the list"


def test_one_form_for_one(run: Runner) -> None:
    good(run("grafana_datasource", datasource=PROMETHEUS), changed=True)
    good(run("grafana_datasource", datasource=PROMETHEUS), changed=False)
    assert "mutually exclusive" in refused(run("grafana_datasource", datasource=PROMETHEUS, datasources=[LOKI]))


def test_one_field_changes_and_the_rest_stays(run: Runner) -> None:
    run.sources({**PROMETHEUS, "json_data": {"timeInterval": "15s", "exemplarTraceIdDestinations": [{"name": "a"}]}})
    run.edit(
        "prometheus",
        withCredentials=True,
        basicAuthUser="somebody",
        jsonData={"timeInterval": "15s", "httpMethod": "GET", "exemplarTraceIdDestinations": [{"name": "a"}]},
        secureJsonData={"basicAuthPassword": SECRET},
    )
    answer = good(run.sources({**PROMETHEUS, "json_data": {"timeInterval": "30s"}}), changed=True)
    assert answer["actions"] == ["changed jsonData of data source Prometheus"]
    now = run.source("prometheus")
    assert now["jsonData"] == {
        "timeInterval": "30s",
        "httpMethod": "GET",
        "exemplarTraceIdDestinations": [{"name": "a"}],
    }
    assert (now["withCredentials"], now["basicAuthUser"]) == (True, "somebody")
    assert now["secureJsonFields"] == {"basicAuthPassword": True}
    (diff,) = answer["diff"]
    assert '"timeInterval": "15s"' in diff["before"]
    assert '"timeInterval": "30s"' in diff["after"]
    assert "httpMethod" not in diff["before"] + diff["after"], "nobody asserts that"


def test_edits_of_fields_that_nobody_asserts_are_no_change(run: Runner) -> None:
    item = {**PROMETHEUS, "json_data": {"timeInterval": "15s"}}
    run.sources(item)
    run.edit("prometheus", user="x", jsonData={"timeInterval": "15s", "httpMethod": "GET"})
    good(run.sources(item), changed=False)


def test_a_setting_is_taken_away_by_null(run: Runner) -> None:
    run.sources({**PROMETHEUS, "json_data": {"timeInterval": "15s", "httpMethod": "POST"}})
    item = {**PROMETHEUS, "json_data": {"timeInterval": None}}
    good(run.sources(item), changed=True)
    assert run.source("prometheus")["jsonData"] == {"httpMethod": "POST"}
    good(run.sources(item), changed=False)


def test_rename(run: Runner) -> None:
    run.sources(PROMETHEUS, LOKI)
    answer = good(run.sources({**PROMETHEUS, "name": "Metrics"}), changed=True)
    assert answer["actions"] == ["changed name of data source Metrics"]
    assert run.source("prometheus")["name"] == "Metrics"
    assert len(run.told("/api/datasources")) == 2


def test_a_name_is_the_identity_where_there_is_no_uid(run: Runner) -> None:
    run.sources({**PROMETHEUS, "uid": "made-elsewhere"})
    item = {"name": "Prometheus", "type": "prometheus", "url": "http://new:9090"}
    answer = good(run.sources(item), changed=True)
    assert answer["datasources"][0]["uid"] == "made-elsewhere"
    assert run.source("made-elsewhere")["url"] == "http://new:9090"


def test_a_name_under_another_uid_is_refused(run: Runner) -> None:
    run.sources({**PROMETHEUS, "uid": "made-elsewhere"}, LOKI)
    words = refused(run.sources({**LOKI, "url": "http://new:3100"}, PROMETHEUS))
    assert "data source Prometheus: Grafana has one of this name already, with the uid made-elsewhere" in words
    assert "set uid to made-elsewhere" in words
    assert run.source("loki")["url"] == LOKI["url"], "nothing was to be written"
    assert "already, with the uid loki" in refused(run.sources({**PROMETHEUS, "uid": "made-elsewhere", "name": "Loki"}))


def test_one_goes_and_another_takes_its_name(run: Runner) -> None:
    run.sources({**PROMETHEUS, "uid": "old"})
    good(run.sources(PROMETHEUS, {"uid": "old", "state": "absent"}), changed=True)
    assert [item["uid"] for item in run.told("/api/datasources")] == ["prometheus"]


def test_a_type_of_nobody_is_taken_as_it_is(run: Runner) -> None:
    item = {"name": "Own", "uid": "own", "type": "acme-datasource", "url": "what://ever", "json_data": {"a": [1]}}
    good(run.sources(item), changed=True)
    good(run.sources(item), changed=False)


# The default


def test_the_default_moves(run: Runner) -> None:
    run.sources({**PROMETHEUS, "is_default": True}, {**LOKI, "is_default": False})
    items = [{**PROMETHEUS, "is_default": False}, {**LOKI, "is_default": True}]
    answer = good(run.sources(*items), changed=True)
    assert answer["actions"] == ["changed isDefault of data source Loki"], "Grafana takes it from the other one itself"
    assert run.source("loki")["isDefault"] is True
    assert run.source("prometheus")["isDefault"] is False
    good(run.sources(*items), changed=False)


def test_the_default_does_not_move_back(run: Runner) -> None:
    """A change of another field of the old default goes with what was read before the move."""
    run.sources({**PROMETHEUS, "is_default": True}, LOKI)
    good(run.sources({**PROMETHEUS, "url": "http://new:9090"}, {**LOKI, "is_default": True}), changed=True)
    assert run.source("loki")["isDefault"] is True
    assert run.source("prometheus")["isDefault"] is False
    assert run.source("prometheus")["url"] == "http://new:9090"


def test_the_first_one_is_not_the_default_when_the_task_says_so(run: Runner) -> None:
    """Grafana makes it the default whatever it says itself."""
    good(run.sources({**PROMETHEUS, "is_default": False}), changed=True)
    assert run.source("prometheus")["isDefault"] is False
    good(run.sources({**PROMETHEUS, "is_default": False}), changed=False)


# Secrets


def test_secrets_change_exactly_when_they_change(run: Runner) -> None:
    item = {**SHOP, "secure_json_data": {"password": SECRET}}
    good(run.sources(item, digest_key="k"), changed=True)
    first = run.source("shop")["jsonData"][DIGEST]
    good(run.sources(item, digest_key="k"), changed=False)
    assert run.source("shop")["jsonData"][DIGEST] == first
    rotated = {**SHOP, "secure_json_data": {"password": "rotated-" + SECRET}}
    answer = good(run.sources(rotated, digest_key="k"), changed=True)
    assert answer["actions"] == ["changed secureJsonData of data source Shop"]
    assert run.grafana.emulator.secrets_of("shop") == {"password": "rotated-" + SECRET}
    good(run.sources(rotated, digest_key="k"), changed=False)
    good(run.sources(rotated, digest_key="another"), changed=True)
    assert run.source("shop")["jsonData"]["database"] == "shop"


def test_a_secret_that_left_the_task_is_cleared(run: Runner) -> None:
    run.sources({**SHOP, "secure_json_data": {"password": SECRET, "tlsCACert": "pem"}})
    item = {**SHOP, "secure_json_data": {"password": SECRET}}
    good(run.sources(item), changed=True)
    assert run.source("shop")["secureJsonFields"] == {"password": True}
    good(run.sources(item), changed=False)
    good(run.sources({**SHOP, "secure_json_data": {}}), changed=True)
    assert run.source("shop")["secureJsonFields"] == {}
    assert DIGEST not in run.source("shop")["jsonData"]
    good(run.sources({**SHOP, "secure_json_data": {}}), changed=False)


def test_a_secret_that_somebody_cleared_comes_back(run: Runner) -> None:
    item = {**SHOP, "secure_json_data": {"password": SECRET}}
    run.sources(item)
    run.edit("shop", secureJsonData={"password": ""})
    good(run.sources(item), changed=True)
    assert run.source("shop")["secureJsonFields"] == {"password": True}


def test_secrets_that_nobody_speaks_of_stay(run: Runner) -> None:
    run.sources({**SHOP, "secure_json_data": {"password": SECRET}})
    good(run.sources({**SHOP, "user": "other"}), changed=True)
    assert run.source("shop")["secureJsonFields"] == {"password": True}


def test_when_secrets_are_sent(run: Runner) -> None:
    item = {**SHOP, "secure_json_data": {"password": SECRET}}
    other = {**SHOP, "secure_json_data": {"password": "other"}}
    good(run.sources(item, update_secrets="on_create"), changed=True)
    good(run.sources(other, update_secrets="on_create"), changed=False)
    assert run.grafana.emulator.secrets_of("shop") == {"password": SECRET}
    for _ in range(2):
        good(run.sources(other, update_secrets="always"), changed=True)
    assert run.grafana.emulator.secrets_of("shop") == {"password": "other"}


def test_nothing_shows_a_secret(run: Runner, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("key-of-digest\n")
    for password in (SECRET, "rotated-" + SECRET):
        answer = run.sources({**SHOP, "secure_json_data": {"password": password}}, digest_key_file=str(key))
        shown = json.dumps(answer["diff"])
        assert "password" in shown
        assert ("(hidden, changed)" in shown) is (password != SECRET)
    run.grafana.emulator.fail_next(1, 400, path="/api/datasources", body=json.dumps({"message": f"bad {SECRET} there"}))
    assert "bad ******** there" in refused(
        run.sources({**SHOP, "secure_json_data": {"password": SECRET}}, digest_key_file=str(key))
    )
    for secret in (SECRET, run.grafana.password, "key-of-digest"):
        assert secret not in run.output


# Conflicts and refusals


def test_somebody_else_was_quicker(run: Runner) -> None:
    """One look more, and only what is asserted is laid over what the other one did."""
    run.sources({**PROMETHEUS, "json_data": {"timeInterval": "15s"}})
    emulator = run.grafana.emulator
    emulator.fail_next(1, 409, method="PUT", body=json.dumps({"message": "Datasource has already been updated"}))
    emulator.forget()
    good(run.sources({**PROMETHEUS, "url": "http://new:9090"}), changed=True)
    kinds = [f"{item['method']} {item['path']}" for item in emulator.requests]
    assert kinds[-3:] == [
        "PUT /api/datasources/uid/prometheus",
        "GET /api/datasources/uid/prometheus",
        "PUT /api/datasources/uid/prometheus",
    ]
    assert run.source("prometheus")["url"] == "http://new:9090"
    sent = [item["body"] for item in emulator.requests if item["method"] == "PUT"]
    assert all(body["version"] == 1 for body in sent), "the version that was read goes along"
    emulator.fail_next(2, 409, method="PUT", body=json.dumps({"message": "Datasource has already been updated"}))
    words = refused(run.sources({**PROMETHEUS, "url": "http://newer:9090"}))
    assert "HTTP 409: Datasource has already been updated" in words


def test_one_that_came_in_between_is_taken_over(run: Runner) -> None:
    """The first attempt of a creation can succeed although its answer is lost."""
    run.sources(LOKI)
    emulator = run.grafana.emulator
    item = {**PROMETHEUS, "json_data": {"timeInterval": "15s"}}
    run.grafana.ask("POST", "/api/datasources", {**PROMETHEUS, "access": "proxy", "url": "http://old:9090"})
    emulator.fail_next(1, 200, method="GET", path="^/api/datasources$", body="[]")
    good(run.sources(item), changed=True)
    now = run.source("prometheus")
    assert (now["url"], now["jsonData"]["timeInterval"]) == (PROMETHEUS["url"], "15s")


def test_a_read_only_one(run: Runner) -> None:
    run.grafana.emulator.provision(**PROMETHEUS)
    good(run.sources(PROMETHEUS), changed=False)
    for item in ({**PROMETHEUS, "url": "http://new:9090"}, {**PROMETHEUS, "state": "absent"}):
        words = refused(run.sources(LOKI, item))
        assert "Prometheus" in words
        assert "read-only, because file provisioning manages it" in words
    assert [item["uid"] for item in run.told("/api/datasources")] == ["prometheus"], "nothing was to be written"


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({**PROMETHEUS, "url": "127.0.0.1:9090"}, "must start with http:// or https://"),
        ({**PROMETHEUS, "uid": "a/b"}, "uid is 'a/b'"),
        ({**PROMETHEUS, "type": None}, "type is missing"),
        ({**LOKI, "name": "Other"}, "2 data sources have the uid loki"),
        (
            {
                **PROMETHEUS,
                "correlations": [{"target_uid": "nobody", "label": "l", "config": {"field": "f", "target": {}}}],
            },
            "leads to the uid nobody, and there is no such data source",
        ),
    ],
)
def test_a_bad_declaration_is_refused_before_any_change(run: Runner, item: dict[str, Any], said: str) -> None:
    assert said in refused(run.sources(LOKI, item))
    assert run.told("/api/datasources") == []


def test_what_cannot_be_emptied_is_refused_before_any_change(run: Runner) -> None:
    run.sources({"name": "Own", "uid": "own", "type": "acme", "url": "x"})
    assert "url cannot be emptied" in refused(
        run.sources(LOKI, {"name": "Own", "uid": "own", "type": "acme", "url": ""})
    )
    assert len(run.told("/api/datasources")) == 1


def test_absent(run: Runner) -> None:
    run.sources(PROMETHEUS, LOKI)
    answer = good(
        run.sources({"uid": "prometheus", "state": "absent"}, {"name": "Loki", "state": "absent"}), changed=True
    )
    assert [item["state"] for item in answer["datasources"]] == ["removed", "removed"]
    assert run.told("/api/datasources") == []
    answer = good(
        run.sources({"uid": "prometheus", "state": "absent"}, {"name": "Loki", "state": "absent"}), changed=False
    )
    assert [item["state"] for item in answer["datasources"]] == ["absent", "absent"]


def test_faults_pass(run: Runner) -> None:
    emulator = run.grafana.emulator
    emulator.fail_next(1, 503)
    emulator.fail_next(1, 429, retry_after="1", method="POST")
    emulator.drop_next(1, method="POST")
    good(run.sources(PROMETHEUS), changed=True)
    assert len(run.told("/api/datasources")) == 1


def test_no_numeric_id_is_used(run: Runner) -> None:
    run.sources(PROMETHEUS, LOKI)
    run.sources({**PROMETHEUS, "url": "http://new:9090"}, {"uid": "loki", "state": "absent"})
    paths = {item["path"] for item in run.grafana.emulator.requests}
    assert paths == {"/api/datasources", "/api/datasources/uid/prometheus", "/api/datasources/uid/loki"}


def test_another_organisation(run: Runner) -> None:
    _status, made = run.grafana.ask("POST", "/api/orgs", {"name": "Second"})
    good(run.sources(PROMETHEUS, organization=made["orgId"]), changed=True)
    assert run.told("/api/datasources") == []
    status, found = run.grafana.ask("GET", "/api/datasources", org=made["orgId"])
    assert (status, [item["uid"] for item in found]) == (200, ["prometheus"])
    assert run.told("/api/org")["id"] == 1


# Check mode


def test_check_mode_tells_and_does_nothing(run: Runner) -> None:
    run.sources({**PROMETHEUS, "is_default": True}, {**SHOP, "secure_json_data": {"password": SECRET}})
    items = [
        {**PROMETHEUS, "url": "http://new:9090", "is_default": False},
        {**LOKI, "is_default": True, "correlations": []},
        {**SHOP, "secure_json_data": {"password": "other"}},
        {"name": "Old", "state": "absent"},
    ]
    emulator = run.grafana.emulator
    emulator.forget()
    said = good(run.sources(*items, check=True), changed=True)
    assert emulator.writes == []
    done = good(run.sources(*items), changed=True)
    for key in ("actions", "datasources", "diff"):
        assert said[key] == done[key]
    good(run.sources(*items, check=True), changed=False)


@pytest.mark.parametrize(
    ("module", "given"),
    [
        ("grafana_datasource", {"datasource": {**PROMETHEUS, "health": True}, "digest_key_file": "/nowhere/key"}),
        ("grafana_folder", {"title": "Shop"}),
        ("grafana_dashboard", {"content": {"title": "a", "uid": "a", "panels": []}, "folder": "Shop"}),
        ("grafana_service_account", {"name": "a", "token_name": "t", "token_file": "/nowhere/token"}),
    ],
)
def test_check_mode_where_grafana_is_not_there_yet(start: Start, module: str, given: dict[str, Any]) -> None:
    """As on a host before the first run: no Grafana, and no file with its password."""
    base = {"url": f"http://127.0.0.1:{free_port()}", "password_file": "/nowhere/password", **given}
    answer = good(start(module, {**base, "_ansible_check_mode": True, "_ansible_diff": True}), changed=True)
    assert "does not run at http://127.0.0.1" in json.dumps(answer["warnings"])
    assert answer["diff"]
    others = {
        name: value for name, value in base.items() if name not in ("digest_key_file", "token_name", "token_file")
    }
    assert "password_file /nowhere/password cannot be read" in refused(start(module, others)), "no excuse without check"


def test_check_mode_does_not_excuse_a_grafana_elsewhere(start: Start) -> None:
    given = {"url": "http://grafana.invalid:3000", "password": "p", "datasource": PROMETHEUS}
    assert "no answer" in refused(start("grafana_datasource", {**given, "_ansible_check_mode": True}))


# Health


def test_health_is_a_condition(run: Runner) -> None:
    there = {"name": "Test", "uid": "test", "type": "testdata", "health": True}
    good(run.sources(there), changed=True)
    dead = {**PROMETHEUS, "url": f"http://127.0.0.1:{free_port()}", "health": True}
    answer = run.sources(there, dead, health_timeout=0)
    assert "data source Prometheus: GET " in refused(answer)
    assert "It has been removed again." in answer["msg"]
    assert [source["uid"] for source in run.told("/api/datasources")] == ["test"]
    good(run.sources(there, dead, health_timeout=0, check=True), changed=True)


def test_a_source_that_is_not_reached_is_put_back(run: Runner) -> None:
    """What was there before the task serves on: address, settings, and who is the default."""
    test = {"name": "Test", "uid": "test", "type": "testdata", "is_default": True}
    again = {**PROMETHEUS, "json_data": {"timeInterval": "15s"}, "secure_json_data": {"httpHeaderValue1": SECRET}}
    run.sources(test, again)
    before = run.source("prometheus")
    dead = {**PROMETHEUS, "url": f"http://127.0.0.1:{free_port()}", "json_data": {"timeInterval": "1m"}, "health": True}
    answer = run.sources({**dead, "is_default": True}, health_timeout=0)
    assert "It is as it was before." in refused(answer)
    after = run.source("prometheus")
    assert {**after, "version": 0} == {**before, "version": 0}
    assert run.source("test")["isDefault"] is True
    words = refused(run.sources({**dead, "secure_json_data": {"httpHeaderValue1": "another"}}, health_timeout=0))
    assert "but for its secrets" in words
    assert "another" not in words
    assert good(run.sources(again), changed=True)["actions"] == ["changed secureJsonData of data source Prometheus"]


def test_a_source_that_has_not_been_changed_stays(run: Runner) -> None:
    """Then it is what stands behind it that fails, and no reason to lose the source."""
    dead = {**PROMETHEUS, "url": f"http://127.0.0.1:{free_port()}"}
    run.sources(dead)
    assert "It has not been changed." in refused(run.sources({**dead, "health": True}, health_timeout=0))
    assert run.source("prometheus")["url"] == dead["url"]


def test_an_alertmanager_is_asked_itself(run: Runner) -> None:
    """Its type has no health check in Grafana."""
    item = {"name": "AM", "uid": "am", "type": "alertmanager", "url": f"http://127.0.0.1:{free_port()}"}
    words = refused(
        run.sources({**item, "json_data": {"implementation": "prometheus"}, "health": True}, health_timeout=0)
    )
    assert "/api/alertmanager/am/api/v2/status" in words


def test_health_may_take_a_moment(run: Runner) -> None:
    run.grafana.emulator.fail_next(1, 400, path="/health$")
    good(run.sources({"name": "Test", "uid": "test", "type": "testdata", "health": True}), changed=True)


# Correlations


LINK: dict[str, Any] = {
    "target_uid": "prometheus",
    "label": "Metrics",
    "config": {"field": "job", "target": {"expr": "up"}},
}


def links(run: Runner, uid: str = "loki") -> dict[str, Any]:
    """Return the correlations of a data source by label; an empty list of steps is none."""
    status, found = run.grafana.ask("GET", f"/api/datasources/uid/{uid}/correlations")
    for item in found if status == 200 else []:
        item["config"].setdefault("transformations", [])
    return {item["label"]: item for item in found} if status == 200 else {}


def test_correlations(run: Runner) -> None:
    """The target may be one that the same task makes."""
    items = [{**LOKI, "correlations": [LINK]}, PROMETHEUS]
    answer = good(run.sources(*items), changed=True)
    assert "changed the correlations of data source Loki" in answer["actions"]
    assert links(run)["Metrics"]["config"] == {"field": "job", "target": {"expr": "up"}, "transformations": []}
    good(run.sources(*items), changed=False)
    step = {"type": "regex", "expression": "(a)"}
    changed = {**LINK, "description": "All", "config": {**LINK["config"], "transformations": [step]}}
    good(run.sources({**LOKI, "correlations": [changed]}), changed=True)
    assert links(run)["Metrics"]["description"] == "All"
    assert links(run)["Metrics"]["config"]["transformations"] == [step]
    good(run.sources({**LOKI, "correlations": [changed]}), changed=False)
    good(run.sources({**LOKI, "correlations": [LINK]}), changed=True)
    assert links(run)["Metrics"]["config"]["transformations"] == []


def test_only_own_correlations_are_removed(run: Runner) -> None:
    run.sources(PROMETHEUS, {**LOKI, "correlations": [LINK]})
    theirs = {"targetUID": "prometheus", "label": "Theirs", "type": "query", "config": {"field": "a", "target": {}}}
    run.grafana.ask("POST", "/api/datasources/uid/loki/correlations", theirs)
    good(run.sources(LOKI), changed=False)
    answer = good(run.sources({**LOKI, "correlations": []}), changed=True)
    assert list(links(run)) == ["Theirs"]
    assert "Metrics" in answer["diff"][0]["before"]
    assert "Metrics" not in answer["diff"][0]["after"]
    good(run.sources({**LOKI, "correlations": []}), changed=False)
    assert run.source("loki")["jsonData"] == {}


def test_a_correlation_that_was_there_is_taken_over(run: Runner) -> None:
    run.sources(PROMETHEUS, LOKI)
    body = {"targetUID": "prometheus", "label": "Metrics", "type": "query", "config": LINK["config"]}
    run.grafana.ask("POST", "/api/datasources/uid/loki/correlations", body)
    good(run.sources({**LOKI, "correlations": [LINK]}), changed=True)
    assert len(links(run)) == 1
    good(run.sources({**LOKI, "correlations": [LINK]}), changed=False)


def test_a_run_that_ends_between_leaves_nothing_unknown(run: Runner) -> None:
    run.sources(PROMETHEUS, LOKI)
    run.grafana.emulator.drop_next(1, method="POST", path="/correlations$")
    refused(run.sources({**LOKI, "correlations": [LINK]}))
    good(run.sources({**LOKI, "correlations": [LINK]}), changed=True)
    run.grafana.emulator.fail_next(9, 400, method="DELETE")
    refused(run.sources({**LOKI, "correlations": []}))
    run.grafana.emulator.api.faults.clear()
    good(run.sources({**LOKI, "correlations": []}), changed=True)
    assert links(run) == {}


# Folders


def test_a_folder(run: Runner) -> None:
    good(run("grafana_folder", uid="shop", title="Shop"), changed=True)
    good(run("grafana_folder", uid="shop", title="Shop"), changed=False)
    answer = good(run("grafana_folder", uid="shop", title="The shop"), changed=True)
    assert answer["actions"] == ["renamed folder The shop, which was Shop"]
    made = good(run("grafana_folder", title="Inner", parent="shop"), changed=True)
    again = good(run("grafana_folder", title="Inner", parent="shop"), changed=False)
    assert made["uid"] == again["uid"]
    good(run("grafana_folder", uid=made["uid"], title="Inner"), changed=False)
    good(run("grafana_folder", uid=made["uid"], title="Inner", parent=""), changed=True)
    assert not run.told(f"/api/folders/{made['uid']}").get("parentUid")
    said = good(run("grafana_folder", uid="new", title="New", check=True), changed=True)
    assert "New" in said["diff"]["after"]
    assert run.grafana.ask("GET", "/api/folders/new")[0] == 404


def test_a_folder_is_renamed_in_spite_of_a_conflict(run: Runner) -> None:
    run("grafana_folder", uid="shop", title="Shop")
    run.grafana.emulator.fail_next(1, 412, method="PUT")
    good(run("grafana_folder", uid="shop", title="The shop"), changed=True)
    assert run.told("/api/folders/shop")["title"] == "The shop"


def test_a_folder_that_holds_something_stays(run: Runner) -> None:
    run("grafana_folder", uid="shop", title="Shop")
    good(run("grafana_dashboard", content={**BOARD, "panels": []}, folder_uid="shop"), changed=True)
    words = refused(run("grafana_folder", uid="shop", state="absent"))
    assert "folder shop is not empty (1 dashboard" in words
    assert "set force to true" in words
    assert run.told("/api/folders/shop")
    good(run("grafana_folder", uid="shop", state="absent", force=True, check=True), changed=True)
    good(run("grafana_folder", uid="shop", state="absent", force=True), changed=True)
    good(run("grafana_folder", uid="shop", state="absent", force=True), changed=False)


def test_a_folders_uid_is_checked(run: Runner) -> None:
    assert "uid is 'a b'; Grafana allows" in refused(run("grafana_folder", uid="a b", title="A"))
    assert "title" in refused(run("grafana_folder", uid="a"))


# Dashboards


BOARD: dict[str, Any] = {
    "uid": "orders",
    "title": "Orders",
    "schemaVersion": 41,
    "panels": [
        {
            "id": 1,
            "type": "timeseries",
            "title": "Rate",
            "datasource": {"type": "prometheus", "uid": "prometheus"},
            "gridPos": {"x": 0, "y": 0, "w": 12, "h": 8},
            "targets": [{"refId": "A", "expr": "up"}],
        }
    ],
}


@pytest.fixture
def board(run: Runner) -> Callable[..., dict[str, Any]]:
    """The module of dashboards, with the data source that they name."""
    run.sources(PROMETHEUS)
    return lambda content=BOARD, **given: run("grafana_dashboard", content=content, **given)


def test_a_dashboard(run: Runner, board: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    answer = good(board(), changed=True)
    assert answer["actions"] == ["created dashboard Orders"]
    assert answer["url"].startswith("/d/orders/")
    assert good(board(), changed=False)["url"] == answer["url"]
    stored = run.told("/api/dashboards/uid/orders")["dashboard"]
    good(board({**stored, "iteration": 5}), changed=False)
    changed = {**BOARD, "title": "All orders"}
    good(board(changed, check=True), changed=True)
    good(board(changed, message="Because"), changed=True)
    assert run.told("/api/dashboards/uid/orders")["dashboard"]["title"] == "All orders"
    file = tmp_path / "orders.json"
    file.write_text(json.dumps(BOARD))
    answer = good(run("grafana_dashboard", path=str(file)), changed=True)
    assert '"title": "All orders"' in answer["diff"]["before"]
    assert '"title": "Orders"' in answer["diff"]["after"]
    good(run("grafana_dashboard", uid="orders", state="absent", check=True), changed=True)
    good(run("grafana_dashboard", uid="orders", state="absent"), changed=True)
    good(run("grafana_dashboard", uid="orders", state="absent"), changed=False)


def test_a_dashboard_in_a_folder(run: Runner, board: Callable[..., dict[str, Any]]) -> None:
    run("grafana_folder", uid="shop", title="Shop")
    good(board(folder="Shop"), changed=True)
    good(board(folder_uid="shop"), changed=False)
    good(board(), changed=False)
    good(board({**BOARD, "title": "New"}), changed=True)
    assert run.told("/api/dashboards/uid/orders")["meta"]["folderUid"] == "shop", "it stays where it is"
    good(board({**BOARD, "title": "New"}, folder_uid=""), changed=True)
    assert not run.told("/api/dashboards/uid/orders")["meta"]["folderUid"]
    assert "folder is 'Nowhere', and Grafana has no folder of this title" in refused(board(folder="Nowhere"))
    said = good(board(folder="Nowhere", check=True), changed=True)
    assert "no folder Nowhere yet" in json.dumps(said["warnings"])


def edited(run: Runner) -> None:
    """Save a dashboard as people do through Grafana's pages."""
    content = {**run.told("/api/dashboards/uid/orders")["dashboard"], "title": "Mine"}
    status, answer = run.grafana.ask("POST", "/api/dashboards/db", {"dashboard": content})
    assert status == 200, answer


def test_what_people_made_of_a_dashboard(run: Runner, board: Callable[..., dict[str, Any]]) -> None:
    board()
    edited(run)
    assert not good(board(overwrite="never"), changed=False).get("warnings")
    answer = good(board(), changed=False)
    assert "dashboard Orders was changed since this module saved it" in json.dumps(answer["warnings"])
    assert run.told("/api/dashboards/uid/orders")["dashboard"]["title"] == "Mine"
    good(board(overwrite="always"), changed=True)
    assert run.told("/api/dashboards/uid/orders")["dashboard"]["title"] == "Orders"
    good(board({**BOARD, "title": "Ours again"}), changed=True)


def test_a_conflict_of_a_dashboard(run: Runner, board: Callable[..., dict[str, Any]]) -> None:
    board()
    run.grafana.emulator.fail_next(1, 412, method="POST", path="/dashboards/db$")
    good(board({**BOARD, "title": "New"}), changed=True)
    run.grafana.emulator.fail_next(2, 412, method="POST", path="/dashboards/db$")
    assert "HTTP 412" in refused(board({**BOARD, "title": "Newer"}))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"dashboard": BOARD}, "envelope"),
        ({"apiVersion": "dashboard.grafana.app/v2", "kind": "Dashboard", "spec": {"title": "a"}}, "schema v2"),
        ({"title": "a", "elements": {}, "layout": {}}, "schema v2"),
        ({**BOARD, "title": ""}, "has no title"),
        ({key: value for key, value in BOARD.items() if key != "uid"}, "has no uid"),
        ({**BOARD, "uid": "a b"}, "'a b' is not allowed"),
        ({**BOARD, "panels": [{**BOARD["panels"][0], "datasource": {"type": "loki", "uid": "nobody"}}]}, "nobody"),
    ],
)
def test_a_dashboard_that_grafana_would_not_take(
    run: Runner, board: Callable[..., dict[str, Any]], content: dict[str, Any], said: str
) -> None:
    words = refused(board(content))
    assert words.startswith("dashboard ")
    assert said in words
    assert [item for item in run.told("/api/search") if item["type"] == "dash-db"] == []


def test_a_file_that_is_no_dashboard(run: Runner, tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refused(run("grafana_dashboard", path=str(tmp_path / "none")))
    (tmp_path / "bad").write_text("{")
    assert "is not JSON" in refused(run("grafana_dashboard", path=str(tmp_path / "bad")))


def test_a_dashboard_of_a_file_is_refused(run: Runner, board: Callable[..., dict[str, Any]]) -> None:
    emulator = run.grafana.emulator
    with emulator.api.lock:
        file = {"allowUiUpdates": False, "file": "Shop/orders.json"}
        emulator.api.keep_dashboard(BOARD, "", 1, author="", provisioned=file)
    good(board(), changed=False)
    words = refused(board({**BOARD, "title": "New"}, overwrite="always"))
    assert "is managed by file provisioning (Shop/orders.json)" in words
    assert "is managed by file provisioning" in refused(run("grafana_dashboard", uid="orders", state="absent"))


# Service accounts


def key_of(path: Path) -> str:
    """Return a key that a program would read."""
    return path.read_text(encoding="utf-8").strip()


def logs_in(run: Runner, key: str) -> bool:
    """Tell whether a key is good for anything."""
    return run.grafana.ask("GET", "/api/org", token=key)[0] == 200


def tokens(run: Runner, name: str = "deploy") -> list[str]:
    """Return the names of an account's tokens."""
    account = next(item for item in run.told("/api/serviceaccounts/search")["serviceAccounts"] if item["name"] == name)
    return [item["name"] for item in run.told(f"/api/serviceaccounts/{account['id']}/tokens")]


def test_a_service_account(run: Runner) -> None:
    good(run("grafana_service_account", name="deploy", check=True), changed=True)
    assert run.told("/api/serviceaccounts/search")["totalCount"] == 0
    answer = good(run("grafana_service_account", name="deploy"), changed=True)
    assert answer["account"]["role"] == "Viewer"
    run("grafana_service_account", name="deploy-other")
    good(run("grafana_service_account", name="deploy"), changed=False)
    answer = good(run("grafana_service_account", name="deploy", role="Editor", disabled=True), changed=True)
    assert answer["actions"] == ["changed role, isDisabled of service account deploy"]
    good(run("grafana_service_account", name="deploy"), changed=False)
    good(run("grafana_service_account", name="deploy", state="absent"), changed=True)
    good(run("grafana_service_account", name="deploy", state="absent"), changed=False)
    found = run.told("/api/serviceaccounts/search")["serviceAccounts"]
    assert [item["name"] for item in found] == ["deploy-other"]


def test_a_token_is_kept_in_its_file(run: Runner, tmp_path: Path) -> None:
    file = tmp_path / "token"
    given = {"name": "deploy", "role": "Editor", "token_name": "ci", "token_file": str(file)}
    good(run("grafana_service_account", check=True, **given), changed=True)
    assert not file.exists()
    answer = good(run("grafana_service_account", **given), changed=True)
    assert "key" not in answer
    assert file.stat().st_mode & 0o777 == 0o600
    key = key_of(file)
    assert logs_in(run, key)
    good(run("grafana_service_account", **given), changed=False)
    assert key_of(file) == key
    file.chmod(0o640)
    good(run("grafana_service_account", **given), changed=False)
    file.chmod(0o644)
    good(run("grafana_service_account", **given), changed=True)
    assert file.stat().st_mode & 0o777 == 0o640
    assert key not in run.output


def test_rotation(run: Runner, tmp_path: Path) -> None:
    """The new key is in its place before the old one is worth nothing."""
    file = tmp_path / "token"
    given = {"name": "deploy", "token_name": "ci", "token_file": str(file)}
    run("grafana_service_account", **given)
    first = key_of(file)
    # A program of another account reads it.
    os.chown(file, 1234, 1234)
    file.chmod(0o440)
    answer = good(run("grafana_service_account", token_rotate=True, **given), changed=True)
    assert (file.stat().st_uid, file.stat().st_gid, file.stat().st_mode & 0o777) == (1234, 1234, 0o440)
    assert answer["actions"] == ["made a token of service account deploy: the task says so"]
    assert key_of(file) != first
    assert logs_in(run, key_of(file))
    assert not logs_in(run, first)
    assert len(tokens(run)) == 1
    writes = run.grafana.emulator.writes
    assert [line.split()[0] for line in writes[-2:]] == ["POST", "DELETE"]


def test_a_token_is_rotated_in_time(run: Runner, tmp_path: Path) -> None:
    file = tmp_path / "token"
    given = {"name": "deploy", "token_name": "ci", "token_file": str(file), "token_seconds_to_live": 10 * 86400}
    run("grafana_service_account", **given)
    good(run("grafana_service_account", token_rotate_before_days=9, **given), changed=False)
    good(run("grafana_service_account", token_rotate_after_days=1, **given), changed=False)
    later = {**given, "token_seconds_to_live": 100 * 86400}
    answer = good(run("grafana_service_account", token_rotate_before_days=11, **later), changed=True)
    assert "would have expired soon" in answer["actions"][0]
    run.grafana.emulator.expire_token(tokens(run)[0])
    answer = good(run("grafana_service_account", **later), changed=True)
    assert "it had expired" in answer["actions"][0]
    assert len(tokens(run)) == 1
    with run.grafana.emulator.api.lock:
        run.grafana.emulator.store.data["tokens"][0]["created"] = "2020-01-01T00:00:00.123456789+02:00"
    answer = good(run("grafana_service_account", token_rotate_after_days=30, **later), changed=True)
    assert "older than 30 days" in answer["actions"][0]
    words = refused(run("grafana_service_account", token_rotate_before_days=10, **given))
    assert "each run would rotate" in words


@pytest.mark.parametrize("content", [None, "", "glsa_wrong_00000000\n", "\xff"])
def test_a_file_without_a_good_key_gets_one(run: Runner, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "token"
    given = {"name": "deploy", "token_name": "ci", "token_file": str(file)}
    run("grafana_service_account", **given)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content.encode("latin-1"))
    good(run("grafana_service_account", **given), changed=True)
    assert logs_in(run, key_of(file))
    assert len(tokens(run)) == 1


def test_a_run_that_ended_before_it_wrote_the_key(run: Runner, tmp_path: Path) -> None:
    """Its token is of no use to anybody, and goes."""
    file = tmp_path / "token"
    given = {"name": "deploy", "token_name": "ci", "token_file": str(file)}
    run("grafana_service_account", **given)
    (account,) = run.told("/api/serviceaccounts/search")["serviceAccounts"]
    left = {"name": "ci-20260102T030405Z-0a1b"}
    assert run.grafana.ask("POST", f"/api/serviceaccounts/{account['id']}/tokens", left)[0] == 200
    good(run("grafana_service_account", **given), changed=True)
    assert len(tokens(run)) == 1
    assert logs_in(run, key_of(file))


@pytest.mark.parametrize("place", ["none/token", "."])
def test_a_place_where_no_key_can_be_written(run: Runner, tmp_path: Path, place: str) -> None:
    """It is said before a token is made whose key nobody would know."""
    words = refused(run("grafana_service_account", name="deploy", token_name="ci", token_file=f"{tmp_path}/{place}"))  # noqa: S106
    assert f"token_file {tmp_path}" in words
    assert run.told("/api/serviceaccounts/search")["totalCount"] == 0


def test_other_tokens_stay(run: Runner, tmp_path: Path) -> None:
    given = {"name": "deploy", "token_name": "ci", "token_file": str(tmp_path / "token")}
    run("grafana_service_account", **given)
    (account,) = run.told("/api/serviceaccounts/search")["serviceAccounts"]
    run.grafana.ask("POST", f"/api/serviceaccounts/{account['id']}/tokens", {"name": "ci-by-hand"})
    good(run("grafana_service_account", token_rotate=True, **given), changed=True)
    assert "ci-by-hand" in tokens(run)


def test_a_lost_answer_leaves_one_token(run: Runner, tmp_path: Path) -> None:
    given = {"name": "deploy", "token_name": "ci", "token_file": str(tmp_path / "token")}
    run.grafana.emulator.drop_next(1, method="POST", path="/tokens$")
    assert "no answer" in refused(run("grafana_service_account", **given))
    good(run("grafana_service_account", **given), changed=True)
    assert len(tokens(run)) == 1


def test_a_key_is_returned_to_those_who_hide_it(run: Runner) -> None:
    given = {"name": "deploy", "token_name": "ci"}
    assert "set token_file, or no_log: true" in refused(run("grafana_service_account", **given))
    answer = good(run("grafana_service_account", no_log=True, **given), changed=True)
    assert logs_in(run, answer["key"])
    good(run("grafana_service_account", no_log=True, **given), changed=False)


def test_an_account_goes_with_its_file(run: Runner, tmp_path: Path) -> None:
    file = tmp_path / "token"
    run("grafana_service_account", name="deploy", token_name="ci", token_file=str(file))  # noqa: S106 - a name
    key = key_of(file)
    good(run("grafana_service_account", name="deploy", state="absent", token_file=str(file)), changed=True)
    assert not file.exists()
    assert not logs_in(run, key)


def test_a_token_does_the_work_of_other_tasks(run: Runner, tmp_path: Path) -> None:
    file = tmp_path / "token"
    run("grafana_service_account", name="deploy", role="Admin", token_name="ci", token_file=str(file))  # noqa: S106
    given = {"url": run.grafana.url, "token": key_of(file), "datasource": PROMETHEUS}
    good(run.start("grafana_datasource", given), changed=True)
    assert run.source("prometheus")


# Through Ansible


def test_a_play(grafana: Grafana, tmp_path: Path) -> None:
    """The modules find their shared code, take what a vault would give, and nothing of that is shown."""
    password = tmp_path / "password"
    password.write_text(grafana.password)
    play = [
        {
            "hosts": "all",
            "gather_facts": False,
            "module_defaults": {name: {"url": grafana.url, "password_file": str(password)} for name in MODULES},
            "tasks": [
                {
                    "name": "Register",
                    "grafana_datasource": {
                        "digest_key": "{{ vault_key }}",
                        "datasources": [PROMETHEUS, {**SHOP, "secure_json_data": {"password": "{{ vault_shop }}"}}],
                    },
                },
                {"name": "Folder", "grafana_folder": {"uid": "shop", "title": "Shop"}},
                {"name": "Save", "grafana_dashboard": {"content": "{{ board }}", "folder_uid": "shop"}},
                {
                    "name": "Account",
                    "grafana_service_account": {
                        "name": "deploy",
                        "token_name": "ci",
                        "token_file": str(tmp_path / "token"),
                    },
                },
            ],
        }
    ]
    hosts = {"all": {"hosts": {"h": {"vault_key": "key-of-digest", "vault_shop": SECRET, "board": BOARD}}}}
    for changed in (True, False):
        run = run_site(
            tmp_path / "run", hosts, "--diff", "-vvv", playbook=yaml.safe_dump(play), real=MODULES, ANSIBLE_NOCOLOR="1"
        )
        assert run.code == 0, run.output
        for module in MODULES:
            assert run.of(module, "h")["changed"] is changed, module
        for secret in (SECRET, grafana.password, "key-of-digest", key_of(tmp_path / "token")):
            assert secret not in run.output
            assert secret not in json.dumps(run.results)
    assert os.stat(tmp_path / "token").st_mode & 0o777 == 0o600
