"""What hosts cost becomes a series for each host with a price, in the form that Prometheus takes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper import prices
from ansible.module_utils.watchkeeper.catalogue import CatalogueError, Project
from ansible.module_utils.watchkeeper.scrape import prometheus_files, read_fleet
from ansible.module_utils.watchkeeper.settings import documented
from ansible.module_utils.watchkeeper.validation import check_format

from tests.rules.run import find_promtool
from tests.unit.runs import ROOT, inventory, run_site

PROJECT = Project.load(ROOT)
OPTIONS = documented(ROOT, "watchkeeper")


def files(**hosts: dict[str, Any]) -> dict[str, Any]:
    """Return the files that Prometheus gets for an inventory, by path."""
    fleet = read_fleet(PROJECT, "server", {"all": list(hosts), "monitoring": ["server"]}, hosts, {})
    return {item["path"]: item for item in prometheus_files(PROJECT, fleet, {}, [], {})}


def test_each_host_with_a_price_has_a_series() -> None:
    found = files(
        server={"watchkeeper_price": 1249.5},
        web={"watchkeeper_price": "120", "watchkeeper_currency": "EUR"},
        free={"watchkeeper_price": 0},
        unknown={},
    )
    [group] = found["rules/prices.yml"]["yaml"]["groups"]
    assert group["rules"] == [
        {
            "record": "watchkeeper_host_price",
            "labels": {"host": "server", "currency": "USD"},
            "expr": "vector(1249.5)",
        },
        {"record": "watchkeeper_host_price", "labels": {"host": "web", "currency": "EUR"}, "expr": "vector(120)"},
    ]


def test_without_prices_there_is_no_file() -> None:
    assert "rules/prices.yml" not in files(server={})


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"watchkeeper_price": "cheap"}, "watchkeeper_price of server is 'cheap', but must be a number"),
        ({"watchkeeper_price": -1}, "watchkeeper_price of server is -1, but must be what the host costs"),
        ({"watchkeeper_price": float("nan")}, "watchkeeper_price of server is nan"),
        ({"watchkeeper_price": [1]}, r"watchkeeper_price of server is \[1\]"),
        ({"watchkeeper_price": 1, "watchkeeper_currency": "Euro"}, "watchkeeper_currency of server is 'Euro'"),
    ],
)
def test_what_another_host_says_wrongly_names_the_host(variables: dict[str, Any], said: str) -> None:
    """The first play checks every host of the run; with --limit it does not see the others."""
    with pytest.raises(CatalogueError, match=said):
        files(server=variables)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("watchkeeper_price", [0, 0.5, 1e6], [-1, float("inf"), float("nan")]),
        ("watchkeeper_currency", ["USD", "EUR"], ["", "usd", "Euro", "US$"]),
    ],
)
def test_a_host_s_own_values(name: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert check_format(name, value, OPTIONS[name]) == "", value
    for value in bad:
        assert check_format(name, value, OPTIONS[name]).startswith(f"{name} is {value!r}, but must be "), value


def test_prometheus_takes_them(tmp_path: Path) -> None:
    file = tmp_path / "prices.yml"
    hosts = {f"host {number}": prices.Price(10.0**number, "EUR") for number in range(-3, 9)}
    content = prices.recording_rules(hosts)["prices"]
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    command = [str(find_promtool()), "check", "rules", "--lint=all", "--lint-fatal", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(hosts)} rules found" in done.stdout


def test_ansible_s_own_variables(tmp_path: Path) -> None:
    hosts = inventory({"server": {"watchkeeper_price": "{{ base * 2 }}"}}, {"web": {"watchkeeper_price": 3}}, base=20.5)
    play = """
    - hosts: server
      gather_facts: false
      tasks:
        - ansible.builtin.debug:
            msg: "{{ lookup('watchkeeper', 'prometheus', {}, {}) }}"
    """
    run = run_site(tmp_path, hosts, playbook=play)
    assert run.code == 0, run.output
    [found] = [item for item in run.of("ansible.builtin.debug", "server")["msg"] if item["path"] == "rules/prices.yml"]
    assert [rule["expr"] for rule in found["yaml"]["groups"][0]["rules"]] == ["vector(41)", "vector(3)"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"watchkeeper_price": -3, "watchkeeper_currency": "euro"},
            ["watchkeeper_price is -3", "watchkeeper_currency is 'euro', but must be a currency as ISO 4217 writes it"],
        ),
        (
            {"prometheus_rules": {"prices": {"groups": []}}},
            ["prometheus_rules.prices has the name of a rule file of the project"],
        ),
    ],
)
def test_bad_input_stops_a_run_before_any_change(tmp_path: Path, wrong: dict[str, Any], said: list[str]) -> None:
    run = run_site(tmp_path, inventory({"server": wrong}))
    assert run.stopped_before_any_change()
    assert all(text in run.errors["server"] for text in said), run.errors
