"""The role of Grafana: it writes what Grafana reads, secrets stay secret, bad input is refused before any change."""

from __future__ import annotations

import configparser
import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper import dashboards, grafana_config, grafana_datasources
from ansible.module_utils.watchkeeper.component_checks import check_grafana
from ansible.module_utils.watchkeeper.settings import documented

from tests.emulators.grafana import GrafanaEmulator
from tests.unit.grafana_fixture import EMULATOR, release, running
from tests.unit.live import free_port
from tests.unit.runs import ROOT, Run, Sent, inventory, run_site

# The keys of conf/defaults.ini of Grafana 13 in the sections that the project writes: a key that Grafana does not know
# has no effect, and it does not say so.
KEYS = {
    "paths": "data temp_data_lifetime logs plugins provisioning permitted_provisioning_paths",
    "server": "protocol min_tls_version http_addr http_port domain enforce_domain root_url serve_from_sub_path "
    "router_logging static_root_path enable_gzip cert_file cert_key cert_pass certs_watch_interval socket_gid "
    "socket_mode socket cdn_url read_timeout",
    "database": "type host name user password url high_availability max_idle_conn max_open_conn conn_max_lifetime "
    "log_queries ssl_mode ssl_sni isolation_level ca_cert_path client_key_path client_cert_path server_cert_name path "
    "cache_mode wal migration_locking locking_attempt_timeout_sec query_retries transaction_retries instrument_queries "
    "delete_auto_gen_ids skip_dashboard_uid_migration_on_startup skip_migrations ensure_default_org_and_user",
    "security": "disable_initial_admin_creation admin_user admin_password admin_email secret_key encryption_provider "
    "available_encryption_providers disable_gravatar data_source_proxy_whitelist disable_brute_force_login_protection "
    "brute_force_login_protection_max_attempts disable_username_login_protection disable_ip_address_login_protection "
    "cookie_secure cookie_samesite allow_embedding strict_transport_security strict_transport_security_max_age_seconds "
    "strict_transport_security_preload strict_transport_security_subdomains x_content_type_options x_xss_protection "
    "content_security_policy content_security_policy_template content_security_policy_report_only "
    "content_security_policy_report_only_template csrf_always_check enable_frontend_sandbox_for_plugins "
    "actions_allow_post_url",
    "secrets_manager.encryption.secret_key.v1": "secret_key",
    "users": "allow_sign_up allow_org_create auto_assign_org auto_assign_org_id auto_assign_org_role "
    "verify_email_enabled login_default_org_id login_hint password_hint default_theme default_language home_page "
    "external_manage_link_url external_manage_link_name external_manage_info viewers_can_edit "
    "user_invite_max_lifetime_duration verification_email_max_lifetime_duration last_seen_update_interval hidden_users",
    "auth.anonymous": "enabled org_name org_role hide_version device_limit",
    "analytics": "reporting_enabled reporting_distributor check_for_updates check_for_plugin_updates "
    "google_analytics_ua_id google_analytics_4_id google_tag_manager_id rudderstack_write_key intercom_secret "
    "application_insights_connection_string feedback_links_enabled reporting_static_context browser_console_reporter",
    "news": "news_feed_enabled",
    "snapshots": "enabled external_enabled external_snapshot_url external_snapshot_name public_mode",
    "public_dashboards": "enabled",
    "cloud_migration": "enabled is_target gcom_api_token domain snapshot_folder resource_storage_type",
    "plugins": "enable_alpha app_tls_skip_verify_insecure allow_loading_unsigned_plugins plugin_admin_enabled "
    "plugin_admin_external_manage_enabled plugin_catalog_url plugin_catalog_hidden_plugins log_backend_requests "
    "public_key_retrieval_disabled public_key_retrieval_on_startup disable_plugins forward_host_env_vars preinstall "
    "preinstall_sync preinstall_disabled update_strategy preinstall_auto_update",
    "unified_alerting": "enabled disabled_orgs execute_alerts ha_listen_address ha_peers evaluation_timeout",
    "recording_rules": "enabled timeout default_datasource_uid",
    "metrics": "enabled interval_seconds disable_total_stats total_stats_collector_interval_seconds "
    "classic_http_histogram_enabled basic_auth_username basic_auth_password",
    "log": "mode level filters user_facing_default_error",
    "log.console": "level format",
}
PASSWORD = 'planted: `password` # {x} "%(y)s" $z'  # noqa: S105
KEY = "planted-secret-key-0123456789"
FULL: dict[str, Any] = {
    "grafana_listen_address": "[::1]",
    "grafana_port": 3333,
    "grafana_root_url": "https://grafana.example.com/board",
    "grafana_data_dir": "/srv/grafana",
    "grafana_log_level": "warn",
    "grafana_ready_timeout": 77,
    "grafana_admin_user": "boss",
    "grafana_admin_password": PASSWORD,
    "grafana_secret_key": KEY,
    "grafana_database": {
        "type": "postgres",
        "host": "db.example.com",
        "name": "boards",
        "user": "owner",
        "password": f"{PASSWORD}2",
        "sslmode": "verify-full",
        "sslrootcert": "/etc/ssl/db.pem",
    },
    "grafana_plugins": [
        {"name": "grafana-clock-panel", "version": "2.1.9"},
        {"name": "grafana-lokiexplore-app", "version": "1.0.34"},
    ],
    "grafana_public_dashboards": True,
    "grafana_home_dashboard": "",
    "grafana_dashboards": [{"name": "slo", "state": "absent"}],
    "grafana_loki_url": "http://logs.example.com:3100",
    "grafana_tracing": {"type": "tempo", "url": "http://traces.example.com:3200"},
    "grafana_postgresql": [
        {"name": "shop", "host": "db.example.com", "database": "shop", "user": "reader", "password": f"{PASSWORD}3"}
    ],
    "grafana_datasources": [
        {"uid": "prometheus", "json_data": {"timeInterval": "30s"}, "health": False},
        {"uid": "alertmanager", "state": "absent"},
        {
            "uid": "more",
            "name": "More",
            "type": "elasticsearch",
            "url": "https://search.example.com",
            "basic_auth": True,
            "basic_auth_user": "grafana",
            "secure_json_data": {"basicAuthPassword": f"{PASSWORD}4"},
        },
    ],
    "grafana_settings": {
        "users": {"default_theme": "light", "allow_org_create": True},
        "smtp": {"enabled": True, "host": "smtp.example.com:587", "from_name": "Wall; of #1 \\"},
    },
    "grafana_secret_settings": {"smtp": {"password": f"{PASSWORD}5"}},
    "grafana_arguments": ["-profile"],
    "grafana_unit_settings": {"MemoryMax": "2G", "LimitNOFILE": 1024},
}
# They differ from the plain one in one thing each.
HOSTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dashboard": {"grafana_dashboards": [{"name": "slo", "state": "absent"}]},
    "password": {"grafana_admin_password": PASSWORD},
    "setting": {"grafana_settings": {"users": {"default_theme": "light"}}},
    "full": FULL,
    "gone": {"grafana_state": "absent"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every host in one run."""
    shared = {"grafana_domain": "watch.example.com", "grafana_listen_address": "127.0.0.1"}
    hosts = {name: {**shared, **own} for name, own in HOSTS.items()}
    done = run_site(tmp_path_factory.mktemp("run"), inventory(hosts), "--tags", "grafana", "-vvv", "--diff")
    assert done.code == 0, done.output
    return done


def settings(sent: Sent) -> dict[str, dict[str, str]]:
    """Return what stands in grafana.ini, section by section."""
    parser = configparser.RawConfigParser(strict=True, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(sent.file("grafana.ini"))
    return {section: dict(parser[section]) for section in parser.sections()}


def unit(sent: Sent) -> list[str]:
    """Return the lines of the unit."""
    return str(sent.arguments["declaration"]["unit"]).splitlines()


def sources(run: Run, host: str) -> dict[str, dict[str, Any]]:
    """Return the data sources that a host registers, by uid."""
    [found] = [item for item in run.sent if item.module == "grafana_datasource" and item.host == host]
    return {item["uid"]: item for item in found.arguments["datasources"]}


@pytest.mark.parametrize("host", ["plain", "full"])
def test_grafana_knows_every_key(run: Run, host: str) -> None:
    own = HOSTS[host].get("grafana_settings", {})
    for section, keys in settings(run.component("grafana", host)).items():
        ours = [key for key in keys if key not in own.get(section, {}) and section != "smtp"]
        assert set(ours) <= set(KEYS.get(section, "").split()), section


def test_the_door_is_shut_and_nobody_is_called(run: Run) -> None:
    ini = settings(run.component("grafana", "plain"))
    for setting, value in {
        "users.allow_sign_up": "false",
        "users.allow_org_create": "false",
        "auth.anonymous.enabled": "false",
        "security.disable_gravatar": "true",
        "security.cookie_secure": "false",
        "security.cookie_samesite": "lax",
        "snapshots.external_enabled": "false",
        "public_dashboards.enabled": "false",
        "analytics.reporting_enabled": "false",
        "analytics.check_for_updates": "false",
        "analytics.check_for_plugin_updates": "false",
        "news.news_feed_enabled": "false",
        "cloud_migration.enabled": "false",
        "plugins.preinstall_disabled": "true",
        "plugins.preinstall_auto_update": "false",
        "plugins.plugin_admin_enabled": "false",
        "plugins.public_key_retrieval_disabled": "true",
        "unified_alerting.execute_alerts": "false",
        "recording_rules.enabled": "false",
        "metrics.enabled": "true",
        "log.mode": "console",
        "database.type": "sqlite3",
        "server.http_addr": "127.0.0.1",
        "server.root_url": "http://watch.example.com:3000/",
        "users.home_page": "/d/watchkeeper-overview",
    }.items():
        section, key = setting.rsplit(".", 1)
        assert ini[section][key] == value, setting


def test_what_the_host_makes_itself(run: Run) -> None:
    """No default password and no default key, and no way around the files."""
    sent = run.component("grafana", "plain")
    declaration = sent.arguments["declaration"]
    assert sent.arguments["secrets"] == {}
    assert declaration["generate"] == ["secrets/admin_password", "secrets/secret_key"]
    assert declaration["start_secrets"] == ["secrets/secret_key"]
    ini = settings(sent)
    folder = f"/etc/watchkeeper/grafana/run-{declaration['run']}/config/secrets"
    assert ini["security"]["admin_password"] == f"$__file{{{folder}/admin_password}}"
    assert ini["security"]["secret_key"] == f"$__file{{{folder}/secret_key}}"
    assert ini["secrets_manager.encryption.secret_key.v1"]["secret_key"] == f"$__file{{{folder}/secret_key}}"


def test_given_secrets_are_files_and_nothing_else(run: Run) -> None:
    """Not in what is shown, the configuration, the unit or the command line."""
    sent = run.component("grafana", "full")
    assert sent.arguments["secrets"] == {
        "secrets/admin_password": PASSWORD,
        "secrets/secret_key": KEY,
        "secrets/database_password": f"{PASSWORD}2",
        "secrets/smtp.password": f"{PASSWORD}5",
    }
    declaration = sent.arguments["declaration"]
    assert declaration["generate"] == []
    assert set(declaration["start_secrets"]) == {
        "secrets/secret_key",
        "secrets/database_password",
        "secrets/smtp.password",
    }
    assert "planted" not in json.dumps(declaration)
    ini = settings(sent)
    for section in ("database", "smtp"):
        assert ini[section]["password"].startswith("$__file{/etc/watchkeeper/grafana/run-")
    assert "planted" not in run.output


def test_every_variable_has_its_effect(run: Run) -> None:
    sent = run.component("grafana", "full")
    ini = settings(sent)
    assert ini["server"]["root_url"] == "https://grafana.example.com/board/"
    assert ini["server"]["domain"] == "grafana.example.com"
    assert (ini["server"]["http_addr"], ini["server"]["http_port"]) == ("::1", "3333")
    assert ini["security"]["cookie_secure"] == "true"
    assert ini["security"]["admin_user"] == "boss"
    assert {key: value for key, value in ini["database"].items() if key != "password"} == {
        "type": "postgres",
        "host": "db.example.com:5432",
        "name": "boards",
        "user": "owner",
        "ssl_mode": "verify-full",
        "ca_cert_path": "/etc/ssl/db.pem",
    }
    assert ini["plugins"]["preinstall_disabled"] == "false"
    assert ini["plugins"]["preinstall_sync"] == "grafana-clock-panel@2.1.9,grafana-lokiexplore-app@1.0.34"
    # Grafana would fetch these as soon as it fetches anything.
    assert ini["plugins"]["disable_plugins"].split(",") == [
        "grafana-advisor-app",
        "grafana-exploretraces-app",
        "grafana-metricsdrilldown-app",
        "grafana-pyroscope-app",
    ]
    assert ini["public_dashboards"]["enabled"] == "true"
    assert ini["log"]["level"] == "warn"
    assert "home_page" not in ini["users"]
    assert (ini["users"]["default_theme"], ini["users"]["allow_org_create"]) == ("light", "true")
    assert ini["smtp"]["from_name"] == "`Wall; of #1 \\`"
    declaration = sent.arguments["declaration"]
    assert declaration["manifest"]["data"] == ["/srv/grafana"]
    assert declaration["manifest"]["ready"] == {"url": "http://[::1]:3333/api/health", "status": 200, "timeout": 77}
    assert sent.command()[-1] == "-profile"
    assert "MemoryMax=2G" in unit(sent)
    assert "LimitNOFILE=1024" in unit(sent)


def test_the_unit(run: Run) -> None:
    sent = run.component("grafana", "plain")
    lines = unit(sent)
    home = "/opt/watchkeeper/grafana/13.2.3"
    config = f"/etc/watchkeeper/grafana/run-{sent.arguments['declaration']['run']}/config"
    assert sent.command() == [
        *(f"{home}/bin/grafana", "server", "--homepath", home),
        *("--config", f"{config}/grafana.ini"),
    ]
    for line in (
        f"WorkingDirectory={home}",
        "RuntimeDirectory=grafana",
        f"ExecStartPre=/bin/sh {config}/link_dashboards.sh",
        f"ExecReload=/bin/sh {config}/link_dashboards.sh $MAINPID",
        "MemoryDenyWriteExecute=false",
        "ReadWritePaths=/var/lib/grafana",
    ):
        assert lines.count(line) == 1, line
    assert not [line for line in lines if line.startswith("Environment")]


def test_what_is_a_restart(run: Run) -> None:
    """The program reads its settings at the start; dashboards it reads by itself, the password is set by the module."""
    runs = {host: run.component("grafana", host).arguments["declaration"]["run"] for host in HOSTS if host != "gone"}
    assert runs["plain"] == runs["dashboard"] == runs["password"]
    assert runs["plain"] != runs["setting"]
    configs = {host: run.component("grafana", host).arguments["declaration"]["config"] for host in runs}
    assert configs["plain"] != configs["dashboard"]


def test_provisioning_directories_are_owned_exactly(run: Run) -> None:
    sent = run.component("grafana", "plain")
    paths = {item["path"] for item in sent.arguments["declaration"]["files"]}
    assert {path for path in paths if path.startswith("provisioning/")} == {
        "provisioning/dashboards/watchkeeper.yml",
        "provisioning/alerting/empty.yml",
        "provisioning/datasources/empty.yml",
        "provisioning/plugins/empty.yml",
    }
    [provider] = sent.data("provisioning/dashboards/watchkeeper.yml")["providers"]
    assert provider["options"] == {"path": "/run/grafana/dashboards", "foldersFromFilesStructure": True}
    assert (provider["disableDeletion"], provider["allowUiUpdates"]) == (False, False)
    ours = {f"dashboards/Watchkeeper/{name}.json" for name in dashboards.shipped()}
    there = {path for path in paths if path.startswith("dashboards/")}
    assert "dashboards/Watchkeeper/slo.json" in there <= ours
    without = {item["path"] for item in run.component("grafana", "dashboard").arguments["declaration"]["files"]}
    assert paths - without == {"dashboards/Watchkeeper/slo.json"}


def test_data_sources_of_a_plain_host(run: Run) -> None:
    found = sources(run, "plain")
    assert list(found) == ["prometheus", "alertmanager", "loki"]
    assert found["loki"]["url"] == "http://127.0.0.1:3100"
    assert found["prometheus"]["url"] == "http://127.0.0.1:9090"
    assert found["prometheus"]["is_default"]
    assert found["prometheus"]["json_data"]["httpMethod"] == "POST"
    assert found["prometheus"]["json_data"]["timeInterval"] == "15s"
    assert found["alertmanager"]["url"] == "http://127.0.0.1:9093"
    assert found["alertmanager"]["json_data"] == {"implementation": "prometheus", "handleGrafanaManagedAlerts": False}
    assert [item["health"] for item in found.values()] == [True, True, True]


def test_every_grafana_reads_the_loki_to_which_agents_send(tmp_path: Path) -> None:
    hosts: dict[str, dict[str, Any]] = {
        "m1": {"loki_state": "absent"},
        "m2": {"loki_port": 3101, "loki_listen_address": "10.0.0.2", "watchkeeper_address": "2001:db8::2"},
        "m3": {"ansible_host": "m3.example.com"},
    }
    one = run_site(tmp_path / "one", inventory(hosts), "--tags", "grafana")
    assert one.code == 0, one.output
    urls = {host: sources(one, host)["loki"]["url"] for host in hosts}
    assert urls == {"m1": "http://[2001:db8::2]:3101", "m2": "http://10.0.0.2:3101", "m3": "http://[2001:db8::2]:3101"}
    nobody = inventory({"m1": {}}, loki_state="absent", watchkeeper_log_agent="none")
    none = run_site(tmp_path / "none", nobody, "--tags", "grafana")
    assert none.code == 0, none.output
    assert "loki" not in sources(none, "m1")


def test_data_sources_of_every_kind(run: Run) -> None:
    """Linked with one another, and those of the user merged in."""
    found = sources(run, "full")
    assert list(found) == ["prometheus", "alertmanager", "loki", "tracing", "postgresql-shop", "more"]
    assert found["prometheus"]["json_data"]["timeInterval"] == "30s"
    assert found["prometheus"]["json_data"]["httpMethod"] == "POST"
    assert found["prometheus"]["json_data"]["exemplarTraceIdDestinations"] == [
        {"name": "trace_id", "datasourceUid": "tracing"}
    ]
    assert found["prometheus"]["health"] is False
    assert found["alertmanager"]["state"] == "absent"
    [field] = found["loki"]["json_data"]["derivedFields"]
    [correlation] = found["loki"]["correlations"]
    assert field["datasourceUid"] == correlation["target_uid"] == "tracing"
    assert found["tracing"]["name"] == "Tempo"
    assert found["tracing"]["json_data"]["tracesToLogsV2"]["datasourceUid"] == "loki"
    assert found["postgresql-shop"]["url"] == "db.example.com:5432"
    assert found["postgresql-shop"]["json_data"] == {"database": "shop", "sslmode": "require"}
    assert found["postgresql-shop"]["secure_json_data"] == {"password": f"{PASSWORD}3"}
    assert found["more"]["secure_json_data"] == {"basicAuthPassword": f"{PASSWORD}4"}
    assert grafana_datasources.problems(list(found.values())) == []


def test_the_pattern_of_a_trace_fits_the_logs_that_the_project_writes() -> None:
    """Those of the health app, and others with a space behind the colon."""
    values = {
        "grafana_tracing": {"type": "jaeger", "url": "http://127.0.0.1:16686"},
        "grafana_loki_url": "http://127.0.0.1:3100",
        "grafana_datasources_default": [],
        "grafana_datasources": [],
        "grafana_postgresql": [],
    }
    loki, tracing = grafana_config.datasources(values)
    pattern = loki["json_data"]["derivedFields"][0]["matcherRegex"]
    trace = "0af7651916cd43dd8448eb211c80319c"
    for line in (f'{{"level":"info","trace_id":"{trace}"}}', f'{{"trace_id": "{trace}"}}'):
        found = re.search(pattern, line)
        assert found
        assert found[1] == trace
    assert "queryType" not in loki["correlations"][0]["config"]["target"]
    assert (tracing["name"], tracing["type"]) == ("Jaeger", "jaeger")


def test_the_modules_find_what_the_role_wrote(run: Run) -> None:
    """Addresses, login and files; nothing is done inside of a Grafana that goes."""
    for host, url, user, kept in (
        ("plain", "http://127.0.0.1:3000", "admin", "/var/lib/watchkeeper/grafana/secrets/admin_password"),
        ("full", "http://[::1]:3333", "boss", ""),
    ):
        tasks = {item.module: item.arguments for item in run.sent if item.host == host}
        live = "/etc/watchkeeper/grafana/current/config"
        for name in ("grafana_admin_password", "grafana_datasource"):
            assert tasks[name]["url"] == url
            assert tasks[name]["username"] == user
            assert tasks[name]["password_file"] == f"{live}/secrets/admin_password"
        assert tasks["grafana_admin_password"]["kept_in"] == kept
        assert tasks["grafana_admin_password"]["homepath"] == "/opt/watchkeeper/grafana/13.2.3"
        assert tasks["grafana_admin_password"]["config"] == f"{live}/grafana.ini"
        assert tasks["grafana_datasource"]["digest_key_file"] == f"{live}/secrets/secret_key"
        assert tasks["grafana_datasource"]["organization"] == 1
    assert [item.module for item in run.sent if item.host == "gone"] == ["component"]
    assert run.component("grafana", "gone").arguments["state"] == "absent"


def run_role(folder: Path, variables: dict[str, Any], *arguments: str) -> Run:
    """Run the role alone, with the modules that speak to Grafana."""
    play = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.include_role": {"name": "grafana", "rolespec_validate": False}}],
    }
    real = ("grafana_admin_password", "grafana_datasource")
    return run_site(folder, inventory({"m1": variables}), *arguments, playbook=yaml.safe_dump([play]), real=real)


def test_check_mode_on_a_bare_host(tmp_path: Path) -> None:
    """There is no Grafana to ask, and the run says what would be there."""
    run = run_role(tmp_path, {"grafana_port": free_port()}, "--check")
    assert run.code == 0, run.output
    assert not run.of("grafana_admin_password", "m1")["changed"]
    assert run.of("grafana_datasource", "m1")["changed"]
    assert "every data source would be created" in run.output


def test_check_mode_where_another_grafana_is_still_there(tmp_path: Path) -> None:
    """One of the distribution, say, whose password we do not have: it goes when ours starts."""
    with GrafanaEmulator(admin_password=PASSWORD) as emulator:
        run = run_role(tmp_path, {"grafana_port": emulator.port}, "--check")
    assert run.code == 0, run.output
    assert run.of("grafana_datasource", "m1")["changed"]
    assert emulator.requests == []


def test_check_mode_where_the_password_differs(tmp_path: Path) -> None:
    """It would be reset. Until it is, nobody can log in with it, and each try is one of five."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "admin_password").write_text("another-password", encoding="utf-8")
    with GrafanaEmulator(admin_password=PASSWORD) as emulator:
        live = ("--extra-vars", json.dumps({"__grafana_live": str(tmp_path)}))
        run = run_role(tmp_path / "run", {"grafana_port": emulator.port}, "--check", *live)
        tries = len(emulator.requests)
    assert run.code == 0, run.output
    assert run.of("grafana_admin_password", "m1")["actions"] == ["password of admin reset"]
    assert tries == 1


def test_the_inside_of_a_grafana(tmp_path: Path) -> None:
    """Through the real modules: registered once, then nothing to do."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "admin_password").write_text(PASSWORD, encoding="utf-8")
    (tmp_path / "secrets" / "secret_key").write_text("planted-key", encoding="utf-8")
    with GrafanaEmulator(admin_password=PASSWORD) as emulator:
        own = {
            "grafana_port": emulator.port,
            "watchkeeper_prove_instances": False,
            "grafana_loki_url": "http://127.0.0.1:3100",
            "grafana_tracing": {"type": "tempo", "url": "http://127.0.0.1:3200"},
            "grafana_postgresql": [{**FULL["grafana_postgresql"][0]}],
        }
        arguments = ("-vvv", "--diff", "--extra-vars", json.dumps({"__grafana_live": str(tmp_path)}))
        first, again = (run_role(tmp_path / name, own, *arguments) for name in ("first", "again"))
        assert first.code == 0, first.output
        assert first.of("grafana_datasource", "m1")["changed"]
        assert again.code == 0, again.output
        assert not again.of("grafana_datasource", "m1")["changed"]
        assert emulator.secrets_of("postgresql-shop") == {"password": f"{PASSWORD}3"}
    assert "planted" not in first.output + again.output


# The script that shows Grafana its dashboards


class Folder:
    """A run's configuration as the engine swaps it, and the script with a target of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.target = folder / "run" / "dashboards"
        self.number = 0
        text = grafana_config.LINK_DASHBOARDS.replace("{config}", str(folder / "config"))
        assert grafana_config.DASHBOARDS in text
        self.script = folder / "link_dashboards.sh"
        self.script.write_text(text.replace(grafana_config.DASHBOARDS, str(self.target)), encoding="utf-8")

    def swap(self, **files: str) -> None:
        """Bring in another configuration by one rename, and remove the one before; `a__b` is b in the folder a."""
        self.number += 1
        new = self.root / f"config-{self.number}"
        for name, content in files.items():
            path = new / "dashboards" / f"{name.replace('__', '/')}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        new.mkdir(exist_ok=True)
        (self.root / "next").symlink_to(new.name)
        (self.root / "next").rename(self.root / "config")

    def link(self, *arguments: str) -> None:
        """Run the script, as systemd does at a start and at a reload."""
        done = subprocess.run(
            ["/bin/sh", str(self.script), *arguments], capture_output=True, text=True, check=False, timeout=30
        )
        assert (done.returncode, done.stderr) == (0, "")

    def seen(self) -> dict[str, str]:
        """Return what Grafana sees, by the path that it knows a dashboard by."""
        return {
            str(path.relative_to(self.target)): path.read_text(encoding="utf-8")
            for path in self.target.resolve().rglob("*.json")
        }


def test_dashboards_keep_their_paths(tmp_path: Path) -> None:
    """Whatever the configuration's directory is called: by another path Grafana would delete and create them."""
    folder = Folder(tmp_path)
    folder.swap(Watchkeeper__one="1", Watchkeeper__two="2", My_own__three="3")
    folder.link()
    assert folder.seen() == {"Watchkeeper/one.json": "1", "Watchkeeper/two.json": "2", "My_own/three.json": "3"}
    links = {path: path.lstat().st_ctime_ns for path in folder.target.rglob("*.json")}
    folder.swap(Watchkeeper__one="changed", Watchkeeper__two="2", Watchkeeper__four="4")
    folder.link()
    assert folder.seen() == {
        "Watchkeeper/one.json": "changed",
        "Watchkeeper/two.json": "2",
        "Watchkeeper/four.json": "4",
    }
    assert not (folder.target / "My_own").exists()
    kept = [folder.target / "Watchkeeper" / f"{name}.json" for name in ("one", "two")]
    assert [path.lstat().st_ctime_ns for path in kept] == [links[path] for path in kept]


def test_no_dashboards_at_all(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.swap()
    folder.link()
    assert folder.seen() == {}
    assert folder.target.is_dir()


def test_a_reload_tells_grafana(tmp_path: Path) -> None:
    """By the signal, after everything is in place."""
    folder = Folder(tmp_path)
    folder.swap(Watchkeeper__one="1")
    with subprocess.Popen(["sleep", "60"]) as program:
        folder.link(str(program.pid))
        assert program.wait(10) == -signal.SIGHUP
    assert folder.seen() == {"Watchkeeper/one.json": "1"}


# Everything together, in the program that stands in for Grafana


def test_a_grafana_runs_with_it(run: Run, tmp_path: Path) -> None:
    """It reads the settings, takes the made password, shows the dashboards in their folder and lets nobody else in."""
    sent = run.component("grafana", "plain")
    port = free_port()
    config, target = tmp_path / "config", tmp_path / "dashboards"
    places = {
        f"/etc/watchkeeper/grafana/run-{sent.arguments['declaration']['run']}/config": str(config),
        grafana_config.DASHBOARDS: str(target),
        "/var/lib/grafana": str(tmp_path / "data"),
        "http_port = 3000": f"http_port = {port}",
    }
    for item in sent.arguments["declaration"]["files"]:
        path, content = config / item["path"], item["content"]
        for before, after in places.items():
            content = content.replace(before, after)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    (config / "secrets").mkdir()
    for path in sent.arguments["declaration"]["generate"]:
        (config / path).write_text(f"made-{path[8:]}", encoding="utf-8")
    subprocess.run(["/bin/sh", str(config / "link_dashboards.sh")], check=True)
    with running(release(EMULATOR, tmp_path), config / "grafana.ini") as grafana:
        search = "/api/search?type=dash-db"
        status, boards = grafana.ask("GET", search, login="admin:made-admin_password")
        assert status == 200
        assert {board["uid"] for board in boards} == {
            json.loads(sent.file(item["path"]))["uid"]
            for item in sent.arguments["declaration"]["files"]
            if item["path"].startswith("dashboards/")
        }
        assert {board["folderTitle"] for board in boards} == {"Watchkeeper"}
        assert [grafana.ask("GET", search, login=login)[0] for login in ("", "admin:admin")] == [401, 401]


# What is refused

BOARD = {
    "title": "Mine",
    "uid": "mine",
    "schemaVersion": 41,
    "panels": [
        {
            "id": 1,
            "type": "stat",
            "title": "Up",
            "datasource": {"type": "prometheus", "uid": "prometheus"},
            "targets": [{"refId": "A", "expr": "up", "datasource": {"type": "prometheus", "uid": "prometheus"}}],
        }
    ],
}
PROMETHEUS = {"name": "Prometheus", "uid": "prometheus", "type": "prometheus", "url": "http://127.0.0.1:9090"}


def check(**changed: Any) -> list[str]:
    """Return what is wrong with the role's variables; names without the role's prefix."""
    defaults = yaml.safe_load((ROOT / "roles" / "grafana" / "defaults" / "main.yml").read_text(encoding="utf-8"))
    computed = {
        "grafana_listen_address": "127.0.0.1",
        "grafana_domain": "watch.example.com",
        "grafana_datasources_default": [{**PROMETHEUS, "is_default": True}],
        "grafana_loki_url": "",
    }
    values = {**defaults, **computed, **{f"grafana_{name}": value for name, value in changed.items()}}
    return check_grafana(values, documented(ROOT, "grafana"))


def source(**changed: Any) -> list[dict[str, Any]]:
    """Return one data source of the user's."""
    return [{"name": "More", "uid": "more", "type": "loki", "url": "http://127.0.0.1:3100", **changed}]


def test_good_input_has_no_problems() -> None:
    assert check() == []
    full = {name.removeprefix("grafana_"): value for name, value in FULL.items()}
    assert check(**full, datasources_default=[PROMETHEUS, *source(uid="alertmanager", name="A")]) == []
    assert check(database={"type": "postgres"}) == []
    assert check(database={"type": "postgres", "host": "2001:db8::1", "password": "x" * 9}) == []
    assert check(domain="2001:db8::1") == []
    assert check(settings={"smtp": {"password": ""}, "DEFAULT": {"app_mode": "production"}}) == []


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "url-without-scheme": (
        {"datasources": source(url="127.0.0.1:3100")},
        "data source More: url is '127.0.0.1:3100'; it must start with http:// or https://",
    ),
    "uid-with-forbidden-characters": (
        {"datasources": source(uid="more sources")},
        "data source More: uid is 'more sources'; Grafana allows 1 to 40 letters, digits, - and _",
    ),
    "no-uid": ({"datasources": [{"name": "More"}]}, "grafana_datasources[0] needs uid"),
    "home-that-is-not-there": (
        {"home_dashboard": "overveiw"},
        "grafana_home_dashboard is 'overveiw', but must be empty or the name of a dashboard: application,",
    ),
    "own-address-refused": (
        {"settings": {"server": {"enforce_domain": True}}},
        "grafana_settings.server.enforce_domain is True, but must be false",
    ),
    "private-key-in-the-open": (
        {"settings": {"auth.saml": {"private_key": "planted"}}},
        "move it to grafana_secret_settings.auth.saml.private_key",
    ),
    "socket-of-a-source": (
        {"postgresql": [{"name": "a", "host": "/run/postgresql", "database": "a", "user": "a"}]},
        "grafana_postgresql[0].host is '/run/postgresql'",
    ),
    "duplicate-uid": ({"datasources": source() * 2}, "grafana_datasources[1].uid is 'more', but must be different"),
    "duplicate-name": ({"datasources": source(name="Prometheus")}, "2 data sources have the name Prometheus"),
    "two-defaults": ({"datasources": source(is_default=True)}, "Prometheus, More: each has is_default"),
    "unknown-access": (
        {"datasources": source(access="server")},
        "grafana_datasources[0].access is 'server', but must be one of proxy, direct",
    ),
    "unknown-key": ({"datasources": source(urll="x")}, "grafana_datasources[0].urll is not a key of"),
    "inline-secret": (
        {"datasources": source(json_data={"basicAuthPassword": PASSWORD})},
        "json_data.basicAuthPassword is a secret",
    ),
    "short-password": ({"admin_password": "planted"}, "grafana_admin_password is (hidden), but must be one line"),
    "password-with-a-line-break": ({"admin_password": "planted\npassword"}, "grafana_admin_password is (hidden)"),
    "password-with-spaces-around": ({"admin_password": " planted-password"}, "grafana_admin_password is (hidden)"),
    "login-with-a-colon": ({"admin_user": "a:b"}, "grafana_admin_user is 'a:b', but must be a name without"),
    "short-key": ({"secret_key": "planted"}, "grafana_secret_key is (hidden), but must be one line"),
    "well-known-key": (
        {"secret_key": "SW2YcwTIb9zpOOhoPsMm"},
        "another key than the one that every Grafana comes with",
    ),
    "domain-with-scheme": ({"domain": "https://x.example"}, "grafana_domain is 'https://x.example', but must be"),
    "root-url-with-password": ({"root_url": "https://a:planted@x.example/"}, "grafana_root_url is (hidden)"),
    "data-in-home": (
        {"data_dir": "/home/grafana"},
        "grafana_data_dir is '/home/grafana', but must be a directory outside",
    ),
    "plugin-without-version": (
        {"plugins": [{"name": "grafana-clock-panel"}]},
        "grafana_plugins[0].version is '', but must be a version such as 2.1.3: what is not pinned changes by itself",
    ),
    "plugin-by-url": ({"plugins": [{"name": "http://x/y", "version": "1.0.0"}]}, "grafana_plugins[0].name is"),
    "sqlite-with-a-host": (
        {"database": {"host": "db"}},
        "grafana_database.host belongs to a database of type postgres",
    ),
    "database-without-password": (
        {"database": {"type": "postgres", "host": "db"}},
        "grafana_database.password is (hidden), but must be set",
    ),
    "database-type": ({"database": {"type": "mysql"}}, "grafana_database.type is 'mysql', but must be one of"),
    "database-password-as-number": (
        {"database": {"type": "postgres", "host": "db", "password": 1234567}},
        "grafana_database.password is (hidden), but must be of type str",
    ),
    "setting-with-a-variable": (
        {"settings": {"server": {"http_port": 3001}}},
        "grafana_settings.server.http_port has a variable of its own: grafana_port",
    ),
    "setting-with-a-secret-variable": (
        {"settings": {"security": {"admin_password": "planted"}}},
        "grafana_settings.security.admin_password has a variable of its own: grafana_admin_password",
    ),
    "secret-setting-with-a-variable": (
        {"secret_settings": {"database": {"password": "planted"}}},
        "grafana_secret_settings.database.password has a variable of its own: grafana_database.password",
    ),
    "secret-in-settings": (
        {"settings": {"auth.google": {"client_secret": "planted"}}},
        "grafana_settings.auth.google.client_secret is a secret; move it to grafana_secret_settings.auth.google",
    ),
    "setting-with-backquote": ({"settings": {"users": {"login_hint": "a`b"}}}, "grafana_settings.users.login_hint is"),
    "setting-of-two-lines": ({"settings": {"users": {"login_hint": "a\nb"}}}, "grafana_settings.users.login_hint is"),
    "setting-without-section": ({"settings": {"app_mode": "development"}}, "grafana_settings.app_mode is (hidden)"),
    "section-that-is-two": ({"settings": {"a]\n[b": {}}}, "but must be the name of a section"),
    "protocol": ({"settings": {"server": {"protocol": "https"}}}, "HTTPS is the work of a web server in front"),
    "no-basic-auth": ({"settings": {"auth.basic": {"enabled": False}}}, "grafana_settings.auth.basic.enabled is False"),
    "secret-setting-twice": (
        {"settings": {"x": {"y": "1"}}, "secret_settings": {"x": {"y": "planted"}}},
        "grafana_secret_settings.x.y is in grafana_settings, too",
    ),
    "empty-secret-setting": (
        {"secret_settings": {"smtp": {"password": ""}}},
        "grafana_secret_settings.smtp.password is",
    ),
    "tracing-without-url": ({"tracing": {"type": "tempo"}}, "grafana_tracing needs url"),
    "tracing-url": ({"tracing": {"type": "tempo", "url": "tempo:3200"}}, "grafana_tracing.url is 'tempo:3200'"),
    "postgresql-name": (
        {"postgresql": [{"name": "my shop", "host": "db", "database": "a", "user": "b"}]},
        "grafana_postgresql[0].name is 'my shop'",
    ),
    "postgresql-without-database": (
        {"postgresql": [{"name": "shop", "host": "db", "user": "b"}]},
        "grafana_postgresql[0] needs database",
    ),
    "postgresql-sslmode": (
        {"postgresql": [{"name": "shop", "host": "db", "database": "a", "user": "b", "sslmode": "on"}]},
        "grafana_postgresql[0].sslmode is 'on', but must be one of disable",
    ),
    "dashboard-of-an-unknown-kind": ({"dashboards": [{"name": "x", "state": "absent"}]}, "there is no 'x' to take out"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_named(case: str) -> None:
    """One sentence, which tells the variable and no secret."""
    changed, said = REFUSED[case]
    found = check(**changed)
    assert len(found) == 1, found
    assert said in found[0]
    assert "planted" not in found[0]
    assert "set it in the inventory" in found[0] or "in the vault" in found[0]


def board(folder: Path, name: str, data: Any) -> dict[str, str]:
    """Write a dashboard; return its entry in the user's list."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return {"name": name, "path": str(path)}


def test_everything_at_once_before_any_change(tmp_path: Path) -> None:
    """In a real run: each of them by name, and no host has heard of it."""
    stranger = {"type": "prometheus", "uid": "stranger"}
    panel = {**BOARD["panels"][0], "datasource": stranger}  # type: ignore[index]
    wrong = {
        "grafana_admin_password": "planted",
        "grafana_dashboards": [
            board(tmp_path, "second", {"apiVersion": "dashboard.grafana.app/v2", "kind": "Dashboard", "spec": {}}),
            board(tmp_path, "envelope", {"dashboard": BOARD}),
            board(tmp_path, "stranger", {**BOARD, "uid": "other", "panels": [panel]}),
        ],
        "grafana_datasources": [*source(url="127.0.0.1:3100"), *source(uid="a b", name="Spaced")],
    }
    run = run_site(tmp_path / "run", inventory({"m1": wrong}))
    assert run.stopped_before_any_change(), run.output
    message = run.errors["m1"]
    for said in ("grafana_admin_password", "second.json", "envelope.json", "'stranger'", "127.0.0.1:3100", "'a b'"):
        assert said in message
    assert "planted" not in run.output


def test_a_duplicate_uid_is_refused(tmp_path: Path) -> None:
    """Grafana would show neither of the two."""
    items = [board(tmp_path, name, {**BOARD, "title": name}) for name in ("one", "two")]
    [message] = check(dashboards=items)
    assert "'one' and 'two' have the same uid 'mine'" in message
    assert check(dashboards=items[:1]) == []


def test_data_sources_of_the_user_may_be_used_by_dashboards(tmp_path: Path) -> None:
    panel = {**BOARD["panels"][0], "datasource": {"type": "loki", "uid": "more"}, "targets": []}  # type: ignore[index]
    items = [board(tmp_path, "logs", {**BOARD, "panels": [panel]})]
    assert check(dashboards=items, datasources=source()) == []
    assert "'more'" in check(dashboards=items)[0]
    assert "'more'" in check(dashboards=items, datasources=source(state="absent"))[0]
