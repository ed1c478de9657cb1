"""What Loki 3.7 knows of the settings that the project writes, from its reference of the configuration.

A section of Loki's is a mapping here, a setting one of the kinds below. Loki refuses every key that it does not know,
and so do these tests where Loki itself cannot be had.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

BOOL, INT, NUMBER, TEXT, TEXTS, LABELS = "bool", "int", "number", "text", "texts", "labels"
# Go's notation, which has no days; Prometheus's; a size with a unit; a day.
DURATION, LONG_DURATION, SIZE, DAY = "duration", "long duration", "size", "day"

_KVSTORE = {"store": TEXT, "prefix": TEXT}
_CACHE = {
    "default_validity": DURATION,
    "embedded_cache": {"enabled": BOOL, "max_size_mb": INT, "max_size_items": INT, "ttl": DURATION},
}
_RESULTS = {"cache": _CACHE, "compression": TEXT}

SCHEMA: dict[str, Any] = {
    "target": TEXT,
    "auth_enabled": BOOL,
    "ballast_bytes": INT,
    "server": {
        "http_listen_network": TEXT,
        "http_listen_address": TEXT,
        "http_listen_port": INT,
        "http_listen_conn_limit": INT,
        "grpc_listen_address": TEXT,
        "grpc_listen_port": INT,
        "graceful_shutdown_timeout": DURATION,
        "http_server_read_timeout": DURATION,
        "http_server_write_timeout": DURATION,
        "http_server_idle_timeout": DURATION,
        "grpc_server_max_recv_msg_size": INT,
        "grpc_server_max_send_msg_size": INT,
        "grpc_server_max_concurrent_streams": INT,
        "log_format": TEXT,
        "log_level": TEXT,
        "http_path_prefix": TEXT,
    },
    "common": {
        "path_prefix": TEXT,
        "replication_factor": INT,
        "persist_tokens": BOOL,
        "ring": {"kvstore": _KVSTORE, "instance_addr": TEXT, "instance_port": INT},
        "instance_addr": TEXT,
    },
    "schema_config": {
        "configs": [
            {
                "from": DAY,
                "store": TEXT,
                "object_store": TEXT,
                "schema": TEXT,
                "index": {"path_prefix": TEXT, "prefix": TEXT, "period": LONG_DURATION},
                "row_shards": INT,
            }
        ]
    },
    "storage_config": {
        "filesystem": {"directory": TEXT},
        "aws": {
            "s3forcepathstyle": BOOL,
            "bucketnames": TEXT,
            "endpoint": TEXT,
            "region": TEXT,
            "insecure": BOOL,
            "http_config": {"timeout": DURATION, "insecure_skip_verify": BOOL, "ca_file": TEXT},
            "storage_class": TEXT,
        },
        "tsdb_shipper": {"active_index_directory": TEXT, "cache_location": TEXT, "cache_ttl": DURATION},
        "max_parallel_get_chunk": INT,
    },
    "compactor": {
        "working_directory": TEXT,
        "compaction_interval": DURATION,
        "apply_retention_interval": DURATION,
        "retention_enabled": BOOL,
        "retention_delete_delay": DURATION,
        "retention_delete_worker_count": INT,
        "delete_request_store": TEXT,
        "delete_request_cancel_period": DURATION,
    },
    "limits_config": {
        "ingestion_rate_strategy": TEXT,
        "ingestion_rate_mb": NUMBER,
        "ingestion_burst_size_mb": NUMBER,
        "max_label_name_length": INT,
        "max_label_value_length": INT,
        "max_label_names_per_series": INT,
        "reject_old_samples": BOOL,
        "reject_old_samples_max_age": LONG_DURATION,
        "creation_grace_period": LONG_DURATION,
        "max_line_size": SIZE,
        "max_line_size_truncate": BOOL,
        "increment_duplicate_timestamp": BOOL,
        "discover_service_name": TEXTS,
        "discover_log_levels": BOOL,
        "max_global_streams_per_user": INT,
        "per_stream_rate_limit": SIZE,
        "per_stream_rate_limit_burst": SIZE,
        "max_chunks_per_query": INT,
        "max_query_series": INT,
        "max_query_lookback": LONG_DURATION,
        "max_query_length": LONG_DURATION,
        "max_query_range": LONG_DURATION,
        "max_query_parallelism": INT,
        "tsdb_max_query_parallelism": INT,
        "max_concurrent_tail_requests": INT,
        "max_entries_limit_per_query": INT,
        "query_timeout": LONG_DURATION,
        "split_queries_by_interval": LONG_DURATION,
        "volume_enabled": BOOL,
        "volume_max_series": INT,
        "deletion_mode": TEXT,
        "retention_period": LONG_DURATION,
        "retention_stream": [{"selector": TEXT, "priority": INT, "period": LONG_DURATION}],
        "allow_structured_metadata": BOOL,
        "max_structured_metadata_size": SIZE,
        "max_structured_metadata_entries_count": INT,
    },
    "ingester": {
        "lifecycler": {"min_ready_duration": DURATION, "ring": {"kvstore": _KVSTORE, "replication_factor": INT}},
        "flush_check_period": DURATION,
        "chunk_idle_period": DURATION,
        "chunk_block_size": INT,
        "chunk_target_size": INT,
        "chunk_encoding": TEXT,
        "max_chunk_age": DURATION,
        "wal": {
            "enabled": BOOL,
            "dir": TEXT,
            "checkpoint_duration": DURATION,
            "flush_on_shutdown": BOOL,
            "replay_memory_ceiling": SIZE,
            "disk_full_threshold": NUMBER,
        },
    },
    "querier": {"max_concurrent": INT, "query_ingesters_within": DURATION, "tail_max_duration": DURATION},
    "frontend": {
        "log_queries_longer_than": DURATION,
        "max_outstanding_per_tenant": INT,
        "compress_responses": BOOL,
        "graceful_shutdown_timeout": DURATION,
    },
    "query_range": {
        "cache_results": BOOL,
        "results_cache": _RESULTS,
        "max_retries": INT,
        "cache_index_stats_results": BOOL,
        "cache_volume_results": BOOL,
        "cache_series_results": BOOL,
        "cache_label_results": BOOL,
        "cache_instant_metric_results": BOOL,
    },
    "chunk_store_config": {"chunk_cache_config": _CACHE},
    "ruler": {
        "external_url": TEXT,
        "datasource_uid": TEXT,
        "external_labels": LABELS,
        "evaluation_interval": DURATION,
        "poll_interval": DURATION,
        "storage": {"type": TEXT, "local": {"directory": TEXT}},
        "rule_path": TEXT,
        "alertmanager_url": TEXT,
        "alertmanager_refresh_interval": DURATION,
        "enable_alertmanager_v2": BOOL,
        "notification_timeout": DURATION,
        "for_outage_tolerance": DURATION,
        "for_grace_period": DURATION,
        "resend_delay": DURATION,
        "ring": {"kvstore": _KVSTORE},
        "enable_api": BOOL,
        "wal": {"dir": TEXT},
    },
    "pattern_ingester": {"enabled": BOOL},
    "analytics": {"reporting_enabled": BOOL, "usage_stats_url": TEXT, "proxy_url": TEXT},
}

_FORMS = {
    DURATION: re.compile(r"0|(\d+(\.\d+)?(ns|us|ms|s|m|h))+"),
    LONG_DURATION: re.compile(r"0|(?=.)(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?"),
    SIZE: re.compile(r"\d+ ?([KMGTPE]?B)?", re.IGNORECASE),
    DAY: re.compile(r"\d{4}-\d\d-\d\d"),
    TEXT: re.compile(r"(?s).*"),
}


def _fits(value: Any, kind: str) -> bool:
    if kind == BOOL:
        return isinstance(value, bool)
    if kind == TEXTS:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind == LABELS:
        return isinstance(value, dict) and all(isinstance(item, str) for pair in value.items() for item in pair)
    if kind in (INT, NUMBER):
        kinds = int if kind == INT else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool)
    return isinstance(value, str) and bool(_FORMS[kind].fullmatch(value))


def problems(value: Any, schema: Any = None, path: str = "") -> list[str]:
    """Return what Loki would not take of a configuration."""
    schema = SCHEMA if schema is None else schema
    if isinstance(schema, Mapping):
        if not isinstance(value, Mapping):
            return [f"{path} is no mapping"]
        found = [f"{path}.{key} is unknown".lstrip(".") for key in value if key not in schema]
        known = (key for key in value if key in schema)
        return found + [
            text for key in known for text in problems(value[key], schema[key], f"{path}.{key}".lstrip("."))
        ]
    if isinstance(schema, list):
        if not isinstance(value, list):
            return [f"{path} is no list"]
        return [text for index, item in enumerate(value) for text in problems(item, schema[0], f"{path}[{index}]")]
    return [] if _fits(value, schema) else [f"{path} is {value!r}, which is no {schema}"]
