"""Alertmanager's configuration from the role's variables: what is written, what is refused and in which words."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.watchkeeper.receivers import ReceiverError, Rendered, render

from plugins.filter.alertmanager import FilterModule

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "alertmanager"
DEFAULTS: dict[str, Any] = {
    **yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()),
    # A template, which is empty as long as the role `uptime` has nothing to do.
    "alertmanager_watchdog_url_file": "",
}

SLACK_URL = "https://hooks.slack.example/services/T0/B0/planted-slack"
OTHER_SLACK_URL = "https://hooks.slack.example/services/T0/B0/planted-other-slack"
KEY = "plantedkey0123456789abcdefabcdef"
OTHER_KEY = "plantedother0123456789abcdefabcd"
PASSWORD = "planted-password"  # noqa: S105
SWITCH = "https://switch.example.org/planted-switch"
COMPLETE: dict[str, Any] = {
    "alertmanager_smtp_smarthost": "smtp.example.org:587",
    "alertmanager_smtp_from": "alerts@example.org",
    "alertmanager_smtp_auth_username": "apikey",
    "alertmanager_smtp_auth_password": PASSWORD,
    "alertmanager_slack_api_url": SLACK_URL,
    "alertmanager_pagerduty_routing_key": KEY,
    "alertmanager_watchdog_url": SWITCH,
    "alertmanager_receivers": [
        {"name": "default", "email": [{"to": "ops@example.org"}]},
        {
            "name": "critical",
            "email": [{"to": ["ops@example.org", "cto@example.org"]}],
            "slack": [{"channel": "#alerts-critical"}],
            "pagerduty": [{}],
        },
        {"name": "warning", "email": [{"to": "ops@example.org"}], "slack": [{"channel": "#alerts-warning"}]},
        {"name": "database-team", "email": [{"to": "dba@example.org"}]},
    ],
}


def configured(**changes: Any) -> Rendered:
    """The defaults with everything filled in, and changes on top."""
    return render(copy.deepcopy({**DEFAULTS, **COMPLETE, **changes}))


def only(*receivers: dict[str, Any], **changes: Any) -> Rendered:
    """The defaults alone, with these receivers."""
    return render(copy.deepcopy({**DEFAULTS, "alertmanager_receivers": list(receivers), **changes}))


def receiver(rendered: Rendered, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in rendered.config["receivers"] if entry["name"] == name)
    return found


def route(rendered: Rendered, position: int) -> dict[str, Any]:
    found: dict[str, Any] = rendered.config["route"]["routes"][position]
    return found


# --- the role's own files -----------------------------------------------------------------------------------------


def test_every_variable_is_described_and_its_default_mirrored() -> None:
    specification = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())
    options = specification["argument_specs"]["main"]["options"]
    assert list(options) == list(DEFAULTS)
    # A default that depends on the inventory is described in words.
    written = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    fixed = {name: value for name, value in written.items() if "{{" not in str(value)}
    assert {name: option["default"] for name, option in options.items() if "default" in option} == fixed
    assert all(option["description"] and option["type"] for option in options.values())
    hidden = [name for name, option in options.items() if option.get("no_log")]
    assert sorted(hidden) == sorted(name for name, value in COMPLETE.items() if "planted" in str(value))


def test_options_of_integrations_are_the_ones_in_the_specification() -> None:
    specification = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())
    options = specification["argument_specs"]["main"]["options"]["alertmanager_receivers"]["options"]
    for kind in ("email", "slack", "pagerduty", "webhook"):
        with pytest.raises(ReceiverError) as error:
            only({"name": "default", kind: [{"nonsense": 1}]})
        listed = str(error.value).split("Allowed: ")[1].split(". Set it")[0].split(", ")
        assert sorted(listed) == sorted(options[kind]["options"])


# --- what is written ----------------------------------------------------------------------------------------------


def test_without_a_variable_alerts_are_routed_and_nobody_is_told() -> None:
    rendered = only()
    assert rendered.secrets == {}
    assert rendered.unheard == ["default", "critical", "warning", "database-team", "watchdog"]
    switch, people = rendered.warnings
    assert switch.startswith("alertmanager_watchdog_url is not set")
    assert people.startswith("No integration: default, critical, warning, database-team.")
    assert all(list(entry) == ["name"] for entry in rendered.config["receivers"])


def test_a_complete_configuration_warns_of_nothing() -> None:
    rendered = configured()
    assert (rendered.warnings, rendered.unheard) == ([], [])


def test_critical_goes_to_email_slack_and_pagerduty_with_their_ends() -> None:
    entry = receiver(configured(), "critical")
    assert sorted(entry) == ["email_configs", "name", "pagerduty_configs", "slack_configs"]
    assert entry["email_configs"][0]["to"] == "ops@example.org, cto@example.org"
    assert entry["email_configs"][0]["headers"] == {"Subject": '{{ template "watchkeeper.subject" . }}'}
    assert entry["slack_configs"][0]["channel"] == "#alerts-critical"
    assert entry["pagerduty_configs"][0]["routing_key_file"] == "{config}/secrets/pagerduty_routing_key"
    for kind in ("email_configs", "slack_configs", "pagerduty_configs"):
        assert entry[kind][0]["send_resolved"] is True


def test_secrets_are_files_and_nowhere_else() -> None:
    rendered = configured()
    assert rendered.secrets == {
        "secrets/pagerduty_routing_key": KEY,
        "secrets/slack_api_url": SLACK_URL,
        "secrets/smtp_auth_password": PASSWORD,
        "secrets/watchdog_url": SWITCH,
    }
    assert "planted" not in json.dumps([rendered.config, rendered.checks, rendered.warnings])
    assert rendered.config["global"] == {
        "smtp_smarthost": "smtp.example.org:587",
        "smtp_require_tls": True,
        "smtp_from": "alerts@example.org",
        "smtp_auth_username": "apikey",
        "smtp_auth_password_file": "{config}/secrets/smtp_auth_password",
        "slack_api_url_file": "{config}/secrets/slack_api_url",
    }


def test_a_secret_that_no_integration_uses_stays_away_from_the_host() -> None:
    rendered = configured(alertmanager_receivers=[], alertmanager_watchdog_url="")
    assert (rendered.secrets, rendered.config["global"]) == ({}, {})


def test_an_integration_may_have_a_secret_of_its_own() -> None:
    rendered = configured(
        alertmanager_receivers=[
            {
                "name": "critical",
                "email": [{"to": "a@example.org", "auth_username": "me", "auth_password": "planted-mine"}],
                "slack": [{"channel": "#one"}, {"api_url": OTHER_SLACK_URL}],
                "pagerduty": [{"routing_key": OTHER_KEY}],
                "webhook": [{"url": "http://example.org/planted-hook", "max_alerts": 5, "timeout": "10s"}],
            }
        ]
    )
    entry = receiver(rendered, "critical")
    assert entry["email_configs"][0]["auth_password_file"].endswith("}/secrets/critical-email-0")
    assert "api_url_file" not in entry["slack_configs"][0]
    assert entry["slack_configs"][1]["api_url_file"] == "{config}/secrets/critical-slack-1"
    assert entry["webhook_configs"] == [
        {
            "send_resolved": True,
            "max_alerts": 5,
            "timeout": "10s",
            "url_file": "{config}/secrets/critical-webhook-0",
        }
    ]
    assert rendered.secrets == {
        "secrets/critical-email-0": "planted-mine",
        "secrets/critical-pagerduty-0": OTHER_KEY,
        "secrets/critical-slack-1": OTHER_SLACK_URL,
        "secrets/critical-webhook-0": "http://example.org/planted-hook",
        "secrets/slack_api_url": SLACK_URL,
        "secrets/watchdog_url": SWITCH,
    }
    # Nobody logs in with the shared account, so its password is not there.
    assert "smtp_auth_username" not in rendered.config["global"]


def test_templates_and_flags_can_be_replaced() -> None:
    rendered = configured(
        alertmanager_receivers=[
            {
                "name": "default",
                "email": [{"to": "a@example.org", "headers": {"subject": "mine"}, "send_resolved": False}],
                "slack": [{"title": "mine"}],
            }
        ]
    )
    entry = receiver(rendered, "default")
    assert entry["email_configs"][0]["headers"] == {"subject": "mine"}
    assert entry["email_configs"][0]["send_resolved"] is False
    assert entry["slack_configs"][0]["title"] == "mine"


def test_the_watchdog_has_its_webhook_only_and_no_end() -> None:
    rendered = configured()
    assert receiver(rendered, "watchdog") == {
        "name": "watchdog",
        "webhook_configs": [{"url_file": "{config}/secrets/watchdog_url", "send_resolved": False}],
    }
    first = route(rendered, 0)
    assert first["receiver"] == "watchdog"
    assert first["matchers"] == ['alertname="Watchdog"']
    assert (first["repeat_interval"], first["group_interval"]) == ("5m", "1m")
    assert "continue" not in first


def test_routes_stand_in_their_order() -> None:
    rendered = configured(
        alertmanager_routes=[
            {"name": "last but one", "order": 85, "matchers": ['team="x"'], "receiver": "default"},
            {"name": "between", "matchers": ['team="y"'], "receiver": "default", "continue": True},
            {"name": "critical", "repeat_interval": "30m"},
        ]
    )
    order = [entry.get("matchers", ["all"])[0] for entry in rendered.config["route"]["routes"]]
    assert order == [
        'alertname="Watchdog"',
        'severity="none"',
        'component="database"',
        'team="y"',
        'severity="critical"',
        'severity="warning"',
        'severity="info"',
        'team="x"',
        "all",
    ]
    assert route(rendered, 2)["continue"] is True
    assert route(rendered, 4)["repeat_interval"] == "30m"
    assert "name" not in route(rendered, 0)


def test_a_route_and_what_tests_it_can_be_removed() -> None:
    rendered = configured(
        alertmanager_routes=[{"name": "database", "state": "absent"}],
        alertmanager_receivers=[*COMPLETE["alertmanager_receivers"][:3], {"name": "database-team", "state": "absent"}],
        alertmanager_route_tests=[
            {"name": name, "state": "absent"}
            for name in ("critical database", "warning database", "database without severity")
        ],
    )
    assert "database" not in json.dumps(rendered.config["route"])
    assert "database-team" not in json.dumps([rendered.config["receivers"], rendered.checks])


def test_the_watchdog_may_have_its_webhook_in_a_file_on_the_host() -> None:
    """The file is not ours: nothing of it is written, and there is nothing to warn of."""
    rendered = configured(alertmanager_watchdog_url="", alertmanager_watchdog_url_file="/etc/switch/url")
    assert receiver(rendered, "watchdog") == {
        "name": "watchdog",
        "webhook_configs": [{"url_file": "/etc/switch/url", "send_resolved": False}],
    }
    assert "secrets/watchdog_url" not in rendered.secrets
    assert "watchdog" not in rendered.unheard
    assert not [warning for warning in rendered.warnings if "dead man" in warning]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"alertmanager_watchdog_url_file": "/etc/switch/url"}, "although alertmanager_watchdog_url is set, too"),
        (
            {"alertmanager_watchdog_url": "", "alertmanager_watchdog_url_file": "switch/url"},
            "alertmanager_watchdog_url_file is 'switch/url'. Allowed: an absolute path, or empty",
        ),
    ],
)
def test_a_file_with_the_webhook_is_one_absolute_path_and_no_second_switch(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ReceiverError) as error:
        configured(**changes)
    assert said in str(error.value)
    assert SWITCH not in str(error.value)


def test_maintenance_silences_every_route_but_the_watchdog() -> None:
    interval = {
        "name": "sunday",
        "time_intervals": [{"weekdays": ["sunday"], "times": [{"start_time": "02:00", "end_time": "24:00"}]}],
    }
    office = {"name": "office", "time_intervals": [{"weekdays": ["monday:friday"]}]}
    rendered = configured(
        alertmanager_time_intervals=[interval, office],
        alertmanager_maintenance_windows=["sunday"],
        alertmanager_routes=[
            {"name": "warning", "active_time_intervals": ["office"]},
            {"name": "info", "mute_time_intervals": ["office"]},
        ],
    )
    muted = [entry.get("mute_time_intervals") for entry in rendered.config["route"]["routes"]]
    assert muted == [None, *[["sunday"]] * 4, ["office", "sunday"], ["sunday"]]
    assert route(rendered, 4)["active_time_intervals"] == ["office"]
    assert rendered.config["time_intervals"] == [interval, office]
    assert "mute_time_intervals" not in rendered.config["route"]


def test_every_default_inhibition_demands_a_label_that_it_compares() -> None:
    rendered = configured()
    pair, host = rendered.config["inhibit_rules"]
    assert 'pair=~".+"' in pair["source_matchers"]
    assert 'pair=~".+"' in pair["target_matchers"]
    assert {"pair", "instance", "mountpoint", "device"} <= set(pair["equal"])
    assert 'alertname!~"HostDown|Watchdog"' in host["target_matchers"]
    assert 'host=~".+"' in host["target_matchers"]
    assert "host" in host["equal"]


@pytest.mark.parametrize(
    ("matcher", "warns"),
    [
        ('cluster="a"', True),
        ('instance=~".*"', True),
        ('instance=""', True),
        ('instance!~".+"', True),
        ('instance=~"("', True),
        ('instance=~".+"', False),
        ('instance="web-1"', False),
        ('instance!=""', False),
        ('instance!~"|none"', False),
    ],
)
def test_an_inhibition_of_strangers_is_pointed_out(matcher: str, warns: bool) -> None:
    rule = {
        "name": "mine",
        "source_matchers": ['severity="critical"'],
        "target_matchers": ['severity="warning"', matcher],
        "equal": ["instance"],
    }
    warnings = configured(alertmanager_inhibit_rules=[rule]).warnings
    assert [warning.startswith("alertmanager_inhibit_rules: rule 'mine' demands none") for warning in warnings] == (
        [True] if warns else []
    )


def test_a_rule_without_equal_is_taken_as_meant() -> None:
    rule = {"name": "all", "source_matchers": ['alertname="Moving"'], "target_matchers": ['severity="warning"']}
    rendered = configured(alertmanager_inhibit_rules=[rule])
    assert rendered.warnings == []
    assert rendered.config["inhibit_rules"][-1] == {key: rule[key] for key in ("source_matchers", "target_matchers")}


def test_checks_are_amtool_commands_on_the_candidate() -> None:
    rendered = configured(
        alertmanager_route_tests_default=[],
        alertmanager_route_tests=[
            {"name": "odd", "labels": {"b": 'say "hi" \\ bye', "alertname": "X"}, "receivers": ["default", "critical"]}
        ],
    )
    program = ["{release}/amtool", "--enable-feature=utf8-strict-mode"]
    assert rendered.checks == [
        [*program, "check-config", "{config}/alertmanager.yml"],
        [
            *program,
            *("config", "routes", "test"),
            "--config.file={config}/alertmanager.yml",
            "--verify.receivers=default,critical",
            'alertname="X"',
            'b="say \\"hi\\" \\\\ bye"',
        ],
    ]


def test_idle_receivers_and_short_retention_are_pointed_out() -> None:
    extra = {"name": "extra", "webhook": [{"url": "http://example.org/"}]}
    rendered = configured(
        alertmanager_receivers=[*COMPLETE["alertmanager_receivers"], extra], alertmanager_retention="12h"
    )
    idle, retention = rendered.warnings
    assert idle.startswith("No route leads to extra.")
    assert retention == "alertmanager_retention is 12h: alerts repeat after that time, not after 24h."


def test_the_variables_are_not_changed() -> None:
    settings = {**copy.deepcopy(DEFAULTS), **copy.deepcopy(COMPLETE)}
    before = copy.deepcopy(settings)
    render(settings)
    assert settings == before


def test_the_filter_gives_plain_data_and_fails_in_the_same_words() -> None:
    to_config = FilterModule().filters()["alertmanager_config"]
    rendered = to_config({**DEFAULTS, **COMPLETE})
    assert sorted(rendered) == ["checks", "config", "secrets", "unheard", "warnings"]
    assert rendered["config"] == configured().config
    with pytest.raises(AnsibleFilterError, match="alertmanager_port is 0"):
        to_config({**DEFAULTS, "alertmanager_port": 0})


@pytest.mark.parametrize(("text", "go"), [("120h", "432000000ms"), ("2d", "172800000ms"), ("0", "0ms")])
def test_flags_get_durations_without_days(text: str, go: str) -> None:
    to_go = FilterModule().filters()["go_duration"]
    assert to_go(text) == go
    with pytest.raises(AnsibleFilterError, match="not a duration"):
        to_go("2 days")


# --- what is refused ----------------------------------------------------------------------------------------------

CRITICAL: dict[str, Any] = {"name": "critical"}
EMAIL = {**CRITICAL, "email": [{"to": "a@example.org"}]}


@pytest.mark.parametrize(
    ("receivers", "variables", "parts"),
    [
        (
            [{**CRITICAL, "slack": [{"channel": "#a"}]}],
            {},
            ["alertmanager_slack_api_url is not set", "receiver 'critical': slack[0]", "Set it in the vault"],
        ),
        (
            [{**CRITICAL, "pagerduty": [{}]}],
            {},
            ["alertmanager_pagerduty_routing_key is not set", "receiver 'critical': pagerduty[0]", "32 character"],
        ),
        ([{**CRITICAL, "webhook": [{}]}], {}, ["receiver 'critical': webhook[0] has no `url`", "Set it in the vault"]),
        ([EMAIL], {}, ["alertmanager_smtp_smarthost is not set", "receiver 'critical': email[0]", "host:port"]),
        ([EMAIL], {"alertmanager_smtp_smarthost": "mail:25"}, ["alertmanager_smtp_from is not set"]),
        (
            [EMAIL],
            {
                "alertmanager_smtp_smarthost": "mail:25",
                "alertmanager_smtp_from": "a@b",
                "alertmanager_smtp_auth_username": "me",
            },
            ["alertmanager_smtp_auth_password is not set", "receiver 'critical': email[0]"],
        ),
        (
            [EMAIL],
            {
                "alertmanager_smtp_smarthost": "mail:25",
                "alertmanager_smtp_from": "a@b",
                "alertmanager_smtp_auth_password": "planted",
            },
            ["alertmanager_smtp_auth_username is not set"],
        ),
    ],
)
def test_an_integration_without_its_secret_is_refused_by_name(
    receivers: list[dict[str, Any]], variables: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(ReceiverError) as error:
        only(*receivers, **variables)
    for part in [*parts, "Allowed: ", "alertmanager_receivers"]:
        assert part in str(error.value)
    assert "planted" not in str(error.value)


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("alertmanager_slack_api_url", "planted-without-scheme", "is no URL"),
        ("alertmanager_slack_api_url", "${SLACK_WEBHOOK_URL}", "holds a placeholder"),
        ("alertmanager_slack_api_url", 5005005, "is no text"),
        ("alertmanager_pagerduty_routing_key", "planted-too-short", "17 characters"),
        ("alertmanager_pagerduty_routing_key", "$PAGERDUTY_SERVICE_KEY", "holds a placeholder"),
        ("alertmanager_smtp_auth_password", "${SMTP_PASSWORD}", "holds a placeholder"),
        ("alertmanager_watchdog_url", "planted.example.org", "is no URL"),
    ],
)
def test_a_secret_that_cannot_be_one_is_refused_and_not_shown(variable: str, value: Any, part: str) -> None:
    with pytest.raises(ReceiverError) as error:
        configured(**{variable: value})
    assert str(error.value).startswith(variable)
    assert part in str(error.value)
    assert str(value) not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "key"),
    [("slack", "api_url"), ("pagerduty", "routing_key"), ("webhook", "url"), ("email", "auth_password")],
)
def test_a_secret_of_an_integration_is_not_shown_either(kind: str, key: str) -> None:
    for value in ("planted secret", 5005005):
        options = {key: value, "to": "a@b", "auth_username": "me"} if kind == "email" else {key: value}
        if kind == "email" and isinstance(value, str):
            continue  # any text may be a password
        with pytest.raises(ReceiverError) as error:
            configured(alertmanager_receivers=[{"name": "critical", kind: [options]}])
        assert f"receiver 'critical': {kind}[0]: {key}" in str(error.value)
        assert str(value) not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"alertmanager_receivers": [{"name": "critical", "slak": [{}]}]},
            (
                "alertmanager_receivers: entry 'critical' has the unknown key 'slak' (did you mean 'slack'?). Allowed: "
                "name, state, silent, email, slack, pagerduty, webhook. Set it in the group_vars of your inventory."
            ),
        ),
        (
            {"alertmanager_receivers": [{"name": "critical", "slack": [{"chanel": "#a"}]}]},
            (
                "alertmanager_receivers: receiver 'critical': slack[0] has the unknown key 'chanel' "
                "(did you mean 'channel'?)"
            ),
        ),
        (
            {"alertmanager_receivers": [{"name": "critical", "slack": [{"channel": None}]}]},
            (
                "alertmanager_receivers: receiver 'critical': slack[0]: channel is None. Allowed: a text that is not "
                "empty, in quotes if it begins with #"
            ),
        ),
        (
            {"alertmanager_receivers": [{"name": "critical", "slack": {"channel": "#a"}}]},
            "alertmanager_receivers: receiver 'critical': slack is not a list",
        ),
        (
            {"alertmanager_receivers": [{"name": "critical", "email": [{"to": "nobody"}]}]},
            "alertmanager_receivers: receiver 'critical': email[0]: to is 'nobody'",
        ),
        (
            {"alertmanager_receivers": [{"name": "critical", "email": [{}]}]},
            "alertmanager_receivers: receiver 'critical': email[0] has no `to`",
        ),
        (
            {"alertmanager_receivers": [{"name": "critical", "email": [{"to": "a@b", "auth_username": "x"}]}]},
            "alertmanager_receivers: receiver 'critical': email[0] has only one of auth_username and auth_password",
        ),
        (
            {"alertmanager_receivers": [{"name": "critical", "webhook": [{"url": "http://a", "timeout": "10"}]}]},
            "alertmanager_receivers: receiver 'critical': webhook[0]: timeout is '10'",
        ),
        (
            {"alertmanager_receivers": [{"name": "critical", "webhook": [{"url": "http://a", "max_alerts": -1}]}]},
            "alertmanager_receivers: receiver 'critical': webhook[0]: max_alerts is -1",
        ),
        (
            {"alertmanager_receivers": [{"name": "critical", "pagerduty": [{"send_resolved": "yes"}]}]},
            "alertmanager_receivers: receiver 'critical': pagerduty[0]: send_resolved is 'yes'. Allowed: true, false",
        ),
        (
            {"alertmanager_receivers": [{"name": "critical", "pagerduty": [{"url": "events.example.org"}]}]},
            "alertmanager_receivers: receiver 'critical': pagerduty[0]: url is 'events.example.org'",
        ),
        (
            {"alertmanager_receivers": [{"name": "critical", "pagerduty": [{"details": {"a": 1}}]}]},
            "alertmanager_receivers: receiver 'critical': pagerduty[0]: details is",
        ),
        ({"alertmanager_receivers": [{"name": "a b"}]}, "alertmanager_receivers: receiver 'a b' has a name that"),
        ({"alertmanager_receivers": [{"name": "x"}, {"name": "x"}]}, "alertmanager_receivers has 'x' twice"),
        ({"alertmanager_receivers": [{}]}, "alertmanager_receivers: entry 0 has no name"),
        ({"alertmanager_receivers": ["critical"]}, "alertmanager_receivers: entry 0 is no mapping"),
        ({"alertmanager_receivers": {"name": "x"}}, "alertmanager_receivers is {'name': 'x'}. Allowed: a list"),
        (
            {"alertmanager_receivers": [{"name": "default", "state": "absent"}]},
            "alertmanager_receivers has no receiver 'default'",
        ),
        (
            {"alertmanager_receivers": [{"name": "critcal", "state": "absent"}]},
            "alertmanager_receivers names the unknown entry 'critcal' (did you mean 'critical'?)",
        ),
        (
            {"alertmanager_receivers": [{"name": "critical", "state": "gone"}]},
            "alertmanager_receivers: 'critical': state is 'gone'",
        ),
        (
            {"alertmanager_receivers": [{"name": "critical", "silent": True, "webhook": [{"url": "http://a"}]}]},
            "alertmanager_receivers: receiver 'critical' is silent and has integrations",
        ),
        (
            {"alertmanager_routes": [{"name": "mine", "matchers": ['a="b"']}]},
            "alertmanager_routes: route 'mine' has no receiver. Allowed: one of default, critical",
        ),
        (
            {"alertmanager_routes": [{"name": "mine", "matchers": ['a="b"'], "receiver": "critcal"}]},
            (
                "alertmanager_routes: route 'mine' names the unknown receiver 'critcal' (did you mean 'critical'?). "
                "Allowed: default, critical, warning, database-team, watchdog, none (from alertmanager_receivers)"
            ),
        ),
        (
            {"alertmanager_routes": [{"name": "mine", "receiver": "default"}]},
            (
                "alertmanager_routes: route 'mine' has no matchers and no `continue: true`, so the routes after it "
                "(critical, warning, info, rest) would never be reached"
            ),
        ),
        (
            {"alertmanager_routes": [{"name": "mine", "matchers": ["a=b"], "receiver": "default"}]},
            "alertmanager_routes: route 'mine': matchers has 'a=b'. Allowed: one label, one of = != =~ !~ and a value",
        ),
        (
            {"alertmanager_routes": [{"name": "mine", "matchers": 'a="b"', "receiver": "default"}]},
            "alertmanager_routes: route 'mine': matchers is 'a=\"b\"'. Allowed: a list",
        ),
        (
            {"alertmanager_routes": [{"name": "mine", "match": {}, "receiver": "default"}]},
            "alertmanager_routes: entry 'mine' has the unknown key 'match' (did you mean 'matchers'?)",
        ),
        ({"alertmanager_routes": [{"name": "info", "order": "9"}]}, "alertmanager_routes: route 'info': order is '9'"),
        (
            {"alertmanager_routes": [{"name": "info", "repeat_interval": "5 min"}]},
            "alertmanager_routes: route 'info': repeat_interval is '5 min'. Allowed: a duration such as 30s, 5m",
        ),
        (
            {"alertmanager_routes": [{"name": "info", "group_interval": "0s"}]},
            (
                "alertmanager_routes: route 'info': group_interval is '0s'. Allowed: a duration such as 30s, 5m, 1h30m "
                "or 2d, longer than 0"
            ),
        ),
        (
            {"alertmanager_routes": [{"name": "info", "group_by": ["a-b"]}]},
            "alertmanager_routes: route 'info': group_by has 'a-b'",
        ),
        (
            {"alertmanager_routes": [{"name": "info", "mute_time_intervals": ["night"]}]},
            "alertmanager_routes: route 'info' names the unknown time interval 'night'. Allowed: none",
        ),
        (
            {"alertmanager_routes": [{"name": "info", "continue": "yes"}]},
            "alertmanager_routes: route 'info': continue is 'yes'. Allowed: true, false",
        ),
        (
            {"alertmanager_maintenance_windows": ["night"]},
            (
                "alertmanager_maintenance_windows names the unknown time interval 'night'. Allowed: none (from "
                "alertmanager_time_intervals)"
            ),
        ),
        (
            {"alertmanager_time_intervals": [{"name": "night", "time_intervals": []}]},
            "alertmanager_time_intervals: time interval 'night' has no periods",
        ),
        (
            {"alertmanager_time_intervals": [{"name": "night", "time_intervals": [{"day": 1}]}]},
            "alertmanager_time_intervals: time interval 'night' has the unknown key 'day'",
        ),
        (
            {
                "alertmanager_time_intervals": [
                    {"name": "night", "time_intervals": [{"times": [{"start_time": 1290, "end_time": "22:00"}]}]}
                ]
            },
            "alertmanager_time_intervals: time interval 'night': start_time is 1290. Allowed: a quoted time",
        ),
        (
            {"alertmanager_inhibit_rules": [{"name": "mine", "source_matchers": ['a="b"']}]},
            "alertmanager_inhibit_rules: rule 'mine' has no target_matchers",
        ),
        (
            {"alertmanager_route_tests": [{"name": "mine", "labels": {"a": "b"}, "receivers": ["ops"]}]},
            "alertmanager_route_tests: test 'mine' names the unknown receiver 'ops'",
        ),
        (
            {"alertmanager_route_tests": [{"name": "mine", "labels": {"a": "b"}}]},
            "alertmanager_route_tests: test 'mine': receivers is None",
        ),
        (
            {"alertmanager_route_tests": [{"name": "mine", "labels": {"a": 1}, "receivers": ["default"]}]},
            "alertmanager_route_tests: test 'mine': labels is {'a': 1}",
        ),
        ({"alertmanager_port": 70000}, "alertmanager_port is 70000. Allowed: a port from 1 to 65535"),
        ({"alertmanager_external_url": "alerts.example.org"}, "alertmanager_external_url is 'alerts.example.org'"),
        ({"alertmanager_pagerduty_url": "events.example.org"}, "alertmanager_pagerduty_url is 'events.example.org'"),
        ({"alertmanager_retention": "120"}, "alertmanager_retention is '120'. Allowed: a duration"),
        ({"alertmanager_start_delay": "1"}, "alertmanager_start_delay is '1'. Allowed: a duration"),
        ({"alertmanager_group_wait": "soon"}, "alertmanager_group_wait is 'soon'. Allowed: a duration"),
        ({"alertmanager_repeat_interval": "0"}, "alertmanager_repeat_interval is '0'"),
        ({"alertmanager_group_by": ["..", "a"]}, "alertmanager_group_by has '..'"),
        ({"alertmanager_smtp_smarthost": "smtp.example.org"}, "alertmanager_smtp_smarthost is 'smtp.example.org'"),
        ({"alertmanager_smtp_smarthost": "smtp:99999"}, "alertmanager_smtp_smarthost is 'smtp:99999'"),
        ({"alertmanager_smtp_require_tls": "no"}, "alertmanager_smtp_require_tls is 'no'. Allowed: true, false"),
    ],
)
def test_bad_input_is_refused_in_one_clear_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ReceiverError) as error:
        configured(**change)
    assert str(error.value).startswith(message)
    assert "Allowed: " in str(error.value)
    assert "Set it in " in str(error.value)
    assert "planted" not in str(error.value)
