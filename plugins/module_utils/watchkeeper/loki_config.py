"""Loki's configuration from the role's variables.

:func:`render` returns what has to lie on the host, :func:`problems` what is wrong with the variables. Nothing here
reads or writes a file. Paths below the configuration folder begin with the token
``{config}/``, which the engine replaces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from .durations import parse_duration
from .validation import WHERE, allowed_url, check_labels, problem

CONFIG = "loki.yml"
SCHEMA = "schema.json"
CREDENTIALS = "secrets/aws_credentials"
# Under this name Loki keeps everything while it does not tell tenants apart.
NO_TENANT = "fake"
FILESYSTEM, S3 = "filesystem", "s3"

PERIODS = ("loki_schema_periods_default", "loki_schema_periods")
PERIOD_DEFAULTS: dict[str, Any] = {"store": "tsdb", "schema": "v13"}
INDEX_DEFAULTS: dict[str, Any] = {"prefix": "index_", "period": "24h"}
S3_DEFAULTS: dict[str, Any] = {
    "endpoint": "",
    "region": "",
    "access_key_id": "",
    "secret_access_key": "",
    "use_instance_role": False,
    "insecure": False,
    "force_path_style": False,
    "ca_file": "",
}
DAY = 86400.0
_LOOPBACK = "127.0.0.1"
_ONE_LOKI = "this project runs Loki as one program"

# What `loki_settings` may not hold, and what to do instead. A path stands for all that is below it, too.
OWN_SETTINGS = {
    "auth_enabled": "loki_multi_tenant",
    "server.http_listen_address": "loki_listen_address",
    "server.http_listen_port": "loki_port",
    "server.grpc_listen_port": "loki_grpc_port",
    "server.log_level": "loki_log_level",
    "common.path_prefix": "loki_data_dir",
    "schema_config": "loki_schema_periods",
    "storage_config.filesystem": "loki_data_dir",
    "storage_config.aws.bucketnames": "loki_s3.bucket",
    "storage_config.aws.endpoint": "loki_s3.endpoint",
    "storage_config.aws.region": "loki_s3.region",
    "storage_config.aws.access_key_id": "loki_s3.access_key_id",
    "storage_config.aws.insecure": "loki_s3.insecure",
    "storage_config.aws.s3forcepathstyle": "loki_s3.force_path_style",
    "storage_config.aws.http_config.ca_file": "loki_s3.ca_file",
    "compactor.retention_delete_delay": "loki_retention_delete_delay",
    "limits_config.retention_period": "loki_retention",
    "limits_config.retention_stream": "loki_retention_streams",
    "limits_config.ingestion_rate_mb": "loki_ingestion_rate_mb",
    "limits_config.ingestion_burst_size_mb": "loki_ingestion_burst_size_mb",
    "limits_config.per_stream_rate_limit": "loki_per_stream_rate_limit",
    "limits_config.per_stream_rate_limit_burst": "loki_per_stream_rate_limit_burst",
    "limits_config.reject_old_samples": "loki_reject_old_samples",
    "limits_config.reject_old_samples_max_age": "loki_reject_old_samples_max_age",
    "limits_config.max_global_streams_per_user": "loki_max_streams",
    "limits_config.max_label_names_per_series": "loki_max_label_names",
    "limits_config.max_line_size": "loki_max_line_length",
    "limits_config.max_entries_limit_per_query": "loki_max_query_entries",
    "limits_config.max_query_length": "loki_max_query_length",
    "limits_config.max_query_series": "loki_max_query_series",
    "limits_config.tsdb_max_query_parallelism": "loki_max_query_parallelism",
    "limits_config.query_timeout": "loki_query_timeout",
    "limits_config.allow_structured_metadata": "loki_allow_structured_metadata",
    "ingester.wal.replay_memory_ceiling": "loki_wal_replay_memory",
    "ingester.chunk_idle_period": "loki_chunk_idle_period",
    "ingester.max_chunk_age": "loki_max_chunk_age",
    "ruler.alertmanager_url": "loki_alertmanager_urls",
    "ruler.evaluation_interval": "loki_evaluation_interval",
    "ruler.external_url": "loki_external_url",
    "ruler.external_labels": "loki_external_labels",
    "ruler.storage": "loki_rules",
}
FIXED_SETTINGS = {
    "target": _ONE_LOKI,
    "common.storage": "the stores are chosen by loki_s3 and the schema periods",
    "common.ring": _ONE_LOKI,
    "common.replication_factor": _ONE_LOKI,
    "common.instance_addr": _ONE_LOKI,
    "ruler.rule_path": "Loki empties this directory at its start",
    "storage_config.use_thanos_objstore": "the stores are chosen by loki_s3 and the schema periods",
}
# Keys that hold a secret, in whatever section.
_SECRET_KEY = re.compile(r"(.+_)?(password|secret|secret_key|secret_access_key|token|account_key|api_key)")
_SECRET_WORDS = ("credentials", "access_key", "sas_token", "connection_string")

# What Loki takes for a size: it knows no other units and no fractions.
_SIZE = re.compile(r"[1-9][0-9]*(B|KB|MB|GB)")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TENANT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,150}")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_ENDPOINT = re.compile(r"(?:(?P<scheme>https?)://)?(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:[0-9]{1,5})?/?", re.ASCII)
_SELECTOR = re.compile(r"\{\s*[a-zA-Z_]\w*\s*(=~|!~|!=|=)\s*[\"`].*[\"`]\s*\}", re.ASCII)

_DURATIONS = (
    "loki_retention_delete_delay",
    "loki_reject_old_samples_max_age",
    "loki_chunk_idle_period",
    "loki_max_chunk_age",
)
_SIZES = (
    "loki_per_stream_rate_limit",
    "loki_per_stream_rate_limit_burst",
    "loki_max_line_length",
    "loki_wal_replay_memory",
)
_COUNTS = (
    "loki_max_streams",
    "loki_max_label_names",
    "loki_max_query_entries",
    "loki_max_query_series",
    "loki_max_query_parallelism",
    "loki_cache_megabytes",
)
_RATES = ("loki_ingestion_rate_mb", "loki_ingestion_burst_size_mb")

RULES_README = "The rules of each tenant lie in a directory of its name. Loki looks for changes by itself.\n"


@dataclass(frozen=True)
class Rendered:
    """What the role hands to the engine."""

    files: list[dict[str, Any]] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    start_secrets: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


def tenant(values: Mapping[str, Any]) -> str:
    """Return the tenant whose rules the project deploys."""
    return str(values["loki_tenant"]) if values["loki_multi_tenant"] else NO_TENANT


def s3(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `loki_s3` with its defaults, or nothing where logs stay on the host."""
    return {**S3_DEFAULTS, **values["loki_s3"]} if values["loki_s3"] else {}


def _default_store(values: Mapping[str, Any]) -> str:
    return S3 if values["loki_s3"] else FILESYSTEM


def periods(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the schema's periods in the order in which they are declared, with everything that was left out."""
    found = []
    for _where, item in _declared(values):
        whole = {"from": "", "object_store": _default_store(values), **PERIOD_DEFAULTS, **item}
        # YAML makes a date of a day that has no quotes.
        whole["from"] = str(whole["from"])
        index = {**INDEX_DEFAULTS, **whole.pop("index", {})}
        # However a user writes it, a day is the same for the record on the host.
        index["period"] = _hours(index["period"])
        found.append({**whole, "index": index})
    return found


def _declared(values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for variable in PERIODS:
        for index, item in enumerate(values[variable]):
            yield f"{variable}[{index}]", item


def _hours(value: Any) -> str:
    try:
        return f"{parse_duration(str(value)) / 3600:g}h"
    except ValueError:
        return str(value)


def _go(text: Any) -> str:
    """Return a duration for the settings that know Go's notation only, which has no days."""
    return f"{parse_duration(str(text)):.15g}s"


def schema(values: Mapping[str, Any]) -> str:
    """Return what the schema guard compares with the record on the host."""
    wheres = [where for where, _item in _declared(values)]
    items = [{"variable": where, **item} for where, item in zip(wheres, periods(values))]
    buckets = {S3: str(values["loki_s3"]["bucket"])} if values["loki_s3"] else {}
    return json.dumps({"periods": items, "buckets": buckets}, indent=1) + "\n"


def settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole configuration file by section."""
    data = str(values["loki_data_dir"])
    every = periods(values)
    timeout = parse_duration(values["loki_query_timeout"])
    ours: dict[str, Any] = {
        "auth_enabled": bool(values["loki_multi_tenant"]),
        "server": {
            "http_listen_address": str(values["loki_listen_address"]).strip("[]"),
            "http_listen_port": values["loki_port"],
            # Loki's parts talk to each other by this port, and nobody else.
            "grpc_listen_address": _LOOPBACK,
            "grpc_listen_port": values["loki_grpc_port"],
            # The default of 4 MiB is less than the answer to a large query.
            "grpc_server_max_recv_msg_size": 16 * 2**20,
            "grpc_server_max_send_msg_size": 16 * 2**20,
            # Else the connection ends before the query does.
            "http_server_read_timeout": f"{timeout + 30:.15g}s",
            "http_server_write_timeout": f"{timeout + 30:.15g}s",
            "graceful_shutdown_timeout": "30s",
            "log_level": values["loki_log_level"],
        },
        "common": {
            # Without it Loki looks for a network interface with a private address, and fails where there is none.
            "instance_addr": _LOOPBACK,
            "path_prefix": data,
            "replication_factor": 1,
            "ring": {"kvstore": {"store": "inmemory"}},
        },
        "schema_config": {"configs": every},
        # Not below common.storage, which takes one store only: a host may move from one to the other.
        "storage_config": {
            "filesystem": {"directory": f"{data}/chunks"},
            "tsdb_shipper": {
                "active_index_directory": f"{data}/tsdb-shipper-active",
                "cache_location": f"{data}/tsdb-shipper-cache",
            },
        },
        "compactor": {
            "working_directory": f"{data}/compactor",
            "retention_enabled": True,
            "retention_delete_delay": _go(values["loki_retention_delete_delay"]),
            # The first period's, because that one never changes.
            "delete_request_store": every[0]["object_store"] if every else _default_store(values),
        },
        "limits_config": _limits(values),
        "ingester": {
            # One ingester has no others that it would have to let settle.
            "lifecycler": {"min_ready_duration": "0s"},
            "wal": {
                "enabled": True,
                "dir": f"{data}/wal",
                "flush_on_shutdown": True,
                "replay_memory_ceiling": values["loki_wal_replay_memory"],
            },
            "chunk_idle_period": _go(values["loki_chunk_idle_period"]),
            "max_chunk_age": _go(values["loki_max_chunk_age"]),
            "chunk_encoding": "snappy",
        },
        "querier": {"max_concurrent": 4},
        "frontend": {
            "compress_responses": True,
            # Its default is longer than systemd waits.
            "graceful_shutdown_timeout": "30s",
        },
        "query_range": {
            "cache_results": True,
            "results_cache": {"cache": _cache(values)},
        },
        "chunk_store_config": {"chunk_cache_config": _cache(values)},
        "ruler": _ruler(values),
        "pattern_ingester": {"enabled": False},
        "analytics": {"reporting_enabled": False},
    }
    bucket = s3(values)
    if bucket:
        ours["storage_config"]["aws"] = _bucket(bucket)
    return merged(ours, values["loki_settings"])


def _cache(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"embedded_cache": {"enabled": True, "max_size_mb": values["loki_cache_megabytes"]}}


def _bucket(wanted: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bucketnames": wanted["bucket"],
        "s3forcepathstyle": wanted["force_path_style"],
        "insecure": wanted["insecure"],
    }
    found.update({key: wanted[key] for key in ("endpoint", "region") if wanted[key]})
    if wanted["ca_file"]:
        found["http_config"] = {"ca_file": wanted["ca_file"]}
    return found


def _limits(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "ingestion_rate_strategy": "local",
        "ingestion_rate_mb": values["loki_ingestion_rate_mb"],
        "ingestion_burst_size_mb": values["loki_ingestion_burst_size_mb"],
        "per_stream_rate_limit": values["loki_per_stream_rate_limit"],
        "per_stream_rate_limit_burst": values["loki_per_stream_rate_limit_burst"],
        "reject_old_samples": values["loki_reject_old_samples"],
        "reject_old_samples_max_age": values["loki_reject_old_samples_max_age"],
        "max_global_streams_per_user": values["loki_max_streams"],
        "max_label_names_per_series": values["loki_max_label_names"],
        "max_line_size": values["loki_max_line_length"],
        # The beginning of a long line is worth more than nothing of it.
        "max_line_size_truncate": True,
        "max_entries_limit_per_query": values["loki_max_query_entries"],
        "max_query_length": values["loki_max_query_length"],
        "max_query_series": values["loki_max_query_series"],
        "max_query_parallelism": values["loki_max_query_parallelism"],
        "tsdb_max_query_parallelism": values["loki_max_query_parallelism"],
        "query_timeout": values["loki_query_timeout"],
        "allow_structured_metadata": values["loki_allow_structured_metadata"],
        "volume_enabled": True,
        "discover_service_name": ["service", "app", "application", "container", "unit", "job"],
        "retention_period": values["loki_retention"],
        # Loki has no login: whoever reaches its port may ask it to delete. So it hides only, which can be taken back.
        # Forbidding it would make each query write an error into Loki's own log.
        "deletion_mode": "filter-only",
    }
    if values["loki_retention_streams"]:
        found["retention_stream"] = [
            {"selector": item["selector"], "priority": item.get("priority", 1), "period": item["period"]}
            for item in values["loki_retention_streams"]
        ]
    return found


def _ruler(values: Mapping[str, Any]) -> dict[str, Any]:
    data = str(values["loki_data_dir"])
    found: dict[str, Any] = {
        "storage": {"type": "local", "local": {"directory": "{config}/rules"}},
        "rule_path": f"{data}/rules-temp",
        "wal": {"dir": f"{data}/ruler-wal"},
        "evaluation_interval": _go(values["loki_evaluation_interval"]),
        "poll_interval": "30s",
        # It shows rules and alerts. Files are all that makes them: this kind of storage takes no changes.
        "enable_api": True,
        "enable_alertmanager_v2": True,
        "datasource_uid": "loki",
    }
    if values["loki_alertmanager_urls"]:
        found["alertmanager_url"] = ",".join(str(url) for url in values["loki_alertmanager_urls"])
    if values["loki_external_url"]:
        found["external_url"] = values["loki_external_url"]
    if values["loki_external_labels"]:
        found["external_labels"] = {str(key): str(value) for key, value in values["loki_external_labels"].items()}
    return found


def merged(ours: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings merged key by key, down to where one side is no mapping; `own` wins."""
    found = dict(ours)
    for key, value in own.items():
        before = found.get(str(key))
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        found[str(key)] = merged(before, value) if both else value  # type: ignore[arg-type]
    return found


def _of_tenant(path: str, values: Mapping[str, Any]) -> str:
    """Return the path of a rule file with the directory of the tenant."""
    return f"rules/{tenant(values)}/{path.rsplit('/', 1)[-1]}"


def render(values: Mapping[str, Any], rules: Iterable[Mapping[str, Any]] = ()) -> Rendered:
    """Return files, secrets and environment; `rules` are the files of the project's own alerts on logs."""
    bucket = s3(values)
    keys = bool(bucket) and not bucket["use_instance_role"]
    return Rendered(
        files=[
            {"path": CONFIG, "yaml": settings(values), "restart": True},
            {"path": SCHEMA, "content": schema(values)},
            # Loki complains about a directory that is not there.
            {"path": "rules/README", "content": RULES_README},
            *({"path": _of_tenant(str(item["path"]), values), "content": item["content"]} for item in rules),
            *(
                {"path": f"rules/{tenant(values)}/{name}.yml", "yaml": content}
                for name, content in values["loki_rules"].items()
            ),
        ],
        secrets={CREDENTIALS: credentials(bucket)} if keys else {},
        start_secrets=[CREDENTIALS] if keys else [],
        # Loki has no setting for a file with the keys, and expanding variables in its configuration would need them in
        # the process's environment. The library that talks to S3 looks for keys by itself when the configuration has
        # none, first in the file that this variable names, whatever the endpoint.
        environment={"AWS_SHARED_CREDENTIALS_FILE": "{config}/" + CREDENTIALS} if keys else {},
    )


def credentials(bucket: Mapping[str, Any]) -> str:
    """Return the text of the file with the keys of a bucket."""
    return (
        "[default]\n"
        f"aws_access_key_id = {bucket['access_key_id']}\n"
        f"aws_secret_access_key = {bucket['secret_access_key']}\n"
    )


# What is wrong


def problems(values: Mapping[str, Any], today: str = "") -> list[str]:
    """Return one sentence for each problem. `today` is the day in UTC, where it is not the real one."""
    found = _sizes_and_durations(values) + _retention(values)
    found += _s3(values) if values["loki_s3"] else []
    found += _periods(values, today or datetime.now(timezone.utc).date().isoformat())
    found += _alerting(values) + _rules(values)
    found += [text for path, value in _leaves(values["loki_settings"]) for text in _setting(path, value)]
    if values["loki_multi_tenant"] and not _TENANT.fullmatch(str(values["loki_tenant"])):
        allowed = "a name of letters, digits, '.', '_' and '-' while loki_multi_tenant is true"
        found.append(problem("loki_tenant", values["loki_tenant"], allowed))
    for word in values["loki_arguments"]:
        if re.match(r"--?config\.(file|expand-env)\b", word):
            found.append(problem("loki_arguments", word, "without -config.file and -config.expand-env"))
        elif re.search(r"(secret|password|credentials|token|account-key)", word.partition("=")[0]):
            allowed = "free of secrets, which every user of the host would see"
            found.append(problem("loki_arguments", None, allowed, hidden=True))
    return found


def _seconds(value: Any) -> float:
    """Return a duration in seconds, or a negative number when it is none."""
    try:
        return parse_duration(str(value))
    except ValueError:
        return -1


def _sizes_and_durations(values: Mapping[str, Any]) -> list[str]:
    found = []
    for name in _DURATIONS:
        if _seconds(values[name]) <= 0:
            found.append(problem(name, values[name], "a duration above zero, such as 30m, 2h or 7d"))
    if _seconds(values["loki_max_query_length"]) < 0:
        allowed = "a duration such as 30d, or 0s for no limit"
        found.append(problem("loki_max_query_length", values["loki_max_query_length"], allowed))
    for name in _SIZES:
        if not _SIZE.fullmatch(str(values[name])):
            found.append(problem(name, values[name], "a whole number with B, KB, MB or GB, such as 256KB"))
    found += [problem(name, values[name], "a whole number above zero") for name in _COUNTS if values[name] < 1]
    found += [problem(name, values[name], "a number of megabytes above zero") for name in _RATES if values[name] <= 0]
    return found


def _retention(values: Mapping[str, Any]) -> list[str]:
    found = []
    period = _seconds(values["loki_retention"])
    if period != 0 and period < DAY:
        allowed = "a duration of at least 24h, such as 30d, or 0s to keep logs for ever"
        found.append(problem("loki_retention", values["loki_retention"], allowed))
    for index, item in enumerate(values["loki_retention_streams"]):
        where = f"loki_retention_streams[{index}]"
        if not _SELECTOR.fullmatch(str(item.get("selector", "")).strip()):
            allowed = "a selector of streams, such as '{job=\"nginx\"}'"
            found.append(problem(f"{where}.selector", item.get("selector"), allowed))
        if _seconds(item.get("period", "")) < DAY:
            allowed = "a duration of at least 24h, such as 7d"
            found.append(problem(f"{where}.period", item.get("period"), allowed))
        if item.get("priority", 1) < 1:
            found.append(problem(f"{where}.priority", item["priority"], "1 or more; the highest one wins"))
    return found


def _s3(values: Mapping[str, Any]) -> list[str]:
    """Check the bucket, whose keys have the right types."""
    found = []
    wanted = s3(values)
    keys = ("access_key_id", "secret_access_key")
    if not _BUCKET.fullmatch(wanted["bucket"]):
        found.append(problem("loki_s3.bucket", wanted["bucket"], "the name of one bucket"))
    for key in keys:
        name = f"loki_s3.{key}"
        if wanted["use_instance_role"]:
            if wanted[key]:
                found.append(problem(name, None, "left out while loki_s3.use_instance_role is true", hidden=True))
        elif not wanted[key]:
            allowed = "set, or loki_s3.use_instance_role true on a machine of AWS whose role may use the bucket"
            found.append(problem(name, None, allowed, hidden=True))
        elif not re.fullmatch(r"[^\s'\"]+", wanted[key]):
            found.append(problem(name, None, "without spaces and quotes", hidden=True))
    endpoint = _ENDPOINT.fullmatch(wanted["endpoint"])
    if wanted["endpoint"] and not endpoint:
        allowed = "HOST, HOST:PORT or the same with http:// or https:// before it"
        found.append(problem("loki_s3.endpoint", wanted["endpoint"], allowed, hidden="@" in wanted["endpoint"]))
    elif endpoint and wanted["insecure"] and endpoint["scheme"] == "https":
        found.append(problem("loki_s3.insecure", True, "false for an endpoint that begins with https://"))
    if not wanted["endpoint"] and not wanted["region"]:
        found.append(f"loki_s3 needs region, or endpoint for a server that is not Amazon's; {WHERE}")
    if wanted["ca_file"] and not wanted["ca_file"].startswith("/"):
        found.append(problem("loki_s3.ca_file", wanted["ca_file"], "an absolute path, or empty"))
    return found


def _is_day(text: str) -> bool:
    try:
        # In one notation only: the host compares days as texts.
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _periods(values: Mapping[str, Any], today: str) -> list[str]:
    """Check the periods among themselves; what the host has stored by them its schema guard knows."""
    wheres = [where for where, _item in _declared(values)]
    every = periods(values)
    if not every:
        return [problem(PERIODS[0], [], "a list of at least one period")]
    found = []
    for where, item in zip(wheres, every):
        found += _period(where, item, values)
    if found:
        return found
    if every[0]["from"] > today:
        allowed = f"a day that has begun (today is {today}, UTC): Loki could not store anything until then"
        found.append(problem(f"{wheres[0]}.from", every[0]["from"], allowed))
    for where, before, item in zip(wheres[1:], every, every[1:]):
        if item["from"] <= before["from"]:
            allowed = f"later than that of the period before, {before['from']}"
            found.append(problem(f"{where}.from", item["from"], allowed))
    last = every[-1]
    for key, wanted in PERIOD_DEFAULTS.items():
        if last[key] != wanted:
            allowed = f"{wanted} in the last period; older forms are for the logs that a host already has"
            found.append(problem(f"{wheres[-1]}.{key}", last[key], allowed))
    return found


def _period(where: str, item: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    found = []
    if not _is_day(item["from"]):
        found.append(problem(f"{where}.from", item["from"], "a day in quotes, such as '2027-01-01'"))
    for key, allowed in (
        ("store", ("tsdb", "boltdb-shipper")),
        ("object_store", (FILESYSTEM, S3)),
        ("schema", ("v9", "v10", "v11", "v12", "v13")),
    ):
        if item[key] not in allowed:
            found.append(problem(f"{where}.{key}", item[key], f"one of {', '.join(allowed)}"))
    if item["object_store"] == S3 and not values["loki_s3"]:
        found.append(f"{where}.object_store is 's3', which needs loki_s3; {WHERE}")
    prefix, period = str(item["index"]["prefix"]), item["index"]["period"]
    if not _NAME.fullmatch(prefix):
        found.append(problem(f"{where}.index.prefix", prefix, "letters, digits, '_' and '-'"))
    if period != "24h":
        found.append(problem(f"{where}.index.period", period, "24h"))
    return found


def _alerting(values: Mapping[str, Any]) -> list[str]:
    found = []
    for index, url in enumerate(values["loki_alertmanager_urls"]):
        where = f"loki_alertmanager_urls[{index}]"
        if not url or allowed_url(url) or "," in url:
            found.append(problem(where, url, "a URL that starts with http:// or https://", hidden="@" in str(url)))
        elif "@" in urlsplit(url).netloc:
            found.append(problem(where, None, "without user and password", hidden=True))
    return found + check_labels("loki_external_labels", values["loki_external_labels"])


def _rules(values: Mapping[str, Any]) -> list[str]:
    allowed = "a mapping with groups, under a name of letters, digits, - and _"
    return [
        problem(f"loki_rules.{name}", None, allowed, hidden=True)
        for name, content in values["loki_rules"].items()
        if not isinstance(content, Mapping) or list(content) != ["groups"] or not _NAME.fullmatch(str(name))
    ]


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting that is no mapping, with its path."""
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, f"{path}{key}.")
        else:
            yield f"{path}{key}", item


def _secrets(value: Any, key: str = "") -> bool:
    """Tell whether a setting is a secret, or has one inside of a list."""
    if isinstance(value, Mapping):
        return any(_secrets(item, str(name)) for name, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return any(_secrets(item, key) for item in value)
    if not isinstance(value, str) or not value:
        return False
    in_url = bool(re.search(r"://\S*@", value))
    return in_url or bool(_SECRET_KEY.fullmatch(key)) or key in _SECRET_WORDS


def _setting(path: str, value: Any) -> list[str]:
    """Check one of the free settings. Which keys there are Loki knows, and its own check of a candidate says so."""
    where = f"loki_settings.{path}"
    if _secrets(value, path.rsplit(".", 1)[-1]):
        instead = "use the setting of Loki's that names a file"
        if path.startswith("storage_config.aws."):
            instead = "use loki_s3.access_key_id and loki_s3.secret_access_key, in the vault"
        return [f"{where} is a secret, which would stand in the configuration file; {instead}"]
    for taken, instead in (*OWN_SETTINGS.items(), *FIXED_SETTINGS.items()):
        if f"{path}.".startswith(f"{taken}.") or taken.startswith(f"{path}."):
            if taken in OWN_SETTINGS:
                return [f"{where} has a variable of its own: {instead}; {WHERE}"]
            return [f"{where} is not for change: {instead}; {WHERE}"]
    return []
