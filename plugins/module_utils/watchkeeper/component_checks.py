"""What only the variables of one component together can tell, component by component.

Each check gets the host's values and the documentation of the role's variables, and returns one sentence for each
problem. Where a variable may hold a secret it also checks the types, so that no message shows one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Callable
from urllib.parse import urlsplit

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
    if not re.fullmatch(r"/[\w./+-]+|[\w.-]+|(?=.*:.*:)[0-9a-fA-F:.]+", item["host"], re.ASCII):
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


CHECKS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Mapping[str, Any]]], list[str]]] = {
    "postgres_exporter": check_postgres_exporter,
    "redis_exporter": check_redis_exporter,
    "nginx_exporter": check_nginx_exporter,
    "cadvisor": check_cadvisor,
    "health_app": check_health_app,
    "app_observability": check_app_observability,
}
