"""What only the variables of one component together can tell, component by component.

Each check gets the host's values and the documentation of the role's variables, and returns one sentence for each
problem. Where a variable may hold a secret it also checks the types, so that no message shows one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Callable
from urllib.parse import urlsplit

from . import alloy_config, dashboards, grafana_config, grafana_datasources, loki_config, promtail_config, uptime
from .catalogue import suggestion
from .validation import WHERE, allowed_port, allowed_url, problem

_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
}


def _is_kind(value: Any, kind: str) -> bool:
    return isinstance(value, _KINDS[kind]) and (kind == "bool" or not isinstance(value, bool))


def check_item(where: str, item: Any, options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Check one mapping of a list that may hold secrets against the options that document it."""
    if not isinstance(item, Mapping):
        return [problem(where, None, f"a mapping with the keys {', '.join(options)}", hidden=True)]
    found = [
        f"{where}.{key} is not a key of {where.split('[')[0]}{suggestion(str(key), options)}; {WHERE}"
        for key in item
        if key not in options
    ]
    for key, option in options.items():
        name, kind, hidden = f"{where}.{key}", option["type"], bool(option.get("no_log"))
        if key not in item:
            if option.get("required"):
                found.append(f"{where} needs {key}; {WHERE}")
        elif not _is_kind(item[key], kind):
            quotes = ", in quotes" if kind == "str" else ""
            found.append(problem(name, item[key], f"of type {kind}{quotes}", hidden))
        elif "choices" in option and item[key] not in option["choices"]:
            found.append(problem(name, item[key], f"one of {', '.join(option['choices'])}", hidden))
        elif kind == "list" and not all(_is_kind(part, option["elements"]) for part in item[key]):
            found.append(problem(name, item[key], f"a list of {option['elements']}", hidden))
    return found


_REDIS_URL = re.compile(
    r"rediss?://([\w.~-]+@)?(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:(?P<port>[0-9]+))?(/[0-9]+)?"
    r"|unix://([\w.~-]+@)?(?P<path>/[\w./+-]+)",
    re.ASCII,
)
_INSTANCE_NAME = re.compile(r"[\w.-]+", re.ASCII)
# What makes redis_exporter write its options into its log, all passwords among them.
_REDIS_DEBUG = re.compile(r"(^| )--?(debug(?!=(0|f|false))|log-level[ =]debug)", re.IGNORECASE)


def check_redis_exporter(values: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Check the servers that the Redis exporter measures; no message shows a password."""
    found = []
    variable = "redis_exporter_instances"
    inner = options[variable]["options"]
    defaults = {key: option["default"] for key, option in inner.items()}
    seen: dict[str, set[str]] = {"name": set(), "url": set()}
    # A user who opens the sandbox knows what the exporter sees.
    opened = {"PrivateTmp", "ProtectHome"} & values["redis_exporter_unit_settings"].keys()
    for index, item in enumerate(values[variable]):
        where = f"{variable}[{index}]"
        wrong = check_item(where, item, inner)
        if not wrong:
            whole = {**defaults, **item}
            wrong = _redis_instance(where, whole, () if opened else _HIDDEN_FOLDERS)
            for key, taken in seen.items():
                if whole[key] in taken:
                    allowed = "different for each instance"
                    wrong.append(problem(f"{where}.{key}", whole[key], allowed, hidden="@" in whole[key]))
                taken.add(whole[key])
        found += wrong
    if bool(values["redis_exporter_tls_certificate_file"]) != bool(values["redis_exporter_tls_key_file"]):
        both = "redis_exporter_tls_certificate_file and redis_exporter_tls_key_file"
        found.append(f"{both} go together, but only one is set; {WHERE}")
    if _REDIS_DEBUG.search(" ".join(values["redis_exporter_arguments"])):
        allowed = "free of debug output, which would write the passwords into the journal"
        found.append(problem("redis_exporter_arguments", values["redis_exporter_arguments"], allowed))
    return found


def _redis_instance(where: str, item: Mapping[str, str], hidden_folders: Sequence[str]) -> list[str]:
    """Check name and URL of a Redis server. The exporter finds a password by exactly this URL."""
    found = []
    if not _INSTANCE_NAME.fullmatch(item["name"]):
        found.append(problem(f"{where}.name", item["name"], "letters, digits, '.', '-' and '_'"))
    url = _REDIS_URL.fullmatch(item["url"])
    if not url or (url["port"] and allowed_port(url["port"])):
        allowed = (
            "redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH, with USER@ before the host or the path where "
            f"the server has users, and with the password in {where}.password"
        )
        found.append(problem(f"{where}.url", item["url"], allowed, hidden="@" in item["url"]))
    elif url["path"] and url["path"].startswith(tuple(f"{folder}/" for folder in hidden_folders)):
        allowed = f"a socket outside of {', '.join(hidden_folders)}, which the exporter's sandbox hides"
        found.append(problem(f"{where}.url", item["url"], allowed))
    elif "@" in item["url"] and not item["password"]:
        found.append(problem(f"{where}.password", None, "set, because the URL names a user", hidden=True))
    return found


def check_nginx_exporter(values: Mapping[str, Any], _options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Check the status pages that the nginx exporter reads."""
    variable = "nginx_exporter_scrape_urls"
    urls = [str(url) for url in values[variable]]
    if not urls:
        return [problem(variable, urls, "a list of at least one status page")]
    found = []
    for index, url in enumerate(urls):
        where = f"{variable}[{index}]"
        if url.startswith("unix:"):
            # The program would ask its last socket for every page.
            if len(urls) > 1:
                found.append(problem(where, url, "the only one when it is a socket"))
            elif not re.fullmatch(r"unix:/[^:\s]+:/\S*", url):
                found.append(
                    problem(where, url, "a socket and a path, such as unix:/run/nginx/status.sock:/stub_status")
                )
        elif not url or allowed_url(url):
            found.append(problem(where, url, "a URL that starts with http:// or https://, or unix:/SOCKET:/PATH"))
        elif "@" in urlsplit(url).netloc:
            allowed = "without user and password, which the command line would show to every user of the host"
            found.append(problem(where, url, allowed, hidden=True))
        if url in urls[:index]:
            found.append(problem(where, url, "there once only", hidden="@" in url))
    return found


# What each type of check has beside name, type, critical and timeout: needed keys, further keys.
HEALTH_CHECK_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "postgresql": (("database", "user"), ("host", "port", "password", "sslmode")),
    "redis": ((), ("url", "username", "password")),
    "http": (("url",), ("status", "contains")),
    "tcp": (("host", "port"), ()),
    "disk": ((), ("path", "free_percent")),
}
_CHECK_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}")
_TAG_IN_WORDS = "of letters, digits, '.', '_', '+' and '-'"
_DSN = re.compile(
    r"https?://[0-9A-Za-z-]+(:[0-9A-Za-z-]+)?@(\[[0-9a-fA-F:]+\]|[\w.-]+)(:\d+)?(/[\w.-]+)*/\d+", re.ASCII
)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def check_health_app(values: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Check the health app's checks, and where it reports to; no message shows a secret."""
    found = []
    names: set[str] = set()
    types: set[str] = set()
    for index, check in enumerate(values["health_app_checks"]):
        where = f"health_app_checks[{index}]"
        wrong = check_item(where, check, options["health_app_checks"]["options"]) or _health_check(where, check)
        found += wrong
        if not wrong:
            if check["name"] in names:
                found.append(problem(f"{where}.name", check["name"], "different for each check"))
            names.add(check["name"])
            types.add(check["type"])
    if values["health_app_demo"]:
        found += [
            f"health_app_demo needs a check of type {kind} in health_app_checks; {WHERE}"
            for kind in ("postgresql", "redis")
            if kind not in types
        ]
    for name in ("health_app_service", "health_app_environment", "health_app_release"):
        if not _TAG.fullmatch(values[name]) and (values[name] or name != "health_app_release"):
            found.append(problem(name, values[name], _TAG_IN_WORDS))
    if not 0 <= values["health_app_health_cache"] <= 60:
        found.append(problem("health_app_health_cache", values["health_app_health_cache"], "from 0 to 60 seconds"))
    if not re.fullmatch(r"(/[^/\x00-\x20:%]+)+|", values["health_app_log_directory"]):
        allowed = "an absolute path without spaces, or empty for the journal alone"
        found.append(problem("health_app_log_directory", values["health_app_log_directory"], allowed))
    found += _log_files("health_app_log_max_bytes", "health_app_log_backups", values)
    for name in ("sentry_traces_sample_rate", "sentry_profiles_sample_rate", "otlp_sample_ratio"):
        found += _rate(f"health_app_{name}", values[f"health_app_{name}"])
    return found + _reporting("health_app_", values)


def _health_check(where: str, check: Mapping[str, Any]) -> list[str]:
    """Check one check whose keys have the right types."""
    kind = check["type"]
    needed, further = HEALTH_CHECK_KEYS[kind]
    own = ("name", "type", "critical", "timeout", *needed, *further)
    found = [f"{where} needs {key}, as every check of type {kind}; {WHERE}" for key in needed if key not in check]
    found += [
        f"{where}.{key} does not belong to a check of type {kind}, which has {', '.join(own)}; {WHERE}"
        for key in check
        if key not in own
    ]
    if found:
        return found
    if not _CHECK_NAME.fullmatch(check["name"]):
        found.append(problem(f"{where}.name", check["name"], "small letters, digits and _, with a letter first"))
    if not 0 < check.get("timeout", 1) <= 30:
        found.append(problem(f"{where}.timeout", check["timeout"], "above 0 and at most 30 seconds"))
    if "port" in check and (allowed := allowed_port(check["port"])):
        found.append(problem(f"{where}.port", check["port"], allowed))
    if "@" in check.get("url", ""):
        keys = "; they go into username and password" if kind == "redis" else ""
        found.append(problem(f"{where}.url", None, f"without user name and password{keys}", hidden=True))
    elif kind == "http" and (not check["url"] or allowed_url(check["url"])):
        found.append(problem(f"{where}.url", check["url"], "a URL that starts with http:// or https://"))
    elif kind == "redis" and not re.match(r"rediss?://[^/]|unix:///", check.get("url", "redis://host")):
        allowed = "redis://HOST:PORT/NUMBER, rediss:// for TLS, or unix:///PATH for a socket"
        found.append(problem(f"{where}.url", check["url"], allowed))
    if kind == "disk" and not check.get("path", "/").startswith("/"):
        found.append(problem(f"{where}.path", check["path"], "an absolute path"))
    if kind == "disk" and not 0 < check.get("free_percent", 1) < 100:
        found.append(problem(f"{where}.free_percent", check["free_percent"], "above 0 and below 100"))
    return found


def _rate(name: str, value: float) -> list[str]:
    return [] if 0 <= value <= 1 else [problem(name, value, "from 0 (none) to 1 (all)")]


def _log_files(size: str, backups: str, values: Mapping[str, Any]) -> list[str]:
    """A log without a limit, or without a file to turn it over to, would fill the disk."""
    found = []
    if size in values and not 4096 <= values[size] <= 2**30:
        found.append(problem(size, values[size], f"from 4096 to {2**30} bytes"))
    if backups in values and not 1 <= values[backups] <= 100:
        found.append(problem(backups, values[backups], "from 1 to 100"))
    return found


def _reporting(prefix: str, values: Mapping[str, Any]) -> list[str]:
    """Check where an application reports to: error tracking, traces and New Relic. Secrets stay hidden."""
    found = []
    for dsn in (f"{prefix}sentry_dsn", f"{prefix}sentry_browser_dsn"):
        if values.get(dsn) and not _DSN.fullmatch(values[dsn]):
            allowed = "a DSN of the form https://KEY@HOST/NUMBER, as the error tracker shows it, or empty"
            found.append(problem(dsn, None, allowed, hidden=True))
    key = values.get(f"{prefix}newrelic_license_key", "")
    if key and not re.fullmatch(r"[0-9A-Za-z]{40}", key):
        allowed = "a licence key of 40 letters and digits, or empty"
        found.append(problem(f"{prefix}newrelic_license_key", None, allowed, hidden=True))
    if re.search(r"[\x00-\x1f]", values.get(f"{prefix}newrelic_app_name", "")):
        found.append(problem(f"{prefix}newrelic_app_name", values[f"{prefix}newrelic_app_name"], "one line"))
    if "@" in values.get(f"{prefix}otlp_url", ""):
        allowed = f"without user name and password; a credential is a header in {prefix}otlp_headers"
        found.append(problem(f"{prefix}otlp_url", None, allowed, hidden=True))
    for name, value in values.get(f"{prefix}otlp_headers", {}).items():
        if not _HEADER_NAME.fullmatch(str(name)) or not isinstance(value, str) or not value.isprintable():
            allowed = "a text in one line, in quotes, under the name of a header"
            found.append(problem(f"{prefix}otlp_headers.{name}", None, allowed, hidden=True))
    return found


def check_app_observability(values: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Check the applications whose observability is set up; no message shows a secret."""
    found = []
    seen: dict[str, set[str]] = {"name": set(), "directory": set()}
    for index, item in enumerate(values["app_observability_applications"]):
        where = f"app_observability_applications[{index}]"
        keys = options["app_observability_applications"]["options"]
        wrong = check_item(where, item, keys) or _application(where, item)
        found += wrong
        for key, taken in seen.items() if not wrong else ():
            if item.get(key) in taken:
                found.append(problem(f"{where}.{key}", item[key], "different for each application"))
            if item.get(key):
                taken.add(item[key])
    return found


def _application(where: str, item: Mapping[str, Any]) -> list[str]:
    """Check one application whose keys have the right types."""
    given = {f"{where}.{key}": value for key, value in item.items()}
    found = []
    for key, pattern, allowed in (
        ("name", _TAG.pattern, _TAG_IN_WORDS),
        ("environment", f"{_TAG.pattern}|", f"{_TAG_IN_WORDS}, or empty"),
        ("release", f"{_TAG.pattern}|", f"{_TAG_IN_WORDS}, or empty"),
        ("directory", r"(/[\w.+-]+)+|", "an absolute path of letters, digits, '.', '_', '+' and '-', or empty"),
        ("log_directory", r"(/[\w.+-]+)+|", "an absolute path of letters, digits, '.', '_', '+' and '-', or empty"),
        ("owner", r"[a-z_][a-z0-9_-]*|\d+", "the name or the number of an account"),
        ("group", r"[a-z_][a-z0-9_-]*|\d+", "the name or the number of a group"),
        ("metrics_path", r"/[!-~]*", "a path that starts with /"),
    ):
        if key in item and not re.fullmatch(pattern, item[key]):
            found.append(problem(f"{where}.{key}", item[key], allowed))
    for key in ("traces_sample_rate", "replays_session_sample_rate", "replays_on_error_sample_rate"):
        found += _rate(f"{where}.{key}", item.get(key, 0))
    if not 0 <= item.get("metrics_port", 0) < 65536:
        found.append(problem(f"{where}.metrics_port", item["metrics_port"], "a TCP port, or 0 for none"))
    if allowed := allowed_url(item.get("otlp_url", "")):
        found.append(problem(f"{where}.otlp_url", item["otlp_url"], allowed))
    found += _log_files(f"{where}.log_max_bytes", f"{where}.log_backups", given)
    return found + _reporting(f"{where}.", given)


# A program in a sandbox of its own does not see these.
_HIDDEN_FOLDERS = ("/tmp", "/var/tmp", "/home", "/root", "/run/user")  # noqa: S108 - compared, not used
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DATABASE_HOST = re.compile(r"/[\w./+-]+|[\w.-]+|(?=.*:.*:)[0-9a-fA-F:.]+", re.ASCII)
_COLLECTOR = re.compile(r"[a-z_]+([.][a-z_]+)?")


def check_postgres_exporter(values: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Check the servers that the PostgreSQL exporter measures; no message shows a password."""
    if values["postgres_exporter_state"] == "absent":
        return []
    found = []
    variable = "postgres_exporter_instances"
    inner = options[variable]["options"]
    defaults = {key: option["default"] for key, option in inner.items()}
    names: set[str] = set()
    accounts: set[tuple[str, int, str]] = set()
    for index, item in enumerate(values[variable]):
        where = f"{variable}[{index}]"
        wrong = check_item(where, item, inner)
        if not wrong:
            whole = {**defaults, **item}
            wrong = _postgres_instance(where, whole)
            host = defaults["host"] if whole["host"] in _LOOPBACK else whole["host"].rstrip("/")
            account = (host, whole["port"], whole["user"])
            if whole["name"] in names:
                wrong.append(problem(f"{where}.name", whole["name"], "different for each instance"))
            if account in accounts:
                allowed = "another server than the instances before it; further databases of one go into databases"
                wrong.append(problem(f"{where}.host", whole["host"], allowed))
            names.add(whole["name"])
            accounts.add(account)
        found += wrong
    if values["postgres_exporter_extension_create"] and not values["postgres_exporter_account_create"]:
        found.append(f"postgres_exporter_extension_create needs postgres_exporter_account_create; {WHERE}")
    return found + _postgres_collectors(values)


def _postgres_instance(where: str, item: Mapping[str, Any]) -> list[str]:
    """Check one server whose keys have the right types."""
    found = []
    if not _INSTANCE_NAME.fullmatch(item["name"]):
        found.append(problem(f"{where}.name", item["name"], "letters, digits, '.', '-' and '_'"))
    if not _DATABASE_HOST.fullmatch(item["host"]):
        allowed = "the directory of a socket, or the name or address of a host (the port is a key of its own)"
        found.append(problem(f"{where}.host", item["host"], allowed))
    elif f"{item['host']}/".startswith(tuple(f"{folder}/" for folder in _HIDDEN_FOLDERS)):
        allowed = f"a directory outside of {', '.join(_HIDDEN_FOLDERS)}, which the exporter's sandbox hides"
        found.append(problem(f"{where}.host", item["host"], allowed))
    if allowed := allowed_port(item["port"]):
        found.append(problem(f"{where}.port", item["port"], allowed))
    if item["sslrootcert"] and not item["sslrootcert"].startswith("/"):
        found.append(problem(f"{where}.sslrootcert", item["sslrootcert"], "an absolute path, or empty"))
    # With a space in a name the exporter takes a server that answers for one that is down.
    names = [("database", item["database"]), ("user", item["user"])]
    names += [(f"databases[{index}]", name) for index, name in enumerate(item["databases"])]
    for key, name in names:
        if not re.fullmatch(r"[^\s\x00-\x1f]+", name):
            found.append(problem(f"{where}.{key}", name, "a name without spaces, which the exporter cannot handle"))
    if re.search(r"[\x00-\x1f]", item["password"]):
        found.append(problem(f"{where}.password", None, "one line without control characters", hidden=True))
    if item["database"] in item["databases"] or len(set(item["databases"])) < len(item["databases"]):
        allowed = "further databases, each once; the one in database is measured anyway"
        found.append(problem(f"{where}.databases", item["databases"], allowed))
    return found


def _postgres_collectors(values: Mapping[str, Any]) -> list[str]:
    enabled, disabled = (values[f"postgres_exporter_collectors_{word}"] for word in ("enabled", "disabled"))
    found = []
    for word, names in (("enabled", enabled), ("disabled", disabled)):
        found += [
            problem(f"postgres_exporter_collectors_{word}", name, "a list of collectors' names, such as locks")
            for name in names
            if not _COLLECTOR.fullmatch(str(name))
        ]
    found += [
        f"postgres_exporter_collectors_enabled and postgres_exporter_collectors_disabled both name {name!r}; {WHERE}"
        for name in enabled
        if name in disabled
    ]
    if "wal" in disabled and values["watchkeeper_prove_instances"]:
        allowed = "without wal, whose success proves the account's rights (watchkeeper_prove_instances)"
        found.append(problem("postgres_exporter_collectors_disabled", disabled, allowed))
    return found


def check_cadvisor(values: Mapping[str, Any], _options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Check what the types of cAdvisor's variables cannot say."""
    found = []
    if not values["cadvisor_metrics"]:
        # The program would take its own choice of them, which is nearly all.
        found.append(problem("cadvisor_metrics", [], "at least one kind of metrics"))
    for label in values["cadvisor_container_labels"]:
        if not re.fullmatch(r"[^\s,]+", str(label)):
            allowed = "a list of containers' labels, such as com.docker.compose.service"
            found.append(problem("cadvisor_container_labels", label, allowed))
    return found


_WELL_KNOWN_KEY = "SW2YcwTIb9zpOOhoPsMm"
_SETTING = re.compile(r"[A-Za-z0-9_.-]+")
# The probes and the modules of this project ask without a path in front and by name and password.
_FIXED_SETTINGS = {
    "server.protocol": ("http", "http; HTTPS is the work of a web server in front"),
    "server.serve_from_sub_path": (False, "false; a web server in front takes the path away, see docs/grafana.md"),
    "server.enforce_domain": (False, "false, because each run asks Grafana under the host's own address"),
    "auth.basic.enabled": (True, "true, because the data sources are registered with the administrator's password"),
    "auth.disable_login": (False, "false, because the data sources are registered with the administrator's password"),
    "security.disable_initial_admin_creation": (False, "false, because that account registers the data sources"),
}


def check_grafana(values: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Check Grafana's variables together with its dashboards; no message shows a secret."""
    found = _grafana_login(values) + _grafana_address(values)
    found += _grafana_database(values, options["grafana_database"]["options"])
    for index, plugin in enumerate(values["grafana_plugins"]):
        where, name, version = f"grafana_plugins[{index}]", str(plugin["name"]), str(plugin.get("version", ""))
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
            found.append(problem(f"{where}.name", name, "the id of a plugin, such as grafana-clock-panel"))
        if not re.fullmatch(r"\d+\.\d+\.\d+([-+.][0-9A-Za-z.-]+)?", version):
            allowed = "a version such as 2.1.3: what is not pinned changes by itself"
            found.append(problem(f"{where}.version", version, allowed))
    found += _grafana_settings(values)
    mistaken = _grafana_items(values, options)
    found += mistaken
    if not mistaken:
        sources = grafana_config.datasources(values)
        found += [f"grafana_datasources: {text}; {WHERE}" for text in grafana_datasources.problems(sources)]
        uids = {str(item["uid"]) for item in sources if item.get("state") != "absent"}
        wrong = dashboards.check(values["grafana_dashboards"], uids)
        found += wrong or _grafana_home(values)
    return found


def _grafana_home(values: Mapping[str, Any]) -> list[str]:
    name = values["grafana_home_dashboard"]
    known = dashboards.names(values["grafana_dashboards"])
    if not name or name in known:
        return []
    return [problem("grafana_home_dashboard", name, f"empty or the name of a dashboard: {', '.join(known)}")]


def _grafana_login(values: Mapping[str, Any]) -> list[str]:
    found = []
    if not re.fullmatch(r"[^\s:\x00-\x1f]+", values["grafana_admin_user"]):
        found.append(problem("grafana_admin_user", values["grafana_admin_user"], "a name without spaces and colons"))
    # Grafana takes the spaces around what a file holds away.
    one_line = "one line without spaces around it"
    for name, least in (("grafana_admin_password", 8), ("grafana_secret_key", 16)):
        value = values[name]
        if value and (len(value) < least or value != value.strip() or not value.isprintable()):
            found.append(problem(name, None, f"{one_line}, of at least {least} characters, or empty", hidden=True))
    if values["grafana_secret_key"] == _WELL_KNOWN_KEY:
        allowed = "another key than the one that every Grafana comes with, or empty"
        found.append(problem("grafana_secret_key", None, allowed, hidden=True))
    return found


def _grafana_address(values: Mapping[str, Any]) -> list[str]:
    found = []
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|(?=.*:.*:)[0-9a-fA-F:.]+", values["grafana_domain"]):
        allowed = "a host's name or address, without scheme and port"
        found.append(problem("grafana_domain", values["grafana_domain"], allowed))
    url = urlsplit(values["grafana_root_url"])
    if "@" in url.netloc or url.query or url.fragment:
        allowed = "an address without user, password, ? and #"
        found.append(problem("grafana_root_url", None, allowed, hidden="@" in url.netloc))
    data = values["grafana_data_dir"]
    if not re.fullmatch(r"(/[\w.+-]+)+", data, re.ASCII):
        allowed = "an absolute path of letters, digits, '.', '_', '+' and '-'"
        found.append(problem("grafana_data_dir", data, allowed))
    elif f"{data}/".startswith(tuple(f"{folder}/" for folder in _HIDDEN_FOLDERS)):
        allowed = f"a directory outside of {', '.join(_HIDDEN_FOLDERS)}, which Grafana's sandbox hides"
        found.append(problem("grafana_data_dir", data, allowed))
    return found


def _grafana_database(values: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Check the database; `options` document its keys."""
    variable = "grafana_database"
    found = check_item(variable, values[variable], options)
    if found:
        return found
    whole = grafana_config.database(values)
    if whole["type"] == "sqlite":
        return [
            f"{variable}.{key} belongs to a database of type postgres, but {variable}.type is sqlite; {WHERE}"
            for key in values[variable]
            if key != "type"
        ]
    if not _DATABASE_HOST.fullmatch(whole["host"]):
        allowed = "the directory of a socket, or the name or address of a host (the port is a key of its own)"
        found.append(problem(f"{variable}.host", whole["host"], allowed))
    elif not whole["host"].startswith("/") and not whole["password"]:
        found.append(problem(f"{variable}.password", None, "set for a server that is reached over TCP", hidden=True))
    if allowed := allowed_port(whole["port"]):
        found.append(problem(f"{variable}.port", whole["port"], allowed))
    for key in ("name", "user"):
        if not re.fullmatch(r"[^\s'\\\x00-\x1f]+", whole[key]):
            found.append(problem(f"{variable}.{key}", whole[key], "a name without spaces, quotes and backslashes"))
    if whole["password"] != whole["password"].strip() or not whole["password"].isprintable():
        found.append(problem(f"{variable}.password", None, "one line without spaces around it", hidden=True))
    if whole["sslrootcert"] and not whole["sslrootcert"].startswith("/"):
        found.append(problem(f"{variable}.sslrootcert", whole["sslrootcert"], "an absolute path, or empty"))
    return found


def _grafana_settings(values: Mapping[str, Any]) -> list[str]:
    """Check what goes into grafana.ini as it is; the values of secrets are never shown."""
    found = []
    for variable, hidden in (("grafana_settings", False), ("grafana_secret_settings", True)):
        for section, keys in values[variable].items():
            where = f"{variable}.{section}"
            if not _SETTING.fullmatch(str(section)) or not isinstance(keys, Mapping):
                found.append(problem(where, None, "the name of a section with a mapping of its keys", hidden=True))
                continue
            for key, value in keys.items():
                found += _grafana_setting(variable, str(section), str(key), value, hidden)
                if hidden and key in (values["grafana_settings"].get(section) or {}):
                    found.append(f"{where}.{key} is in grafana_settings, too; {WHERE}")
    return found


def _grafana_setting(variable: str, section: str, key: str, value: Any, hidden: bool) -> list[str]:
    """Check one setting; `hidden` ones are secrets."""
    name, where = f"{section}.{key}", f"{variable}.{section}.{key}"
    if name in grafana_config.OWN_SETTINGS:
        return [f"{where} has a variable of its own: {grafana_config.OWN_SETTINGS[name]}; {WHERE}"]
    if not _SETTING.fullmatch(key):
        return [problem(where, None, "under a key of letters, digits, '.', '-' and '_'", hidden=True)]
    if hidden:
        fine = isinstance(value, str) and value and value == value.strip()
        allowed = "a text that is not empty and has no spaces around it, in quotes"
        return [] if fine else [problem(where, None, allowed, hidden=True)]
    if grafana_config.is_secret(key) and isinstance(value, str) and value:
        return [f"{where} is a secret; move it to grafana_secret_settings.{section}.{key}, in the vault"]
    if not isinstance(value, (str, int, float, bool)) or re.search(r"[`\x00-\x1f]", str(value)):
        return [problem(where, None, "a text of one line without backquotes, a number or true or false", hidden=True)]
    if name in _FIXED_SETTINGS:
        wanted, allowed = _FIXED_SETTINGS[name]
        if str(value).lower() != str(wanted).lower():
            return [problem(where, value, allowed)]
    return []


def _grafana_items(values: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Check the keys and their types of everything that becomes a data source."""
    found = []
    for variable in ("grafana_datasources_default", "grafana_datasources", "grafana_postgresql"):
        inner = options[variable]["options"]
        seen: set[str] = set()
        identity = "name" if variable == "grafana_postgresql" else "uid"
        for index, item in enumerate(values[variable]):
            where = f"{variable}[{index}]"
            wrong = check_item(where, item, inner)
            if not wrong and not item.get(identity):
                wrong = [f"{where} needs {identity}; {WHERE}"]
            if not wrong and item[identity] in seen:
                wrong = [problem(f"{where}.{identity}", item[identity], "different for each entry")]
            if not wrong:
                seen.add(item[identity])
            if not wrong and variable == "grafana_postgresql":
                wrong = _grafana_postgresql(where, {**grafana_config.POSTGRESQL_DEFAULTS, **item})
            found += wrong
    tracing = values["grafana_tracing"]
    found += [f"grafana_tracing needs {key}; {WHERE}" for key in ("type", "url") if tracing and not tracing.get(key)]
    if tracing.get("url") and (allowed := allowed_url(tracing["url"])):
        found.append(problem("grafana_tracing.url", tracing["url"], allowed))
    return found


def _grafana_postgresql(where: str, item: Mapping[str, Any]) -> list[str]:
    found = []
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,29}", item["name"]):
        allowed = "1 to 29 letters, digits, '-' and '_', because it becomes part of a uid"
        found.append(problem(f"{where}.name", item["name"], allowed))
    if not _DATABASE_HOST.fullmatch(item["host"]) or item["host"].startswith("/"):
        allowed = "the name or address of a host (the port is a key of its own)"
        found.append(problem(f"{where}.host", item["host"], allowed))
    if allowed := allowed_port(item["port"]):
        found.append(problem(f"{where}.port", item["port"], allowed))
    if item["sslrootcert"] and not item["sslrootcert"].startswith("/"):
        found.append(problem(f"{where}.sslrootcert", item["sslrootcert"], "an absolute path, or empty"))
    return found


def check_loki(values: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Check Loki's variables, its schema periods among them; no message shows a secret."""
    found = []
    if values["loki_s3"]:
        found = check_item("loki_s3", values["loki_s3"], options["loki_s3"]["options"])
    data = values["loki_data_dir"]
    if not re.fullmatch(r"(/[\w.+-]+){2,}", data, re.ASCII) or f"{data}/".startswith(
        tuple(f"{folder}/" for folder in _HIDDEN_FOLDERS)
    ):
        allowed = (
            "an absolute path of at least two names of letters, digits, '.', '_', '+' and '-', outside of "
            f"{', '.join(_HIDDEN_FOLDERS)}, which the sandbox hides"
        )
        found.append(problem("loki_data_dir", data, allowed))
    return found or loki_config.problems(values)


# Settings of Bugsink's that have a variable of their own, or no choice.
_BUGSINK_SETTINGS = {
    "BASE_URL": "set bugsink_url instead",
    "INGEST_STORE_BASE_DIR": "it lies in bugsink_data_dir",
    "PHONEHOME": "Bugsink tells nobody that it is there",
}
_LOGIN = re.compile(r"[\w.@+-]{1,150}", re.ASCII)
_ABSOLUTE = re.compile(r"(/[\w.+-]+)+", re.ASCII)


def check_bugsink(values: Mapping[str, Any], _options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Check what Bugsink is to be; no message shows a secret."""
    found = []
    url = values["bugsink_url"]
    if not url or (not allowed_url(url) and re.search("[@?#]", url)):
        allowed = "a URL that starts with http:// or https://, without user name, query and fragment"
        found.append(problem("bugsink_url", url, allowed, hidden="@" in url))
    if not _ABSOLUTE.fullmatch(values["bugsink_data_dir"]):
        allowed = "an absolute path of letters, digits, '.', '_', '+' and '-'"
        found.append(problem("bugsink_data_dir", values["bugsink_data_dir"], allowed))
    if not _LOGIN.fullmatch(values["bugsink_admin_user"]):
        allowed = "letters, digits, '@', '.', '+', '-' and '_', at most 150"
        found.append(problem("bugsink_admin_user", values["bugsink_admin_user"], allowed))
    for name, least in (("bugsink_admin_password", 8), ("bugsink_secret_key", 32)):
        value = values[name]
        if value and (len(value) < least or not value.isprintable() or value != value.strip()):
            allowed = f"at least {least} printable characters in one line, without spaces at the ends, or empty"
            found.append(problem(name, None, allowed, hidden=True))
    found += [
        f"bugsink_settings.{name} cannot be set there: {instead}; {WHERE}"
        for name, instead in _BUGSINK_SETTINGS.items()
        if name in values["bugsink_settings"]
    ]
    return found


# Where an alert can go, by the tracker's API.
_ALERTS = {
    "sentry": ("email", "slack"),
    "bugsink": ("slack", "mattermost", "discord", "msteams", "google_chat", "webhook"),
}


def check_sentry(values: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Check which projects there are to be, and how the tracker is asked; no message shows a secret."""
    kind = values["watchkeeper_error_tracker"]
    if kind == "none":
        return []
    found = []
    if kind == "external":
        found += _external_tracker(values)
    if kind == "self_hosted" and not re.fullmatch(r"[^@\s]+@[^@\s]+", values["sentry_self_hosted_admin_email"]):
        allowed = "the e-mail address of the administrator"
        found.append(problem("sentry_self_hosted_admin_email", values["sentry_self_hosted_admin_email"], allowed))
    for name, value in values["sentry_dsns"].items():
        if not isinstance(value, str) or not _DSN.fullmatch(value):
            allowed = "a DSN of the form https://KEY@HOST/NUMBER, as the error tracker shows it"
            found.append(problem(f"sentry_dsns.{name}", None, allowed, hidden=True))
    api = {"bugsink": "bugsink", "external": values["sentry_api"]}.get(kind, "sentry")
    found += _error_alert("sentry_alert", values["sentry_alert"], options["sentry_alert"]["options"], api)
    names: set[str] = set()
    for index, item in enumerate(values["sentry_projects"]):
        where = f"sentry_projects[{index}]"
        inner = options["sentry_projects"]["options"]
        wrong = check_item(where, item, inner)
        if not wrong:
            wrong = _error_alert(f"{where}.alert", item.get("alert", {}), inner["alert"]["options"], api)
            if item["name"] in names:
                wrong.append(problem(f"{where}.name", item["name"], "different for each project"))
            names.add(item["name"])
        found += wrong
    return found


def _external_tracker(values: Mapping[str, Any]) -> list[str]:
    """Check how a tracker is asked that somebody else runs."""
    if not values["sentry_url"]:
        if values["sentry_dsns"]:
            return []
        needed = "sentry_url with sentry_token, or sentry_dsns"
        return [f"watchkeeper_error_tracker is 'external', which needs {needed}; {WHERE}"]
    found = []
    if "@" in values["sentry_url"]:
        found.append(problem("sentry_url", None, "without user name and password", hidden=True))
    if not values["sentry_token"]:
        found.append(f"sentry_token is not set, but sentry_url is; {WHERE}, and keep it in a vault")
    if values["sentry_api"] == "sentry" and not values["sentry_organization"]:
        found.append(f"sentry_organization is not set, but Sentry's API needs it; {WHERE}")
    return found


def _error_alert(where: str, alert: Any, options: Mapping[str, Mapping[str, Any]], api: str) -> list[str]:
    """Check who is told of new errors."""
    if not alert:
        return []
    found = check_item(where, alert, options)
    if found or alert.get("state") == "absent":
        return found
    if alert.get("via") not in _ALERTS[api]:
        allowed = f"one of {', '.join(_ALERTS[api])} with the API of {api}"
        return [problem(f"{where}.via", alert.get("via"), allowed)]
    if api == "bugsink" and (not alert.get("url") or allowed_url(alert["url"])):
        found.append(problem(f"{where}.url", None, "the webhook of the channel", hidden=True))
    if api == "sentry" and alert["via"] == "slack" and not alert.get("channel"):
        found.append(f"{where} needs channel, such as '#errors'; {WHERE}")
    return found


CHECKS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Mapping[str, Any]]], list[str]]] = {
    "postgres_exporter": check_postgres_exporter,
    "redis_exporter": check_redis_exporter,
    "nginx_exporter": check_nginx_exporter,
    "cadvisor": check_cadvisor,
    "bugsink": check_bugsink,
    "sentry": check_sentry,
    "health_app": check_health_app,
    "app_observability": check_app_observability,
    "grafana": check_grafana,
    "loki": check_loki,
    "promtail": lambda values, _options: promtail_config.problems(values),
    "alloy": lambda values, _options: alloy_config.problems(values),
    "uptime": uptime.check_uptime,
}
