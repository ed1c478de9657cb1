"""The example that a user copies: complete but for its secrets, and refused by name without them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.runs import ROOT, Run, run_site

EXAMPLE = ROOT / "inventory" / "production"
VAULT = Path("group_vars", "monitoring", "vault.yml")
SECRETS = {
    "alertmanager_smtp_auth_password": "planted-password",
    "alertmanager_slack_api_url": "https://hooks.slack.example/services/T0/B0/planted",
    "alertmanager_pagerduty_routing_key": "plantedkey0123456789abcdefabcdef",
    "alertmanager_watchdog_url": "https://switch.example.com/planted",
    "grafana_admin_password": "planted-password-of-grafana",
}
# The same spelling as in vault.example.yml.
LINE = re.compile(r'^# (\w+): ""$', re.MULTILINE)


def copy(folder: Path) -> Path:
    """Copy the example as a user does."""
    return Path(shutil.copytree(EXAMPLE, folder / "inventory"))


def encrypt(path: Path, secrets: dict[str, str], folder: Path) -> Path:
    """Fill in the vault's template, encrypt it, and return the file with the vault's password."""
    template = (EXAMPLE / VAULT.with_name("vault.example.yml")).read_text(encoding="utf-8")
    path.write_text(LINE.sub(lambda line: f'{line[1]}: "{secrets.get(line[1], "")}"', template), encoding="utf-8")
    assert yaml.safe_load(path.read_text(encoding="utf-8")).keys() == SECRETS.keys()
    key = folder / "vault-key"
    key.write_text("the key of the vault\n", encoding="utf-8")
    vault = Path(sys.executable).parent / "ansible-vault"
    subprocess.run([vault, "encrypt", f"--vault-password-file={key}", path], capture_output=True, check=True)
    assert path.read_text(encoding="utf-8").startswith("$ANSIBLE_VAULT;")
    return key


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with every secret in an encrypted vault."""
    folder = tmp_path_factory.mktemp("filled")
    hosts = copy(folder)
    key = encrypt(hosts / VAULT, SECRETS, folder)
    return run_site(folder / "run", hosts, f"--vault-password-file={key}", "-vvv", "--diff", CI="true")


def test_filled_in_it_runs(filled: Run) -> None:
    """On all hosts and without a warning."""
    assert filled.code == 0, filled.output
    assert filled.of("preflight", "monitoring-01.example.com")["notes"] == []
    sent = [(item.host, item.arguments["name"]) for item in filled.sent if item.module == "component"]
    assert len(sent) == len(set(sent)) == 22


def test_secrets_come_as_files_only(filled: Run) -> None:
    """Every one of them arrives, and none is shown."""
    sent = [filled.component(name, "monitoring-01.example.com").arguments for name in ("alertmanager", "grafana")]
    assert sorted(value for item in sent for value in item["secrets"].values()) == sorted(SECRETS.values())
    assert "planted" not in str([item["declaration"] for item in sent])
    assert "planted" not in filled.output


def test_it_has_the_specifications_settings(filled: Run) -> None:
    """Receivers, retention, intervals and probes."""
    alertmanager = filled.component("alertmanager", "monitoring-01.example.com").data("alertmanager.yml")
    receivers: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in alertmanager["receivers"]}
    kinds = {name: {key for key in entry if key.endswith("_configs")} for name, entry in receivers.items()}
    assert kinds["default"] == kinds["database-team"] == {"email_configs"}
    assert kinds["warning"] == {"email_configs", "slack_configs"}
    assert kinds["critical"] == {"email_configs", "slack_configs", "pagerduty_configs"}
    assert receivers["critical"]["email_configs"][0]["to"] == "ops@example.com, cto@example.com"
    prometheus = filled.component("prometheus", "monitoring-01.example.com")
    config = prometheus.data("prometheus.yml")
    assert config["global"]["scrape_interval"] == config["global"]["evaluation_interval"] == "15s"
    assert config["storage"]["tsdb"]["retention"]["time"] == "30d"
    probes = {item["targets"][0]: item["labels"]["module"] for item in prometheus.data("targets/blackbox.json")}
    assert probes["https://api.example.com/health"] == "health_json"
    nodes = {item["labels"]["host"]: item for item in prometheus.data("targets/node.json")}
    assert nodes["db-01.example.com"]["targets"] == ["192.0.2.21:9100"]
    backend = {item["labels"]["instance"]: item for item in prometheus.data("targets/backend.json")}
    assert backend["app-01.example.com"]["labels"]["service"] == "backend"
    assert backend["app-01.example.com/shop"]["targets"] == ["app-01.example.com:3000"]
    assert len(prometheus.data("targets/postgres_databases.json")) == 1


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("alertmanager_smtp_auth_password", "alertmanager_smtp_auth_password is not set"),
        ("alertmanager_slack_api_url", "receiver 'critical': slack[0] needs it"),
        ("alertmanager_pagerduty_routing_key", "receiver 'critical': pagerduty[0] needs it"),
    ],
)
def test_a_missing_secret_is_named(tmp_path: Path, missing: str, said: str) -> None:
    """Before anything changes."""
    hosts = copy(tmp_path)
    key = encrypt(hosts / VAULT, {**SECRETS, missing: ""}, tmp_path)
    run = run_site(tmp_path / "run", hosts, f"--vault-password-file={key}")
    assert run.stopped_before_any_change()
    assert f"{missing} is not set" in run.errors["monitoring-01.example.com"]
    assert said in run.errors["monitoring-01.example.com"]


def test_the_example_itself_is_refused(tmp_path: Path) -> None:
    """The vault's template counts for nothing; the first secret that is missing is named."""
    run = run_site(tmp_path, EXAMPLE)
    assert run.stopped_before_any_change()
    assert "alertmanager_smtp_auth_password is not set" in run.errors["monitoring-01.example.com"]


def test_the_example_names_nobody() -> None:
    """Only names and addresses that are reserved for documentation."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in EXAMPLE.rglob("*.yml"))
    for name in re.findall(r"[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|io|dev)\b", text):
        assert name == "hooks.slack.com" or name.split(".")[-2:] == ["example", "com"], name
    assert set(re.findall(r"\d+\.\d+\.\d+\.\d+", text)) <= {"192.0.2.21"}
