"""Grafana's configuration from the variables of its role: settings, secrets, provisioning and data sources.

What is here is plain data for the role's task; `component_checks.check_grafana` has judged the variables before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

HEADER = "# Managed by Watchkeeper: changes made here are undone by the next run.\n"
# Grafana tells dashboards apart by the path of their file, so this one stays the same whatever runs.
DASHBOARDS = "/run/grafana/dashboards"
PROVIDER = "watchkeeper"

PROMETHEUS, LOKI, TRACING = "prometheus", "loki", "tracing"
TRACING_NAMES = {"tempo": "Tempo", "jaeger": "Jaeger"}
# Applications that a start of Grafana fetches from the internet unless they are switched off.
FETCHED_APPS = (
    "grafana-advisor-app",
    "grafana-exploretraces-app",
    "grafana-lokiexplore-app",
    "grafana-metricsdrilldown-app",
    "grafana-pyroscope-app",
)

# Settings that have a variable of their own.
OWN_SETTINGS = {
    "paths.data": "grafana_data_dir",
    "paths.provisioning": "grafana_dashboards and grafana_datasources",
    "server.http_addr": "grafana_listen_address",
    "server.http_port": "grafana_port",
    "server.domain": "grafana_domain",
    "server.root_url": "grafana_root_url",
    "security.admin_user": "grafana_admin_user",
    "security.admin_password": "grafana_admin_password",
    "security.secret_key": "grafana_secret_key",
    "secrets_manager.encryption.secret_key.v1.secret_key": "grafana_secret_key",
    "database.type": "grafana_database.type",
    "database.url": "grafana_database",
    "database.host": "grafana_database.host",
    "database.name": "grafana_database.name",
    "database.user": "grafana_database.user",
    "database.password": "grafana_database.password",
    "database.ssl_mode": "grafana_database.sslmode",
    "database.ca_cert_path": "grafana_database.sslrootcert",
    "plugins.preinstall": "grafana_plugins",
    "plugins.preinstall_sync": "grafana_plugins",
    "public_dashboards.enabled": "grafana_public_dashboards",
    "users.home_page": "grafana_home_dashboard",
    "log.level": "grafana_log_level",
}
# Keys that hold a secret, in whatever section.
_SECRET_KEY = re.compile(
    r"(.+_)?(password|cert_pass|secret|secret_key|private_key|client_key_value|access_key|account_key|api_key|token"
    r"|connstr|connection_string|write_key)"
)
_SIMPLE = re.compile(r"[^\s`\"'#;\\](?:[^`\"'#;\\\n]*[^\s`\"'#;\\])?")

DATABASE_DEFAULTS: dict[str, Any] = {
    "type": "sqlite",
    "host": "/run/postgresql",
    "port": 5432,
    "name": "grafana",
    "user": "grafana",
    "password": "",
    "sslmode": "require",
    "sslrootcert": "",
}
POSTGRESQL_DEFAULTS: dict[str, Any] = {"port": 5432, "password": "", "sslmode": "require", "sslrootcert": ""}


@dataclass(frozen=True)
class Rendered:
    """What the role hands to the engine."""

    files: list[dict[str, Any]] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    generate: list[str] = field(default_factory=list)
    start_secrets: list[str] = field(default_factory=list)


def is_secret(key: str) -> bool:
    """Tell whether a setting holds a secret."""
    return bool(_SECRET_KEY.fullmatch(key))


def root_url(values: Mapping[str, Any]) -> str:
    """Return the address under which people reach Grafana, with a slash at its end."""
    given = str(values["grafana_root_url"])
    if given:
        return given.rstrip("/") + "/"
    domain = str(values["grafana_domain"])
    return f"http://{f'[{domain}]' if ':' in domain else domain}:{values['grafana_port']}/"


def database(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `grafana_database` with its defaults."""
    return {**DATABASE_DEFAULTS, **values["grafana_database"]}


def _from_file(path: str) -> str:
    return "$__file{{config}/" + path + "}"


def secret_path(section: str, key: str) -> str:
    """Return the path of the file that holds one of `grafana_secret_settings`."""
    return f"secrets/{section}.{key}"


def sections(values: Mapping[str, Any], home: str = "") -> dict[str, dict[str, Any]]:
    """Return the settings by section and key; `home` is the uid of the dashboard to begin with."""
    data, plugins = str(values["grafana_data_dir"]), values["grafana_plugins"]
    secret_key = _from_file("secrets/secret_key")
    address = root_url(values)
    ours: dict[str, dict[str, Any]] = {
        "paths": {
            "data": data,
            "logs": f"{data}/log",
            "plugins": f"{data}/plugins",
            "provisioning": "{config}/provisioning",
        },
        "server": {
            "protocol": "http",
            "http_addr": str(values["grafana_listen_address"]).strip("[]"),
            "http_port": values["grafana_port"],
            "domain": urlsplit(address).hostname or values["grafana_domain"],
            "root_url": address,
            "enable_gzip": True,
        },
        "database": _database_section(database(values)),
        "security": {
            "admin_user": values["grafana_admin_user"],
            # Counts for an empty database only; later changes are made by grafana_admin_password.
            "admin_password": _from_file("secrets/admin_password"),
            "secret_key": secret_key,
            "disable_gravatar": True,
            "cookie_secure": address.startswith("https:"),
            "cookie_samesite": "lax",
        },
        # A second key, whose default is as well known as that of the first.
        "secrets_manager.encryption.secret_key.v1": {"secret_key": secret_key},
        "users": {"allow_sign_up": False, "allow_org_create": False, "auto_assign_org_role": "Viewer"},
        "auth.anonymous": {"enabled": False},
        "analytics": {
            "reporting_enabled": False,
            "check_for_updates": False,
            "check_for_plugin_updates": False,
            "feedback_links_enabled": False,
        },
        "news": {"news_feed_enabled": False},
        "snapshots": {"external_enabled": False},
        "public_dashboards": {"enabled": values["grafana_public_dashboards"]},
        "cloud_migration": {"enabled": False},
        "plugins": {
            "preinstall_disabled": not plugins,
            "preinstall_auto_update": False,
            "plugin_admin_enabled": False,
            "public_key_retrieval_disabled": True,
        },
        # Alerts are Prometheus's and Alertmanager's; Grafana only shows them.
        "unified_alerting": {"enabled": True, "execute_alerts": False},
        "recording_rules": {"enabled": False},
        "metrics": {"enabled": True},
        # systemd keeps what is written to the console.
        "log": {"mode": "console", "level": values["grafana_log_level"]},
        "log.console": {"format": "text"},
    }
    if home:
        ours["users"]["home_page"] = f"/d/{home}"
    if plugins:
        ours["plugins"]["preinstall_sync"] = ",".join(f"{plugin['name']}@{plugin['version']}" for plugin in plugins)
    for section, keys in values["grafana_settings"].items():
        ours.setdefault(str(section), {}).update({str(key): value for key, value in keys.items()})
    for section, keys in values["grafana_secret_settings"].items():
        files = {str(key): _from_file(secret_path(str(section), str(key))) for key in keys}
        ours.setdefault(str(section), {}).update(files)
    if plugins:
        wanted = {str(plugin["name"]) for plugin in plugins}
        off = [name.strip() for name in str(ours["plugins"].get("disable_plugins", "")).split(",") if name.strip()]
        off += [name for name in FETCHED_APPS if name not in wanted]
        ours["plugins"]["disable_plugins"] = ",".join(dict.fromkeys(off))
    return ours


def _database_section(wanted: Mapping[str, Any]) -> dict[str, Any]:
    if wanted["type"] == "sqlite":
        # Readers do not wait for writers.
        return {"type": "sqlite3", "wal": True}
    host = str(wanted["host"])
    found = {
        "type": "postgres",
        "host": f"[{host}]:{wanted['port']}" if ":" in host else f"{host}:{wanted['port']}",
        "name": wanted["name"],
        "user": wanted["user"],
        "ssl_mode": "disable" if host.startswith("/") else wanted["sslmode"],
    }
    if wanted["password"]:
        found["password"] = _from_file("secrets/database_password")
    if wanted["sslrootcert"]:
        found["ca_cert_path"] = wanted["sslrootcert"]
    return found


def ini_value(value: Any) -> str:
    """Return a value as Grafana's parser reads it back; between backquotes it takes every character as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "" if value is None else str(value)
    return text if not text or _SIMPLE.fullmatch(text) else f"`{text}`"


def ini(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of grafana.ini."""
    lines = [HEADER]
    for section, keys in settings.items():
        lines.append(f"[{section}]\n")
        lines += [f"{key} = {ini_value(value)}".rstrip() + "\n" for key, value in keys.items()]
        lines.append("\n")
    return "".join(lines).rstrip("\n") + "\n"


def provider() -> dict[str, Any]:
    """Return the provisioning of the dashboards: one provider, whose folders are the directories."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": PROVIDER,
                "orgId": 1,
                "type": "file",
                "disableDeletion": False,
                "allowUiUpdates": False,
                "updateIntervalSeconds": 10,
                "options": {"path": DASHBOARDS, "foldersFromFilesStructure": True},
            }
        ],
    }


# Grafana knows a provisioned dashboard by the path of its file after all links of the folder: another path is another
# dashboard, and the old one goes with its versions and permissions. So the folder stays, and the files in it are links.
LINK_DASHBOARDS = f"""#!/bin/sh
{HEADER}set -eu
source={{config}}/dashboards
target={DASHBOARDS}
mkdir -p "$target"
if [ -d "$source" ]; then
    cd "$source"
    find . -type d -exec mkdir -p "$target/{{}}" ';'
    find . -type f | while IFS= read -r file; do
        [ -L "$target/$file" ] || ln -s "$source/$file" "$target/$file"
    done
fi
find "$target" -xtype l -delete
find "$target" -mindepth 1 -type d -empty -delete
[ "$#" -eq 0 ] || kill -HUP "$1"
"""


def _home(name: str, dashboards: Iterable[Mapping[str, Any]]) -> str:
    """Return the uid of the dashboard of this name, or nothing where it is not deployed."""
    for item in dashboards:
        if name and str(item["path"]).endswith(f"/{name}.json"):
            return str(json.loads(item["content"])["uid"])
    return ""


def render(values: Mapping[str, Any], dashboards: Sequence[Mapping[str, Any]] = ()) -> Rendered:
    """Return files and secrets; `dashboards` are the files that the dashboards become."""
    wanted = database(values)
    secrets = {
        "secrets/admin_password": str(values["grafana_admin_password"]),
        "secrets/secret_key": str(values["grafana_secret_key"]),
    }
    given = {path: content for path, content in secrets.items() if content}
    start = ["secrets/secret_key"]
    extra = {
        secret_path(str(section), str(key)): str(value)
        for section, keys in values["grafana_secret_settings"].items()
        for key, value in keys.items()
    }
    if wanted["type"] == "postgres" and wanted["password"]:
        extra["secrets/database_password"] = str(wanted["password"])
    empty = {"apiVersion": 1}
    return Rendered(
        files=[
            {
                "path": "grafana.ini",
                "content": ini(sections(values, _home(values["grafana_home_dashboard"], dashboards))),
                "restart": True,
            },
            {"path": "link_dashboards.sh", "content": LINK_DASHBOARDS},
            {"path": "provisioning/dashboards/watchkeeper.yml", "yaml": provider(), "restart": True},
            # Grafana complains about a folder that is not there.
            *(
                {"path": f"provisioning/{kind}/empty.yml", "yaml": empty, "restart": True}
                for kind in ("alerting", "datasources", "plugins")
            ),
            *({"path": item["path"], "content": item["content"]} for item in dashboards),
        ],
        secrets={**given, **extra},
        generate=[*secrets],
        start_secrets=[*start, *extra],
    )


# Data sources


def merged(defaults: Iterable[Mapping[str, Any]], own: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return data sources merged by uid: the user's keys win, and those of `json_data` one by one."""
    found: dict[str, dict[str, Any]] = {str(item.get("uid")): dict(item) for item in defaults}
    for item in own:
        before = found.get(str(item.get("uid")), {})
        both = {**before, **item}
        if isinstance(before.get("json_data"), Mapping) and isinstance(item.get("json_data"), Mapping):
            both["json_data"] = {**before["json_data"], **item["json_data"]}
        found[str(item.get("uid"))] = both
    return list(found.values())


def datasources(values: Mapping[str, Any], health: bool = False) -> list[dict[str, Any]]:
    """Return every data source in the form of the module; with `health` ours must answer."""
    tracing = values["grafana_tracing"]
    ours = [dict(item) for item in values["grafana_datasources_default"]]
    if values["grafana_loki_url"]:
        ours.append(_loki(values["grafana_loki_url"], tracing))
    if tracing:
        ours.append(_tracing(tracing, bool(values["grafana_loki_url"])))
        for item in ours:
            if item.get("uid") == PROMETHEUS:
                links = [{"name": "trace_id", "datasourceUid": TRACING}]
                item["json_data"] = {**item.get("json_data", {}), "exemplarTraceIdDestinations": links}
    ours += [_postgresql(item) for item in values["grafana_postgresql"]]
    for item in ours:
        item.setdefault("health", health)
    return merged(ours, values["grafana_datasources"])


def _loki(url: str, tracing: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": "Loki",
        "uid": LOKI,
        "type": "loki",
        "url": url,
        "access": "proxy",
        "json_data": {"maxLines": 1000},
        # The correlation with a tracing backend that is no longer there goes, too.
        "correlations": [],
    }
    if tracing:
        # Logs of JSON as the health app and the shipped logging configuration write them.
        pattern = r'"trace_id":\s*"([0-9a-f]{16,32})"'
        found["json_data"]["derivedFields"] = [
            {
                "name": "trace_id",
                "matcherType": "regex",
                "matcherRegex": pattern,
                "url": "${__value.raw}",
                "urlDisplayLabel": "Trace",
                "datasourceUid": TRACING,
            }
        ]
        query = {"query": "${trace_id}"}
        found["correlations"] = [
            {
                "target_uid": TRACING,
                "label": "Trace",
                "description": "The trace of a log line",
                "config": {
                    "field": "Line",
                    "target": {"queryType": "traceql", **query} if tracing["type"] == "tempo" else query,
                    "transformations": [{"type": "regex", "expression": pattern, "mapValue": "trace_id"}],
                },
            }
        ]
    return found


def _tracing(tracing: Mapping[str, Any], logs: bool) -> dict[str, Any]:
    kind = tracing["type"]
    data: dict[str, Any] = {"nodeGraph": {"enabled": True}}
    if logs:
        data["tracesToLogsV2"] = {
            "datasourceUid": LOKI,
            "spanStartTimeShift": "-5m",
            "spanEndTimeShift": "5m",
            "tags": [{"key": "service.name", "value": "service_name"}],
            "filterByTraceID": True,
            "filterBySpanID": False,
        }
    if kind == "tempo":
        data["serviceMap"] = {"datasourceUid": PROMETHEUS}
    return {
        "name": TRACING_NAMES[kind],
        "uid": TRACING,
        "type": kind,
        "url": tracing["url"],
        "access": "proxy",
        "json_data": data,
    }


def _postgresql(item: Mapping[str, Any]) -> dict[str, Any]:
    whole = {**POSTGRESQL_DEFAULTS, **item}
    host = str(whole["host"])
    data: dict[str, Any] = {"database": whole["database"], "sslmode": whole["sslmode"]}
    if whole["sslrootcert"]:
        data.update(tlsConfigurationMethod="file-path", sslRootCertFile=whole["sslrootcert"])
    found: dict[str, Any] = {
        "name": f"PostgreSQL {whole['name']}",
        "uid": f"postgresql-{whole['name']}",
        "type": "grafana-postgresql-datasource",
        "url": f"[{host}]:{whole['port']}" if ":" in host else f"{host}:{whole['port']}",
        "access": "proxy",
        "user": whole["user"],
        "json_data": data,
    }
    if whole["password"]:
        found["secure_json_data"] = {"password": whole["password"]}
    return found
