"""UptimeRobot's integrations, contacts, status pages, maintenance windows and facts, against the emulator."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from tests.emulators.uptimerobot import HANDLERS, RefusedError, UptimeRobotEmulator
from tests.unit.runs import ROOT
from tests.unit.uptimerobot_fixture import (
    READ_ONLY_KEY,
    Runner,
    Start,
    good,
    play,
    refused,
    run,
    start,
    uptimerobot,
    valid,
    writes,
)

__all__ = ["run", "start", "uptimerobot"]

MODULES = (
    "uptimerobot_integration",
    "uptimerobot_alert_contact",
    "uptimerobot_status_page",
    "uptimerobot_maintenance_window",
    "uptimerobot_info",
)
SECRET = "https://hooks.slack.com/services/T0/B0/correct-horse-staple"  # noqa: S105 - of the test
PASSWORD = "correct-horse-battery"  # noqa: S105 - of the test
OTHER_PASSWORD = "another-one-7"  # noqa: S105 - of the test
PAGERDUTY_KEY = "0123456789abcdef0123456789abcdef"
SLACK: dict[str, Any] = {"name": "Team", "type": "slack", "target": SECRET, "message": "Runbooks: <wiki> & more"}
CONTACT: dict[str, Any] = {"email": "OnCall@example.com", "name": "On call", "notifications": "down"}
PAGE: dict[str, Any] = {"name": "Shop & more", "homepage": "https://shop.example.com"}
NIGHTLY: dict[str, Any] = {"name": "Backup", "interval": "daily", "time": "02:30", "duration": "45m"}
# The simplest task of each module that writes.
SIMPLE: dict[str, dict[str, Any]] = {
    "uptimerobot_integration": SLACK,
    "uptimerobot_alert_contact": CONTACT,
    "uptimerobot_status_page": PAGE,
    "uptimerobot_maintenance_window": NIGHTLY,
}
PATHS = {
    "uptimerobot_integration": "/integrations",
    "uptimerobot_alert_contact": "/alert-contacts",
    "uptimerobot_status_page": "/psps",
    "uptimerobot_maintenance_window": "/maintenance-windows",
}
each_module = pytest.mark.parametrize("module", SIMPLE)


def on_plan(plan: str, start: Start) -> Iterator[Runner]:
    """Yield the modules with an account on a plan."""
    with valid(UptimeRobotEmulator(plan=plan)) as emulator:
        yield Runner(emulator, start)


@pytest.fixture
def free(start: Start) -> Iterator[Runner]:
    """The modules, with an account on the free plan."""
    yield from on_plan("Free", start)


@pytest.fixture
def solo(start: Start) -> Iterator[Runner]:
    """The modules, with an account on the smallest paid plan."""
    yield from on_plan("Solo", start)


def loaded(name: str) -> Any:
    """Return a module's code."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "library" / f"{name}.py")
    assert spec
    assert spec.loader
    code = importlib.util.module_from_spec(spec)
    # Dataclasses look for their module there.
    sys.modules[name] = code
    spec.loader.exec_module(code)
    return code


def only(store: dict[int, Any]) -> Any:
    """Return the one object of a store."""
    (item,) = store.values()
    return item


# Documentation


@pytest.mark.parametrize("name", MODULES)
def test_the_documentation_is_the_argument_spec(name: str) -> None:
    """Options, types, defaults, choices and what is required, on every level; and examples use them."""
    code = loaded(name)
    fragment = (ROOT / "plugins/doc_fragments/uptimerobot.py").read_text(encoding="utf-8")
    shared = yaml.safe_load(re.findall(r'r"""(.*?)"""', fragment, re.DOTALL)[0])["options"]
    about = yaml.safe_load(code.DOCUMENTATION)
    assert about["module"] == name
    assert about["extends_documentation_fragment"] == ["uptimerobot"]
    compare({**about["options"], **shared}, code.ARGUMENTS, name)
    returned = yaml.safe_load(code.RETURN)
    assert {"requests", "waited"} <= set(returned)
    assert all(item["description"] and item["type"] and item["returned"] for item in returned.values())
    for task in yaml.safe_load(code.EXAMPLES):
        if name in task:
            assert set(task[name]) <= {*about["options"], *shared}


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


def test_the_examples_run_and_run_again(uptimerobot: UptimeRobotEmulator, tmp_path: Path) -> None:
    """As they are in the documentation, by ansible-playbook, with values for what a vault would hold."""
    for monitor in ("Shop", "Shop API health"):
        uptimerobot.add_monitor(friendlyName=monitor, tagNames=["shop", "production"])
    uptimerobot.add_contact("MobileApp", "Phone of Kim", "token-of-a-phone")
    values = {
        "vault_uptimerobot_api_key": "u1-main-key",
        "vault_slack_webhook": SECRET,
        "vault_pagerduty_key": PAGERDUTY_KEY,
        "vault_incident_token": "incident-token-7",
        "vault_status_page_password": PASSWORD,
    }
    file = tmp_path / "vault.json"
    file.write_text(json.dumps(values), encoding="utf-8")
    examples = [task for name in MODULES for task in yaml.safe_load(loaded(name).EXAMPLES)]
    tasks = [task for task in examples if "absent" not in str(task)]
    assert len(tasks) < len(examples)
    done = play(tmp_path, uptimerobot, tasks, "-vvv", "--diff", f"--extra-vars=@{file}", CI="true")
    assert done.code == 0, done.output
    for secret in (*values.values(), "token-of-a-phone"):
        assert secret not in done.output, secret
    assert len(uptimerobot.writes) > len(tasks) / 2
    uptimerobot.forget()
    done = play(tmp_path, uptimerobot, examples, f"--extra-vars=@{file}")
    assert done.code == 0, done.output
    (window,) = re.findall(r"DELETE /maintenance-windows/\d+", " ".join(uptimerobot.writes))
    assert uptimerobot.writes == [window], "the one that the examples make and end"


# What all of them have in common


@each_module
def test_create_no_change_and_remove(run: Runner, module: str) -> None:
    made = good(run(module, **SIMPLE[module]), changed=True)
    assert made["id"] > 0
    again, asked = run.counted(module, **SIMPLE[module])
    good(again, changed=False)
    assert again["id"] == made["id"]
    assert asked == [("GET", PATHS[module])], "no change costs one request"
    assert again["requests"] == 1
    gone = good(run(module, **SIMPLE[module], state="absent"), changed=True)
    assert gone["id"] is None
    good(run(module, **SIMPLE[module], state="absent"), changed=False)
    good(run(module, id=made["id"], state="absent"), changed=False)


@each_module
def test_check_mode_writes_nothing_and_says_the_same(run: Runner, module: str) -> None:
    would, asked = run.counted(module, **SIMPLE[module], check=True)
    assert writes(asked) == []
    did = good(run(module, **SIMPLE[module]), changed=True)
    assert would["actions"] == did["actions"]
    assert would["diff"] == did["diff"]
    gone, asked = run.counted(module, **SIMPLE[module], state="absent", check=True)
    assert writes(asked) == []
    assert good(gone, changed=True)["actions"] == run(module, **SIMPLE[module], state="absent")["actions"]


@each_module
def test_an_old_name_is_changed_by_the_id(run: Runner, module: str) -> None:
    made = run(module, **SIMPLE[module])
    answer = good(run(module, id=made["id"], name="Renamed"), changed=True)
    assert answer["id"] == made["id"]
    assert '"Renamed"' in answer["diff"][0]["after"]
    assert json.dumps(SIMPLE[module]["name"]) in answer["diff"][0]["before"]
    good(run(module, id=made["id"], name="Renamed"), changed=False)


@each_module
def test_two_of_one_name_are_refused_with_their_ids(run: Runner, module: str) -> None:
    first = run(module, **SIMPLE[module])["id"]
    other: dict[str, Any] = (
        {**SIMPLE[module], "target": SECRET + "2"} if module == "uptimerobot_integration" else SIMPLE[module]
    )
    if module == "uptimerobot_alert_contact":
        other = {**other, "email": "other@example.com"}
    good(run(module, **{**other, "name": "Another"}), changed=True)
    by_name: dict[str, Any] = {key: value for key, value in SIMPLE[module].items() if key != "email"}
    second = run(module, **{**other, "name": "Another"})["id"]
    good(run(module, id=second, name=SIMPLE[module]["name"]), changed=True)
    for state in ("present", "absent"):
        answer, asked = run.counted(module, **by_name, state=state)
        assert f"2 have this name (ids {first}, {second})" in refused(answer)
        assert writes(asked) == []
    good(run(module, id=first, **by_name), changed=False)


@each_module
def test_an_id_that_the_account_does_not_have(run: Runner, module: str) -> None:
    words = refused(run(module, id=77, **SIMPLE[module]))
    assert "id is 77, but the account has no" in words
    assert "leave id out" in words
    good(run(module, id=77, state="absent"), changed=False)


@each_module
@pytest.mark.parametrize("state", ["present", "absent"])
def test_an_object_of_another_account(run: Runner, module: str, state: str) -> None:
    number = run.emulator.add_foreign()
    words = refused(run(module, id=number, **SIMPLE[module], state=state))
    assert re.fullmatch(rf"id is {number}: this .* belongs to another account than api_key does; [^\n]*", words)
    assert run.emulator.writes == []


@each_module
def test_a_read_only_key_may_look(run: Runner, module: str) -> None:
    would = run(module, **SIMPLE[module], api_key=READ_ONLY_KEY, check=True)
    good(would, changed=True)
    words = refused(run(module, **SIMPLE[module], api_key=READ_ONLY_KEY))
    assert "The key may only read" in words
    assert READ_ONLY_KEY not in run.output
    good(run(module, **SIMPLE[module]), changed=True)
    good(run(module, **SIMPLE[module], api_key=READ_ONLY_KEY), changed=False)


@each_module
def test_a_wrong_key(run: Runner, module: str) -> None:
    words = refused(run(module, **SIMPLE[module], api_key="u9-wrong"))
    assert "does not know the key" in words
    assert "u9-wrong" not in run.output


@each_module
@pytest.mark.parametrize(
    "quirk",
    [
        "eventual", "html_escaped", "string_ids", "number_ids", "empty_last_page", "plain_429", "reset_epoch",
        "reset_delta", "no_retry_after", "case_folded_headers", "upper_tags", "list_messages",
    ],
)  # fmt: skip
def test_a_second_run_changes_nothing_with_each_quirk(run: Runner, module: str, quirk: str) -> None:
    run.emulator.quirks = frozenset({quirk})
    good(run(module, **SIMPLE[module]), changed=True)
    good(run(module, **SIMPLE[module]), changed=False)
    number = run(module, **SIMPLE[module])["id"]
    good(run(module, id=number, name="Renamed & moved"), changed=True)
    good(run(module, id=number, name="Renamed & moved"), changed=False)
    good(run(module, id=number, state="absent"), changed=True)
    good(run(module, id=number, state="absent"), changed=False)


@each_module
def test_a_creation_that_failed_after_all_is_found_by_the_next_run(
    run: Runner, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UptimeRobot made it and answered with an error: it is not sent again, and the next run finds it."""
    name = f"POST {PATHS[module]}"
    create = HANDLERS[name]

    def made_and_failed(emulator: UptimeRobotEmulator, call: Any) -> tuple[int, Any]:
        create(emulator, call)
        raise RefusedError(502, "Bad Gateway")

    monkeypatch.setitem(cast(dict[str, Any], HANDLERS), name, made_and_failed)
    answer, asked = run.counted(module, **SIMPLE[module])
    assert "may have been made all the same: run the task again" in refused(answer)
    assert len(writes(asked)) == 1
    good(run(module, **SIMPLE[module]), changed=False)


@each_module
@pytest.mark.parametrize("name", [" Team", "Team ", "A &amp; B"])
def test_a_name_that_would_read_back_otherwise(run: Runner, module: str, name: str) -> None:
    answer, asked = run.counted(module, **{**SIMPLE[module], "name": name})
    assert f"name is {name!r}; it must have no space around it and no HTML entity" in refused(answer)
    assert asked == []


# Integrations


def test_integration_of_each_type(run: Runner) -> None:
    code = loaded("uptimerobot_integration")
    for kind, service in code.SERVICES.items():
        item: dict[str, Any] = {"name": f"An {kind}", "type": kind, "notifications": "down", "expiry_reminders": True}
        if service.target:
            item["target"] = PAGERDUTY_KEY if kind == "pagerduty" else f"https://hooks.example.com/{kind}?a=1&b=2"
        if service.message:
            item["message"] = "See the wiki"
        good(run("uptimerobot_integration", **item), changed=True)
        good(run("uptimerobot_integration", **item), changed=False)
        answer = good(run("uptimerobot_integration", **{**item, "notifications": "none"}), changed=True)
        assert answer["actions"] == [f"changed notifications of integration An {kind}"]
        assert answer["integration"]["type"] == kind
    assert len(run.emulator.integrations) == len(code.SERVICES)


def test_integration_name_and_type_are_the_identity(run: Runner) -> None:
    good(run("uptimerobot_integration", **SLACK), changed=True)
    good(run("uptimerobot_integration", name="Team", type="discord", target=SECRET), changed=True)
    good(run("uptimerobot_integration", **SLACK), changed=False)
    assert "2 have this name" in refused(run("uptimerobot_integration", name="Team", notifications="down"))


def test_integration_target_changes_and_is_never_shown(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    good(run("uptimerobot_integration", **SLACK), changed=True)
    answer = good(run("uptimerobot_integration", **{**SLACK, "target": SECRET + "-new"}), changed=True)
    assert answer["actions"] == ["changed target of integration Team"]
    assert "********" in answer["diff"][0]["before"]
    assert only(run.emulator.integrations)["data"]["webhookURL"] == SECRET + "-new"
    assert only(run.emulator.integrations)["data"]["customValue"] == SLACK["message"], "the rest stays"
    assert "correct-horse" not in run.output

    # Nor when the service says what it was given.
    def echoes(_emulator: UptimeRobotEmulator, call: Any) -> tuple[int, Any]:
        raise RefusedError(400, f"webhookURL {call.body['data']['webhookURL']} is bad")

    monkeypatch.setitem(cast(dict[str, Any], HANDLERS), "PATCH /integrations/{id}", echoes)
    words = refused(run("uptimerobot_integration", **SLACK))
    assert "webhookURL ******** is bad" in words
    assert "correct-horse" not in words


@pytest.mark.parametrize("kind", ["pagerduty", "pushover", "pushbullet"])
def test_integration_target_that_nobody_tells(run: Runner, kind: str) -> None:
    item: dict[str, Any] = {"name": "Mine", "type": kind, "target": PAGERDUTY_KEY}
    good(run("uptimerobot_integration", **item), changed=True)
    other: dict[str, Any] = {**item, "target": PAGERDUTY_KEY + "2"}
    good(run("uptimerobot_integration", **other), changed=False)
    answer = good(run("uptimerobot_integration", **other, update_target="always"), changed=True)
    assert answer["actions"] == ["changed target of integration Mine"]
    assert PAGERDUTY_KEY + "2" in only(run.emulator.integrations)["data"].values()
    good(run("uptimerobot_integration", **other, update_target="always"), changed=True)
    assert PAGERDUTY_KEY not in run.output


def test_integration_target_that_another_one_has(run: Runner) -> None:
    number = run("uptimerobot_integration", **SLACK)["id"]
    answer, asked = run.counted("uptimerobot_integration", **{**SLACK, "name": "Second"})
    words = refused(answer)
    assert f"integration Team (id {number}) has the same target already" in words
    assert writes(asked) == []
    assert "correct-horse" not in words


def test_integration_conflict_that_only_the_service_sees(run: Runner) -> None:
    item: dict[str, Any] = {"name": "Mine", "type": "pushover", "target": "user-key-1"}
    good(run("uptimerobot_integration", **item), changed=True)
    words = refused(run("uptimerobot_integration", **{**item, "name": "Second"}))
    assert "HTTP 409" in words
    assert "under another name" in words


def test_integration_of_pagerduty(run: Runner) -> None:
    item: dict[str, Any] = {
        "name": "P",
        "type": "pagerduty",
        "target": PAGERDUTY_KEY,
        "location": "eu",
        "auto_resolve": True,
    }
    good(run("uptimerobot_integration", **item), changed=True)
    good(run("uptimerobot_integration", **item), changed=False)
    answer = good(run("uptimerobot_integration", **{**item, "auto_resolve": False}), changed=True)
    assert answer["actions"] == ["changed auto_resolve of integration P"]
    good(run("uptimerobot_integration", **{**item, "auto_resolve": False}), changed=False)
    good(run("uptimerobot_integration", **{**item, "auto_resolve": False, "location": "us"}), changed=True)


@pytest.mark.parametrize("plan", ["free", "solo"])
def test_integration_of_pagerduty_not_on_the_plan(plan: str, request: pytest.FixtureRequest) -> None:
    run: Runner = request.getfixturevalue(plan)
    words = refused(run("uptimerobot_integration", name="P", type="pagerduty", target=PAGERDUTY_KEY))
    assert f"the account's plan {plan.capitalize()} has no integrations of this type" in words
    assert run.emulator.writes == []


def test_integration_webhook(run: Runner) -> None:
    item: dict[str, Any] = {
        "name": "Log",
        "type": "webhook",
        "target": "https://incidents.example.com/uptime",
        "post_value": {"monitor": "*monitorFriendlyName*", "a": 1},
        "send_as": ["json"],
        "custom_headers": {"X-Token": PASSWORD},
    }
    good(run("uptimerobot_integration", **item), changed=True)
    good(run("uptimerobot_integration", **item), changed=False)
    answer = good(run("uptimerobot_integration", **{**item, "send_as": ["json", "query_string"]}), changed=True)
    assert answer["actions"] == ["changed send_as of integration Log"]
    data = only(run.emulator.integrations)["data"]
    assert json.loads(data["postValue"]) == item["post_value"], "both are one field and go together"
    assert (data["sendAsJSON"], data["sendAsQueryString"], data["sendAsPostParameters"]) == (True, True, False)
    good(run("uptimerobot_integration", **{**item, "custom_headers": {"X-Token": PASSWORD + "2"}}), changed=True)
    good(run("uptimerobot_integration", **{**item, "send_as": [], "custom_headers": {}}), changed=True)
    good(run("uptimerobot_integration", **{**item, "send_as": [], "custom_headers": {}}), changed=False)
    assert PASSWORD not in run.output


def test_webhook_settings_in_both_forms() -> None:
    code = loaded("uptimerobot_integration")
    as_json = {"customValue": json.dumps({"postValue": {"b": 1, "a": 2}, "sendJSON": 1, "sendQuery": "false"})}
    assert code.webhook_settings(as_json) == {"post_value": '{"a": 2, "b": 1}', "send_as": ["json"]}
    fields = {"customValue": '{"b": 1, "a": 2}', "customValue2": "false", "customValue3": "true"}
    assert code.webhook_settings(fields) == {"post_value": '{"a": 2, "b": 1}', "send_as": ["json"]}
    assert code.webhook_settings({"customValue": "a=1"}) == {"post_value": "a=1", "send_as": []}


def test_headers_whose_case_the_service_changes() -> None:
    code = loaded("uptimerobot_integration")
    told = {"type": "Webhook", "customHeaders": {"x-token": "t"}}
    assert code.own_settings("webhook", told)["custom_headers"] == code.headers({"X-Token": "t"})


def test_numbers_for_words() -> None:
    """Older objects are told by numbers."""
    code = loaded("uptimerobot_integration")
    assert code.type_of({"type": 11}) == "slack"
    assert code.type_of({"type": "MS Teams"}) == "msteams"
    assert [code.events(number) for number in (0, "1", 2, "None")] == ["up_and_down", "down", "up", "none"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"type": "zapier", "message": "x"}, "message is not for type zapier; it is for slack, googlechat, discord"),
        ({"type": "slack", "location": "eu"}, "location is not for type slack; it is for pagerduty"),
        ({"type": "pagerduty", "target": "short"}, "target has 5 characters; an integration key of PagerDuty has 32"),
        ({"name": "x" * 61}, "UptimeRobot allows 60 characters"),
        ({"target": None}, "target is needed to make one of type slack"),
        ({"type": None}, "name and type are needed to make it"),
    ],
)
def test_integration_bad_input(run: Runner, given: dict[str, Any], words: str) -> None:
    item: dict[str, Any] = {**SLACK, **given}
    if "type" in given and "message" not in given:
        del item["message"]
    assert words in refused(run("uptimerobot_integration", **item))
    assert run.emulator.writes == []


def test_integration_type_stays(run: Runner) -> None:
    number = run("uptimerobot_integration", **SLACK)["id"]
    words = refused(run("uptimerobot_integration", id=number, type="discord", message="x"))
    assert "type cannot be changed once it is made" in words
    assert "location is not for its type, slack" in refused(run("uptimerobot_integration", id=number, location="eu"))


def test_settings_that_creation_did_not_keep(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """UptimeRobot may make an integration with its own defaults; what it answers tells, and is changed at once."""
    create = HANDLERS["POST /integrations"]

    def forgetful(emulator: UptimeRobotEmulator, call: Any) -> tuple[int, Any]:
        del call.body["data"]["enableNotificationsFor"]
        return create(emulator, call)

    monkeypatch.setitem(cast(dict[str, Any], HANDLERS), "POST /integrations", forgetful)
    answer, asked = run.counted("uptimerobot_integration", **SLACK, notifications="none")
    assert good(answer, changed=True)["integration"]["notifications"] == "none"
    assert [method for method, _ in writes(asked)] == ["POST", "PATCH"]


def test_settings_that_creation_does_not_take(run: Runner) -> None:
    answer, asked = run.counted("uptimerobot_alert_contact", **CONTACT, expiry_reminders=True)
    assert good(answer, changed=True)["contact"]["expiry_reminders"] is True
    assert [method for method, _ in writes(asked)] == ["POST", "PATCH"]
    good(run("uptimerobot_alert_contact", **CONTACT, expiry_reminders=True), changed=False)


def test_reminders_are_not_on_the_free_plan(free: Runner) -> None:
    for module in ("uptimerobot_integration", "uptimerobot_alert_contact"):
        words = refused(free(module, **SIMPLE[module], expiry_reminders=True))
        assert "expiry_reminders is true, and the account's plan Free has none" in words
        good(free(module, **SIMPLE[module], expiry_reminders=False), changed=True)
    assert len(free.emulator.writes) == 2


# Contacts


def test_contact_by_its_address(run: Runner) -> None:
    made = good(run("uptimerobot_alert_contact", **CONTACT), changed=True)
    assert made["contact"]["status"] == "not_activated"
    assert made["contact"]["type"] == "email"
    good(run("uptimerobot_alert_contact", email="oncall@EXAMPLE.com"), changed=False)
    answer = good(run("uptimerobot_alert_contact", email="oncall@example.com", name="Watch"), changed=True)
    assert answer["id"] == made["id"]


def test_contact_rests_and_wakes(run: Runner) -> None:
    number = run.emulator.add_contact("MobileApp", "Phone", "token-of-a-phone")
    good(run("uptimerobot_alert_contact", name="Phone", active=True), changed=False)
    answer = good(run("uptimerobot_alert_contact", name="Phone", active=False), changed=True)
    assert answer["contact"]["status"] == "paused"
    assert answer["id"] == number
    good(run("uptimerobot_alert_contact", name="Phone", active=False), changed=False)
    good(run("uptimerobot_alert_contact", name="Phone", active=True), changed=True)
    assert "token-of-a-phone" not in run.output


def test_contact_that_is_not_confirmed_cannot_be_activated(run: Runner) -> None:
    for changed in (True, False):
        answer = good(run("uptimerobot_alert_contact", **CONTACT, active=True), changed=changed)
        assert "has confirmed it in the message" in json.dumps(answer["warnings"])


def test_contact_bad_input(run: Runner) -> None:
    assert "email is 'nobody'" in refused(run("uptimerobot_alert_contact", email="nobody"))
    assert "only an e-mail contact can be created" in refused(run("uptimerobot_alert_contact", name="Phone of Lou"))
    number = run("uptimerobot_alert_contact", **CONTACT)["id"]
    words = refused(run("uptimerobot_alert_contact", id=number, email="new@example.com"))
    assert "email cannot be changed once it is made" in words
    assert "one of the following is required: id, email, name" in refused(run("uptimerobot_alert_contact"))


# Status pages


def test_page_with_monitors_by_name_and_id(run: Runner) -> None:
    first, second, third = (run.emulator.add_monitor(friendlyName=name) for name in ("Shop", "API", "42"))
    made = good(run("uptimerobot_status_page", **PAGE, monitors=["Shop", str(second)]), changed=True)
    page = only(run.emulator.psps)
    assert page["monitorIds"] == sorted([first, second])
    assert made["public_url"] == f"https://stats.uptimerobot.com/{page['urlKey']}"
    assert '"Shop"' in made["diff"][0]["after"]
    good(run("uptimerobot_status_page", **PAGE, monitors=["API", "Shop", "API"]), changed=False)
    answer = good(run("uptimerobot_status_page", **PAGE, monitors=["42"]), changed=True)
    assert page["monitorIds"] == [third], "a name comes before an id"
    assert answer["actions"] == ["changed monitors of status page Shop & more"]
    good(run("uptimerobot_status_page", **PAGE, monitors=[]), changed=True)
    good(run("uptimerobot_status_page", **PAGE, monitors=[]), changed=False)
    # Who names no monitors leaves them alone.
    good(run("uptimerobot_status_page", **PAGE, monitors=["Shop"]), changed=True)
    answer, asked = run.counted("uptimerobot_status_page", **PAGE)
    good(answer, changed=False)
    assert asked == [("GET", "/psps")]


@pytest.mark.parametrize("quirk", ["", "null_psp_monitors", "eventual"])
def test_page_for_all_monitors_and_back(run: Runner, quirk: str) -> None:
    run.emulator.quirks = frozenset({quirk} - {""})
    number = run.emulator.add_monitor(friendlyName="Shop")
    steps: list[tuple[dict[str, Any], list[int]]] = [
        ({"all_monitors": True}, [0]),
        ({"monitors": ["Shop"]}, [number]),
        ({"all_monitors": True}, [0]),
        ({"all_monitors": False}, []),
    ]
    for given, ids in steps:
        good(run("uptimerobot_status_page", **PAGE, **given), changed=True)
        assert only(run.emulator.psps)["monitorIds"] == ids
        good(run("uptimerobot_status_page", **PAGE, **given), changed=False)


def test_page_with_tags(run: Runner) -> None:
    run.emulator.quirks = frozenset({"upper_tags"})
    run.emulator.add_monitor(friendlyName="Shop", tagNames=["shop", "production"])
    good(run("uptimerobot_status_page", **PAGE, tags=["Shop", "production"]), changed=True)
    assert sorted(only(run.emulator.psps)["tagIds"]) == sorted(run.emulator.tags)
    good(run("uptimerobot_status_page", **PAGE, tags=["production", "shop"]), changed=False)
    words = refused(run("uptimerobot_status_page", **PAGE, tags=["prodution"]))
    assert "tags names the tag 'prodution', but the account has no such tag" in words
    assert "did you mean 'production'?" in words


def test_page_with_unknown_and_ambiguous_monitors(run: Runner) -> None:
    ids = [run.emulator.add_monitor(friendlyName="Twin") for _ in range(2)]
    run.emulator.add_monitor(friendlyName="Shop API")
    words = refused(run("uptimerobot_status_page", **PAGE, monitors=["Twin"]))
    assert f"2 monitors have this name (ids {ids[0]}, {ids[1]})" in words
    words = refused(run("uptimerobot_status_page", **PAGE, monitors=["Shop APi"]))
    assert "no monitor of this name or id; did you mean 'Shop API'?" in words
    foreign = run.emulator.add_foreign()
    assert f"monitors names '{foreign}'" in refused(run("uptimerobot_status_page", **PAGE, monitors=[str(foreign)]))
    assert run.emulator.writes == []
    answer = good(run("uptimerobot_status_page", **PAGE, monitors=["Shop APi"], check=True), changed=True)
    assert "would make" in json.dumps(answer["warnings"]), "an earlier task of the run may be about to make it"
    assert run.emulator.writes == []


def test_page_password(run: Runner) -> None:
    good(run("uptimerobot_status_page", **PAGE), changed=True)
    answer = good(run("uptimerobot_status_page", **PAGE, password=PASSWORD), changed=True)
    assert answer["actions"] == ["changed password of status page Shop & more"]
    assert only(run.emulator.psps)["password"] == PASSWORD
    good(run("uptimerobot_status_page", **PAGE, password=OTHER_PASSWORD), changed=False)
    answer = run("uptimerobot_status_page", **PAGE, password=OTHER_PASSWORD, update_password="always")  # noqa: S106
    good(answer, changed=True)
    assert only(run.emulator.psps)["password"] == OTHER_PASSWORD
    assert PASSWORD not in run.output
    assert OTHER_PASSWORD not in run.output
    assert "password is empty" in refused(run("uptimerobot_status_page", **PAGE, password=""))


def test_page_look(run: Runner) -> None:
    look: dict[str, Any] = {
        "theme": "dark",
        "layout": "logo_on_center",
        "density": "compact",
        "font": "Inter",
        "colors": {"main": "#1a7f37", "link": "ABC"},
        "features": {"show_bars": True, "show_monitor_url": False},
        "sort": "down_first",
        "no_index": True,
        "hide_powered_by": True,
        "subscriptions": True,
    }
    good(run("uptimerobot_status_page", **PAGE, **look), changed=True)
    good(run("uptimerobot_status_page", **PAGE, **look), changed=False)
    answer = good(run("uptimerobot_status_page", **PAGE, features={"show_bars": False}), changed=True)
    assert answer["status_page"]["features"]["show_monitor_url"] is False, "the rest of the look stays"
    assert answer["status_page"]["colors"] == {"main": "1A7F37", "text": "", "link": "ABC"}
    assert (answer["status_page"]["theme"], answer["status_page"]["font"]) == ("dark", "Inter")
    assert '"show_bars": true' in answer["diff"][0]["before"]
    assert "show_monitor_url" not in answer["diff"][0]["before"], "nobody asserts that"
    good(run("uptimerobot_status_page", **PAGE, published=False), changed=True)
    good(run("uptimerobot_status_page", **PAGE, published=False), changed=False)
    assert only(run.emulator.psps)["status"] == "PAUSED"


def test_page_domain(run: Runner, free: Runner) -> None:
    good(run("uptimerobot_status_page", **PAGE, custom_domain="status.example.com"), changed=True)
    good(run("uptimerobot_status_page", **PAGE, custom_domain="status.example.com"), changed=False)
    good(run("uptimerobot_status_page", **PAGE, custom_domain=""), changed=True)
    good(run("uptimerobot_status_page", **PAGE, custom_domain=""), changed=False)
    words = refused(free("uptimerobot_status_page", **PAGE, custom_domain="status.example.com"))
    assert "custom_domain is 'status.example.com', and the account's plan Free has none" in words
    assert free.emulator.writes == []


def test_page_beyond_the_plan(free: Runner) -> None:
    number = good(free("uptimerobot_status_page", **PAGE), changed=True)["id"]
    for check in (True, False):
        words = refused(free("uptimerobot_status_page", name="Second", check=check))
        assert f"the account's plan Free has 1 status page, and there is Shop & more (id {number})" in words
    assert len(free.emulator.writes) == 1


def test_page_announcements(run: Runner) -> None:
    news: dict[str, Any] = {
        "title": "Update <tonight> & tomorrow",
        "content": "The shop is closed.",
        "type": "maintenance",
        "status": "published",
        "start": "2026-12-31T23:00:00+01:00",
        "end": "2026-12-31T23:59:00Z",
        "pinned": True,
    }
    made = good(run("uptimerobot_status_page", **PAGE, announcements=[news]), changed=True)
    assert made["actions"] == [
        "created status page Shop & more",
        "created announcement Update <tonight> & tomorrow",
    ]
    item = only(run.emulator.announcements)
    assert (item["status"], item["type"], item["startDate"]) == ("Published", "Maintenance", "2026-12-31T22:00:00Z")
    assert only(run.emulator.psps)["pinnedAnnouncementId"] == item["id"]
    good(run("uptimerobot_status_page", **PAGE, announcements=[news]), changed=False)
    over: dict[str, Any] = {**news, "status": "archived", "pinned": False}
    would, asked = run.counted("uptimerobot_status_page", **PAGE, announcements=[over], check=True)
    assert writes(asked) == []
    answer = good(run("uptimerobot_status_page", **PAGE, announcements=[over]), changed=True)
    assert would["actions"] == answer["actions"] == ["changed pinned, status of announcement " + news["title"]]
    assert only(run.emulator.psps)["pinnedAnnouncementId"] is None
    good(run("uptimerobot_status_page", **PAGE, announcements=[over]), changed=False)
    assert len(run.emulator.announcements) == 1


def test_page_announcements_settle(run: Runner) -> None:
    run.emulator.quirks = frozenset({"eventual"})
    for _ in range(2):
        run("uptimerobot_status_page", **PAGE, announcements=[{"title": "News", "content": "x"}])
    assert len(run.emulator.announcements) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"all_monitors": True, "monitors": ["x"]}, "all_monitors is true, so monitors must be left out"),
        ({"colors": {"main": "green"}}, "colors.main is 'green'; it must be hexadecimal digits like #1A7F37"),
        ({"announcements": [{"title": "a", "start": "tomorrow"}]}, "start is 'tomorrow'; it must be like 2026-12-31T"),
        ({"announcements": [{"title": "a", "end": "2026-12-31T22:00:00"}]}, "end is '2026-12-31T22:00:00'; it must be"),
        ({"announcements": [{"title": "a"}, {"title": "a"}]}, "has the title 'a' more than once"),
        ({"announcements": [{"title": t, "pinned": True} for t in "ab"]}, "announcements pins more than one"),
        ({"announcements": [{"title": "a", "content": "x" * 2001}]}, "content has 2001 characters of 2000"),
        ({"theme": "pink"}, "value of theme must be one of: light, dark"),
    ],
)
def test_page_bad_input(run: Runner, given: dict[str, Any], words: str) -> None:
    answer, asked = run.counted("uptimerobot_status_page", **PAGE, **given)
    assert words in refused(answer)
    assert asked == []


# Maintenance windows


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"interval": "daily", "time": "02:30"}, {"interval": "daily", "time": "02:30:00", "days": []}),
        ({"interval": "weekly", "time": "02:30:15", "days": ["tue", "Thursday", "7"]}, {"days": [2, 4, 7]}),
        ({"interval": "monthly", "time": "00:00", "days": ["1", "last"]}, {"days": [-1, 1]}),
        ({"interval": "once", "date": "2030-12-15", "time": "01:00"}, {"date": "2030-12-15", "time": "01:00:00"}),
        ({"interval": "once"}, {"interval": "once"}),
    ],
)
def test_window_of_each_interval(run: Runner, given: dict[str, Any], stored: dict[str, Any]) -> None:
    item: dict[str, Any] = {"name": "Work", "duration": "90m", **given}
    made = good(run("uptimerobot_maintenance_window", **item), changed=True)
    window = only(run.emulator.windows)
    assert {key: window[key] for key in stored} == stored
    assert window["duration"] == 90
    good(run("uptimerobot_maintenance_window", **item), changed=False)
    answer = good(run("uptimerobot_maintenance_window", **{**item, "duration": "2h"}), changed=True)
    assert answer["actions"] == ["changed duration of maintenance window Work"]
    assert answer["id"] == made["id"]
    assert answer["window"]["duration"] == 120


def test_window_from_weekly_to_daily(run: Runner) -> None:
    good(run("uptimerobot_maintenance_window", **{**NIGHTLY, "interval": "weekly", "days": ["mon"]}), changed=True)
    good(run("uptimerobot_maintenance_window", **NIGHTLY), changed=True)
    assert only(run.emulator.windows)["days"] == []
    good(run("uptimerobot_maintenance_window", **NIGHTLY), changed=False)


def test_window_from_now_on(run: Runner) -> None:
    item: dict[str, Any] = {"name": "Update", "interval": "once", "duration": "2h"}
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    good(run("uptimerobot_maintenance_window", **item), changed=True)
    window = only(run.emulator.windows)
    opened = datetime.fromisoformat(f"{window['date']}T{window['time']}+00:00")
    assert before <= opened <= datetime.now(UTC)
    good(run("uptimerobot_maintenance_window", **item), changed=False)
    # It has been over for a while: the same task opens it anew.
    past = opened - timedelta(hours=3)
    window.update(date=past.date().isoformat(), time=past.time().isoformat())
    answer = good(run("uptimerobot_maintenance_window", **item), changed=True)
    assert "time" in answer["actions"][0]
    assert datetime.fromisoformat(f"{window['date']}T{window['time']}+00:00") >= opened
    # One with a time of its own is never moved.
    window.update(date="2020-01-01", time="10:00:00")
    good(run("uptimerobot_maintenance_window", **item, date="2020-01-01", time="10:00"), changed=False)
    good(run("uptimerobot_maintenance_window", **item, time="10:00"), changed=False)


def test_window_for_monitors_and_tags(run: Runner) -> None:
    shop = run.emulator.add_monitor(friendlyName="Shop", tagNames=["shop"])
    cart = run.emulator.add_monitor(friendlyName="Cart", tagNames=["shop"])
    blog = run.emulator.add_monitor(friendlyName="Blog")
    good(run("uptimerobot_maintenance_window", **NIGHTLY, monitors=["Blog"], tags=["Shop"]), changed=True)
    assert sorted(only(run.emulator.windows)["monitorIds"]) == sorted([shop, cart, blog])
    good(run("uptimerobot_maintenance_window", **NIGHTLY, monitors=["Blog"], tags=["shop"]), changed=False)
    answer = good(run("uptimerobot_maintenance_window", **NIGHTLY, tags=["shop"]), changed=True)
    assert answer["actions"] == ["changed monitors of maintenance window Backup"]
    words = refused(run("uptimerobot_maintenance_window", **NIGHTLY, tags=["shpo"]))
    assert "tags names the tag 'shpo', but no monitor has it" in words
    assert "monitors names 'Bolg'" in refused(run("uptimerobot_maintenance_window", **NIGHTLY, monitors=["Bolg"]))


def test_window_for_all_is_made_anew(run: Runner) -> None:
    run.emulator.add_monitor(friendlyName="Shop")
    first = good(run("uptimerobot_maintenance_window", **NIGHTLY, monitors=["Shop"]), changed=True)["id"]
    would, asked = run.counted("uptimerobot_maintenance_window", name="Backup", all_monitors=True, check=True)
    assert writes(asked) == []
    answer, asked = run.counted("uptimerobot_maintenance_window", name="Backup", all_monitors=True)
    good(answer, changed=True)
    assert would["actions"] == answer["actions"]
    assert "by a new one in its place" in answer["actions"][0]
    assert [method for method, _ in writes(asked)] == ["POST", "DELETE"]
    window = only(run.emulator.windows)
    assert window["id"] == answer["id"] != first
    assert (window["autoAddMonitors"], window["duration"], window["time"]) == (True, 45, "02:30:00")
    good(run("uptimerobot_maintenance_window", **NIGHTLY, all_monitors=True), changed=False)
    good(run("uptimerobot_maintenance_window", **NIGHTLY, monitors=["Shop"]), changed=True)
    good(run("uptimerobot_maintenance_window", **NIGHTLY, monitors=["Shop"]), changed=False)


def test_window_pauses(run: Runner) -> None:
    good(run("uptimerobot_maintenance_window", **NIGHTLY, state="paused"), changed=True)
    assert only(run.emulator.windows)["status"] == "paused"
    good(run("uptimerobot_maintenance_window", **NIGHTLY, state="paused"), changed=False)
    answer = good(run("uptimerobot_maintenance_window", **NIGHTLY), changed=True)
    assert answer["actions"] == ["changed paused of maintenance window Backup"]
    assert only(run.emulator.windows)["status"] == "active"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"duration": "soon"}, "duration is 'soon'; it must be a number of minutes, or like 90m or 2h"),
        ({"duration": "0"}, "duration is '0'"),
        ({"time": "25:00"}, "time is '25:00'; it must be a time of day like 22:30"),
        ({"date": "31.12.2026"}, "date is '31.12.2026'; it must be a day like 2026-12-31"),
        ({"interval": "weekly", "days": ["someday"]}, "days holds 'someday'; with interval weekly it takes mon to sun"),
        ({"interval": "monthly", "days": ["32"]}, "days holds '32'; with interval monthly it takes 1 to 31, or last"),
        ({"days": ["mon"]}, "days is for interval weekly or monthly, and interval is daily"),
        ({"name": "ab"}, "UptimeRobot allows 3 to 255 characters"),
        ({"all_monitors": True, "tags": ["x"]}, "all_monitors is true, so monitors and tags must be left out"),
        ({"interval": "weekly"}, "days needed to make it"),
        ({"interval": None, "time": None}, "interval needed to make it"),
        ({"time": None}, "time needed to make it"),
        ({"duration": None, "interval": "once", "date": "2030-01-01", "time": None}, "duration, time needed"),
    ],
)
def test_window_bad_input(run: Runner, given: dict[str, Any], words: str) -> None:
    assert words in refused(run("uptimerobot_maintenance_window", **{**NIGHTLY, **given}))
    assert run.emulator.writes == []


# Facts


def test_info_of_everything(run: Runner) -> None:
    emulator = run.emulator
    emulator.quirks = frozenset({"html_escaped", "string_ids"})
    emulator.add_monitor(friendlyName="Shop & Co", tagNames=["shop"], httpPassword=PASSWORD, httpUsername="u")
    emulator.add_monitor(friendlyName="Beat", type="HEARTBEAT", interval=300)
    emulator.add_integration("Slack", "Team", webhookURL=SECRET, customValue="")
    emulator.add_contact("Email", "Me", "me@example.com")
    emulator.add_contact("MobileApp", "Phone", "token-of-a-phone")
    emulator.add_psp("Status")
    emulator.add_group("Group")
    everything = loaded("uptimerobot_info").ARGUMENTS["gather"]["choices"]
    answer = run("uptimerobot_info", gather=everything, api_key=READ_ONLY_KEY)
    assert not answer.get("failed"), answer
    assert answer["changed"] is False
    assert answer["account"]["plan"] == "Team"
    assert answer["account"]["monitor_count"] == 2
    assert answer["account"]["monitor_limit"] == 100
    assert [one["friendlyName"] for one in answer["monitors"]] == ["Beat", "Shop & Co"]
    assert [one["friendlyName"] for one in answer["integrations"]] == ["Team"]
    assert [one.get("value") for one in answer["contacts"]] == ["me@example.com", None]
    assert answer["status_pages"][0]["public_url"].startswith("https://stats.uptimerobot.com/")
    assert answer["tags"][0]["name"] == "shop"
    assert [one["name"] for one in answer["groups"]][-1] == "Group"
    assert answer["maintenance_windows"] == []
    assert answer["probe_addresses"] == {"ipv4": ["192.0.2.10/32", "198.51.100.0/28"], "ipv6": ["2001:db8:1::/48"]}
    assert answer["requests"] == len(everything)
    heartbeat = next(one["url"] for one in emulator.monitors.values() if one["type"] == "HEARTBEAT")
    for secret in (PASSWORD, "correct-horse", "token-of-a-phone", heartbeat, "-key"):
        assert secret not in json.dumps({key: value for key, value in answer.items() if key != "invocation"}), secret


def test_info_asks_for_nothing_else(run: Runner) -> None:
    answer, asked = run.counted("uptimerobot_info")
    assert set(answer) >= {"account", "requests"}
    assert asked == [("GET", "/user/me")]
    run.emulator.seed(450, tagNames=["shop"])
    run.emulator.add_monitor(friendlyName="Blog")
    answer, asked = run.counted("uptimerobot_info", gather=["monitors"], tags=["SHOP"])
    assert len(answer["monitors"]) == 450
    assert len(asked) == 3
    assert "account" not in answer


def test_info_with_a_wrong_key(run: Runner) -> None:
    assert "does not know the key" in refused(run("uptimerobot_info", api_key="u9-wrong"))
    assert "value of gather must be one or more of" in refused(run("uptimerobot_info", gather=["secrets"]))
