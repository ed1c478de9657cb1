"""What Loki gets: the settings that it knows, logs that stay readable, and bad input that is refused beforehand."""

from __future__ import annotations

import importlib.util
import json
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import pytest
import yaml
from ansible.module_utils.watchkeeper import loki_config
from ansible.module_utils.watchkeeper.alerts import load_catalogue, log_cases
from ansible.module_utils.watchkeeper.component_checks import check_loki
from ansible.module_utils.watchkeeper.declaration import OwnedFile
from ansible.module_utils.watchkeeper.release import unpack_program
from ansible.module_utils.watchkeeper.settings import documented

from tests.unit import loki_schema
from tests.unit.live import ARCH, MIRROR, Program, answers, free_port, get, sample, wait_until
from tests.unit.runs import ROOT, Run, inventory, run_site

GUARD = ROOT / "roles" / "loki" / "files" / "schema_guard.py"
OPTIONS = documented(ROOT, "loki")
SECRET = "planted/secret+key="  # noqa: S105
TODAY = "2026-11-24"
BUCKET: dict[str, Any] = {
    "bucket": "logs",
    "region": "eu-central-1",
    "access_key_id": "ID",
    "secret_access_key": SECRET,
}
RULES = [{"path": "rules/fake/logs.yml", "content": "groups: []\n"}]
GROUPS = {
    "groups": [
        {
            "name": "mine",
            "rules": [{"alert": "Many", "expr": 'sum(rate({job="x"}[5m])) > 1', "labels": {"severity": "warning"}}],
        }
    ]
}
# What is templated in the role's defaults, on a host by itself.
DERIVED: dict[str, Any] = {
    "loki_listen_address": "127.0.0.1",
    "loki_tenant": "",
    "loki_alertmanager_urls": ["http://127.0.0.1:9093"],
    "loki_external_url": "",
    "loki_external_labels": {},
    "loki_schema_periods_default": [{"from": "2024-01-01"}],
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bucket": {"loki_s3": BUCKET},
    "server of its own": {
        "loki_s3": {**BUCKET, "endpoint": "s3.example.com:9000", "insecure": True, "force_path_style": True}
    },
    "role of the machine": {"loki_s3": {"bucket": "logs", "region": "eu-central-1", "use_instance_role": True}},
    "certificates": {"loki_s3": {**BUCKET, "endpoint": "https://s3.example.com", "ca_file": "/etc/ssl/s3.pem"}},
    "moved to a bucket": {
        "loki_s3": BUCKET,
        "loki_schema_periods_default": [
            {"from": "2022-01-01", "store": "boltdb-shipper", "object_store": "filesystem", "schema": "v11"},
            {"from": date(2024, 5, 1), "object_store": "filesystem", "index": {"prefix": "new_", "period": "1d"}},
        ],
        "loki_schema_periods": [{"from": "2099-01-01"}],
    },
    "tenants": {"loki_multi_tenant": True, "loki_tenant": "shop"},
    "retention": {
        "loki_retention": "0s",
        "loki_retention_streams": [
            {"selector": '{job="nginx"}', "period": "7d"},
            {"selector": '{job=~"a|b", level!="info"}', "period": "24h", "priority": 7},
        ],
    },
    "alerting": {
        "loki_alertmanager_urls": ["http://10.0.0.1:9093", "http://[2001:db8::1]:9093"],
        "loki_external_url": "https://grafana.example.com/",
        "loki_external_labels": {"site": "north"},
        "loki_rules": {"mine": GROUPS},
    },
    "no alerting": {"loki_alertmanager_urls": []},
    "other values": {
        "loki_listen_address": "[::]",
        "loki_log_level": "debug",
        "loki_reject_old_samples": False,
        "loki_allow_structured_metadata": False,
        "loki_query_timeout": "1m30s",
        "loki_max_query_length": "0s",
        "loki_chunk_idle_period": "1d",
        "loki_ingestion_rate_mb": 1.5,
    },
    "settings": {
        "loki_settings": {
            "server": {"http_server_idle_timeout": "3m"},
            "limits_config": {"max_chunks_per_query": 1000, "discover_service_name": []},
            "querier": {"max_concurrent": 2},
        }
    },
}


def values_of(**own: Any) -> dict[str, Any]:
    """The role's variables with those of a test."""
    text = (ROOT / "roles" / "loki" / "defaults" / "main.yml").read_text(encoding="utf-8")
    return {**yaml.safe_load(text), **DERIVED, **own}


def settings_of(**own: Any) -> dict[str, Any]:
    """What Loki reads, as it reads it."""
    [file] = [item for item in loki_config.render(values_of(**own)).files if item["path"] == "loki.yml"]
    found: dict[str, Any] = yaml.safe_load(yaml.safe_dump(file["yaml"]))
    return found


def problems_of(**own: Any) -> list[str]:
    """What is wrong with these variables."""
    return check_loki(values_of(**own), OPTIONS)


every_variant = pytest.mark.parametrize("variant", list(VARIANTS))


@every_variant
def test_loki_knows_every_setting(variant: str) -> None:
    assert loki_schema.problems(settings_of(**VARIANTS[variant])) == []


@every_variant
def test_every_variant_is_allowed(variant: str) -> None:
    assert problems_of(**VARIANTS[variant]) == []


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("limits_config", "enforce_metric_name", False),
        ("limits_config", "max_line_size", "a lot"),
        ("ingester", "chunk_idle_period", "1d"),
        ("ingester", "wal", True),
        ("server", "http_listen_port", "3100"),
        ("ruler", "external_labels", {"site": 1}),
        ("schema_config", "configs", [{"from": "yesterday"}]),
    ],
)
def test_what_loki_would_refuse_is_found(section: str, key: str, value: Any) -> None:
    """Else the table would be worth nothing."""
    wrong = loki_config.merged(settings_of(), {section: {key: value}})
    [found] = loki_schema.problems(wrong)
    assert found.startswith(f"{section}.{key}")


def test_paths_and_types_hold_together() -> None:
    """Each is valid without the others, and logs would go to a place where nobody looks for them."""
    found = settings_of(loki_data_dir="/srv/loki")
    assert found["common"]["path_prefix"] == "/srv/loki"
    assert found["common"]["replication_factor"] == 1
    assert found["common"]["ring"]["kvstore"]["store"] == "inmemory"
    assert found["common"]["instance_addr"] == found["server"]["grpc_listen_address"] == "127.0.0.1"
    assert found["storage_config"]["filesystem"]["directory"] == "/srv/loki/chunks"
    assert found["ingester"]["wal"]["dir"] == "/srv/loki/wal"
    assert found["compactor"]["working_directory"] == "/srv/loki/compactor"
    assert found["compactor"]["retention_enabled"] is True
    assert found["compactor"]["delete_request_store"] == "filesystem"
    assert found["auth_enabled"] is False
    assert found["analytics"]["reporting_enabled"] is False
    assert found["ruler"]["storage"] == {"type": "local", "local": {"directory": "{config}/rules"}}
    for path in ("/srv/loki/rules-temp", "/srv/loki/ruler-wal"):
        assert path in (found["ruler"]["rule_path"], found["ruler"]["wal"]["dir"])


def test_the_limits_of_the_specification() -> None:
    limits = settings_of()["limits_config"]
    wanted = {
        "reject_old_samples": True,
        "reject_old_samples_max_age": "168h",
        "ingestion_rate_mb": 10,
        "ingestion_burst_size_mb": 20,
        "per_stream_rate_limit": "5MB",
        "per_stream_rate_limit_burst": "20MB",
    }
    assert {key: limits[key] for key in wanted} == wanted
    assert "enforce_metric_name" not in limits


def test_nobody_may_destroy_logs_over_the_network() -> None:
    """Loki has no login; a request to delete only hides, and can be taken back."""
    assert settings_of()["limits_config"]["deletion_mode"] == "filter-only"


def test_the_schema() -> None:
    [period] = settings_of()["schema_config"]["configs"]
    assert period == {
        "from": "2024-01-01",
        "object_store": "filesystem",
        "store": "tsdb",
        "schema": "v13",
        "index": {"prefix": "index_", "period": "24h"},
    }
    moved = settings_of(**VARIANTS["moved to a bucket"])["schema_config"]["configs"]
    assert [(item["from"], item["object_store"]) for item in moved] == [
        ("2022-01-01", "filesystem"),
        ("2024-05-01", "filesystem"),
        ("2099-01-01", "s3"),
    ]
    assert moved[1]["index"] == {"prefix": "new_", "period": "24h"}


def test_the_default_period_is_the_roles() -> None:
    """What the tests leave to render() stands in the role in full, for people to read."""
    text = (ROOT / "roles" / "loki" / "defaults" / "main.yml").read_text(encoding="utf-8")
    [shipped] = yaml.safe_load(text)["loki_schema_periods_default"]
    [period] = loki_config.periods(values_of())
    assert {**shipped, "object_store": "filesystem"} == period


def test_keys_of_a_bucket_are_a_file_and_nothing_else() -> None:
    found = loki_config.render(values_of(loki_s3=BUCKET))
    assert SECRET not in json.dumps(found.files)
    assert found.environment == {"AWS_SHARED_CREDENTIALS_FILE": "{config}/secrets/aws_credentials"}
    assert found.secrets == {
        "secrets/aws_credentials": f"[default]\naws_access_key_id = ID\naws_secret_access_key = {SECRET}\n"
    }
    # The library reads them once.
    assert found.start_secrets == ["secrets/aws_credentials"]


@pytest.mark.parametrize("variant", ["plain", "role of the machine"])
def test_no_keys_no_file(variant: str) -> None:
    found = loki_config.render(values_of(**VARIANTS[variant]))
    assert (found.environment, found.secrets, found.start_secrets) == ({}, {}, [])


@pytest.mark.parametrize(("own", "folder"), [({}, "fake"), (VARIANTS["tenants"], "shop")])
def test_rules_lie_where_their_tenant_looks(own: dict[str, Any], folder: str) -> None:
    found = loki_config.render(values_of(**own, loki_rules={"mine": GROUPS}), RULES)
    paths = [item["path"] for item in found.files]
    assert {path for path in paths if path.startswith("rules/")} == {
        "rules/README",
        f"rules/{folder}/logs.yml",
        f"rules/{folder}/mine.yml",
    }
    for path in paths:
        OwnedFile(path, "")
    # Rules alone are no restart.
    assert [item["path"] for item in found.files if item.get("restart")] == ["loki.yml"]


def test_settings_of_ones_own_win() -> None:
    found = settings_of(**VARIANTS["settings"])
    assert found["server"]["http_server_idle_timeout"] == "3m"
    assert found["server"]["http_listen_port"] == 3100
    assert found["limits_config"]["discover_service_name"] == []
    assert found["limits_config"]["max_chunks_per_query"] == 1000
    assert found["querier"] == {"max_concurrent": 2}


PAST = [{"from": "2024-01-01"}]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"loki_retention": "12h"}, "loki_retention is '12h', but must be a duration of at least 24h"),
    ({"loki_retention": "soon"}, "loki_retention is 'soon'"),
    ({"loki_retention_streams": [{"selector": '{job="x"}', "period": "1h"}]}, "loki_retention_streams[0].period"),
    ({"loki_retention_streams": [{"selector": "job=x", "period": "7d"}]}, "loki_retention_streams[0].selector"),
    (
        {"loki_retention_streams": [{"selector": '{job="x"}', "period": "7d", "priority": 0}]},
        "loki_retention_streams[0].priority",
    ),
    ({"loki_chunk_idle_period": "30"}, "loki_chunk_idle_period is '30'"),
    ({"loki_max_chunk_age": "0s"}, "loki_max_chunk_age is '0s'"),
    ({"loki_max_query_length": "far"}, "loki_max_query_length is 'far'"),
    ({"loki_max_line_length": "256KiB"}, "loki_max_line_length is '256KiB'"),
    ({"loki_per_stream_rate_limit": "1.5MB"}, "loki_per_stream_rate_limit is '1.5MB'"),
    ({"loki_wal_replay_memory": ""}, "loki_wal_replay_memory is ''"),
    ({"loki_max_streams": 0}, "loki_max_streams is 0"),
    ({"loki_ingestion_rate_mb": 0.0}, "loki_ingestion_rate_mb is 0.0"),
    ({"loki_data_dir": "/home/loki"}, "loki_data_dir is '/home/loki'"),
    ({"loki_data_dir": "/loki"}, "loki_data_dir is '/loki'"),
    ({"loki_s3": {"bucket": "logs", "endpoint": "s3.example.com"}}, "loki_s3.access_key_id is (hidden)"),
    ({"loki_s3": {**BUCKET, "secret_access_key": ""}}, "loki_s3.secret_access_key is (hidden), but must be set, or"),
    ({"loki_s3": {**BUCKET, "secret_access_key": f"{SECRET} x"}}, "loki_s3.secret_access_key is (hidden)"),
    ({"loki_s3": {**BUCKET, "secret_access_key": 5}}, "loki_s3.secret_access_key is (hidden)"),
    ({"loki_s3": {**BUCKET, "use_instance_role": True}}, "loki_s3.secret_access_key is (hidden), but must be left out"),
    ({"loki_s3": {"endpoint": "s3.example.com"}}, "loki_s3 needs bucket"),
    ({"loki_s3": {**BUCKET, "bucket": "a,b"}}, "loki_s3.bucket is 'a,b'"),
    ({"loki_s3": {**BUCKET, "buckets": "x"}}, "loki_s3.buckets is not a key of loki_s3; did you mean 'bucket'"),
    ({"loki_s3": {**BUCKET, "endpoint": f"https://u:{SECRET}@s3"}}, "loki_s3.endpoint is (hidden)"),
    ({"loki_s3": {**BUCKET, "endpoint": "https://s3.example.com", "insecure": True}}, "loki_s3.insecure is True"),
    ({"loki_s3": {**BUCKET, "region": ""}}, "loki_s3 needs region"),
    ({"loki_s3": {**BUCKET, "ca_file": "s3.pem"}}, "loki_s3.ca_file is 's3.pem'"),
    ({"loki_schema_periods_default": []}, "loki_schema_periods_default is []"),
    ({"loki_schema_periods_default": [{"from": "2099-01-01"}]}, "a day that has begun"),
    ({"loki_schema_periods": [{"from": "2023-01-01"}]}, "loki_schema_periods[0].from is '2023-01-01'"),
    ({"loki_schema_periods": [{"from": "2024-01-01"}]}, "later than that of the period before, 2024-01-01"),
    ({"loki_schema_periods": [{"from": "01.01.2099"}]}, "loki_schema_periods[0].from is '01.01.2099'"),
    ({"loki_schema_periods": [{"from": "20990101"}]}, "loki_schema_periods[0].from is '20990101'"),
    ({"loki_schema_periods": [{"from": "2099-01-01", "schema": "v12"}]}, "must be v13 in the last period"),
    ({"loki_schema_periods": [{"from": "2099-01-01", "schema": "v14"}]}, "loki_schema_periods[0].schema is 'v14'"),
    ({"loki_schema_periods": [{"from": "2099-01-01", "store": "boltdb-shipper"}]}, "must be tsdb in the last period"),
    ({"loki_schema_periods": [{"from": "2099-01-01", "object_store": "s3"}]}, "which needs loki_s3"),
    ({"loki_schema_periods": [{"from": "2099-01-01", "object_store": "gcs"}]}, "one of filesystem, s3"),
    ({"loki_schema_periods": [{"from": "2099-01-01", "index": {"period": "48h"}}]}, "index.period is '48h'"),
    ({"loki_schema_periods": [{"from": "2099-01-01", "index": {"prefix": "a/b"}}]}, "index.prefix is 'a/b'"),
    ({"loki_multi_tenant": True}, "loki_tenant is ''"),
    ({"loki_multi_tenant": True, "loki_tenant": ".."}, "loki_tenant is '..'"),
    ({"loki_alertmanager_urls": ["10.0.0.1:9093"]}, "loki_alertmanager_urls[0] is '10.0.0.1:9093'"),
    ({"loki_alertmanager_urls": [f"http://u:{SECRET}@a:9093"]}, "loki_alertmanager_urls[0] is (hidden)"),
    ({"loki_external_labels": {"a-b": "c"}}, "loki_external_labels.a-b"),
    ({"loki_rules": {"../x": GROUPS}}, "loki_rules.../x is (hidden)"),
    ({"loki_rules": {"mine": [1]}}, "loki_rules.mine is (hidden), but must be a mapping with groups"),
    ({"loki_settings": {"server": {"http_listen_port": 1}}}, "has a variable of its own: loki_port"),
    ({"loki_settings": {"schema_config": {"configs": []}}}, "has a variable of its own: loki_schema_periods"),
    ({"loki_settings": {"server": None}}, "has a variable of its own"),
    ({"loki_settings": {"ruler": {"storage": {"type": "s3"}}}}, "has a variable of its own: loki_rules"),
    (
        {"loki_settings": {"common": {"ring": {"kvstore": {"store": "etcd"}}}}},
        "common.ring.kvstore.store is not for change",
    ),
    ({"loki_settings": {"storage_config": {"aws": {"secret_access_key": SECRET}}}}, "use loki_s3.access_key_id"),
    (
        {"loki_settings": {"ruler": {"alertmanager_client": {"basic_auth_password": SECRET}}}},
        "loki_settings.ruler.alertmanager_client.basic_auth_password is a secret",
    ),
    (
        {"loki_settings": {"storage_config": {"aws": {"s3": f"s3://id:{SECRET}@eu/logs"}}}},
        "loki_settings.storage_config.aws.s3 is a secret",
    ),
    (
        {"loki_settings": {"ruler": {"remote_write": {"clients": [{"basic_auth": {"password": SECRET}}]}}}},
        "loki_settings.ruler.remote_write.clients is a secret",
    ),
    ({"loki_arguments": ["-config.file=/etc/x"]}, "loki_arguments is '-config.file=/etc/x'"),
    ({"loki_arguments": [f"-common.storage.s3.secret-access-key={SECRET}"]}, "loki_arguments is (hidden)"),
]


@pytest.mark.parametrize(("own", "words"), BAD)
def test_bad_input(own: dict[str, Any], words: str) -> None:
    """Each is one sentence or more that name the variable, and no secret."""
    found = problems_of(**own)
    assert any(words in text for text in found), found
    assert all(text.startswith("loki_") for text in found)
    assert SECRET not in "".join(found)


def test_the_first_period_may_begin_today() -> None:
    periods = [{"from": TODAY}]
    assert loki_config.problems(values_of(loki_schema_periods_default=periods), TODAY) == []
    assert loki_config.problems(values_of(loki_schema_periods_default=periods), "2026-11-23") != []


# The guard on the host


def _guard() -> Any:
    spec = importlib.util.spec_from_file_location("schema_guard", GUARD)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


guard = _guard()
RAN = {"loki_schema_periods": [{"from": "2025-06-01", "index": {"prefix": "b_"}}, {"from": "2026-12-24"}]}


def schema_of(**own: Any) -> dict[str, Any]:
    """The schema of a configuration as it lies on the host."""
    found: dict[str, Any] = json.loads(loki_config.schema(values_of(**own)))
    return found


def lost(wanted: dict[str, Any], ran: dict[str, Any], today: str = TODAY) -> list[str]:
    """What the guard has against a change from one set of variables to another."""
    found: list[str] = guard.problems(schema_of(**wanted), schema_of(**ran), date.fromisoformat(today))
    return found


@pytest.mark.parametrize(
    ("wanted", "ran"),
    [
        (RAN, RAN),
        # What has not begun may change, or go.
        ({"loki_schema_periods": RAN["loki_schema_periods"][:1]}, RAN),
        (
            {"loki_schema_periods": [RAN["loki_schema_periods"][0], {"from": "2026-12-24", "index": {"prefix": "c_"}}]},
            RAN,
        ),
        ({"loki_schema_periods": [RAN["loki_schema_periods"][0], {"from": "2026-11-25"}]}, RAN),
        # The same period in another variable or notation.
        ({"loki_schema_periods": [{"from": date(2025, 1, 1)}]}, {"loki_schema_periods": [{"from": "2025-01-01"}]}),
        (
            {"loki_schema_periods_default": [*PAST, {"from": "2025-01-01", "index": {"period": "1d"}}]},
            {"loki_schema_periods": [{"from": "2025-01-01"}]},
        ),
        # A move to a bucket as it is meant.
        (
            {
                "loki_s3": BUCKET,
                "loki_schema_periods_default": [{"from": "2024-01-01", "object_store": "filesystem"}],
                "loki_schema_periods": [{"from": "2026-11-25"}],
            },
            {},
        ),
        # A bucket in which nothing is yet.
        (
            {
                "loki_s3": {**BUCKET, "bucket": "other"},
                "loki_schema_periods_default": [{"from": "2024-01-01", "object_store": "filesystem"}],
                "loki_schema_periods": [{"from": "2026-12-01"}],
            },
            {
                "loki_s3": BUCKET,
                "loki_schema_periods_default": [{"from": "2024-01-01", "object_store": "filesystem"}],
                "loki_schema_periods": [{"from": "2026-12-01"}],
            },
        ),
    ],
)
def test_what_keeps_logs_readable_is_allowed(wanted: dict[str, Any], ran: dict[str, Any]) -> None:
    assert lost(wanted, ran) == []


@pytest.mark.parametrize(
    ("wanted", "ran", "words"),
    [
        ({}, RAN, "loki_schema_periods[0] no longer has the period of 2025-06-01"),
        (
            {"loki_schema_periods": [{"from": "2025-06-01"}]},
            RAN,
            "loki_schema_periods[0].index.prefix is 'index_', but must be 'b_'",
        ),
        (
            {"loki_schema_periods_default": [{"from": "2024-01-01", "schema": "v12"}, *RAN["loki_schema_periods"]]},
            RAN,
            "loki_schema_periods_default[0].schema is 'v12', but must be 'v13'",
        ),
        (
            {"loki_schema_periods_default": [{"from": "2023-01-01"}]},
            {},
            "loki_schema_periods_default[0].from is '2023-01-01', but must be '2026-11-25'",
        ),
        (
            {"loki_schema_periods_default": [{"from": "2024-01-02"}]},
            {},
            "loki_schema_periods_default[0] no longer has the period of 2024-01-01",
        ),
        (
            {"loki_schema_periods": [{"from": "2025-01-01"}]},
            {},
            "loki_schema_periods[0].from is '2025-01-01', but must be '2026-11-25' (tomorrow, UTC) or later",
        ),
        # Today's logs are partly written.
        ({"loki_schema_periods": [{"from": TODAY}]}, {}, f"loki_schema_periods[0].from is '{TODAY}'"),
        (
            {"loki_s3": BUCKET},
            {},
            "loki_schema_periods_default[0].object_store is 's3', but must be 'filesystem'",
        ),
        ({"loki_s3": BUCKET}, {}, "{from: '2026-11-25', object_store: s3}"),
        (
            {"loki_s3": {**BUCKET, "bucket": "other"}},
            {"loki_s3": BUCKET},
            "loki_s3.bucket is 'other', but must be 'logs'",
        ),
    ],
)
def test_what_would_make_logs_unreadable_is_refused(wanted: dict[str, Any], ran: dict[str, Any], words: str) -> None:
    found = lost(wanted, ran)
    assert any(words in text for text in found), found
    assert all("group_vars or host_vars" in text for text in found)


def test_a_period_is_fixed_from_its_first_day_on() -> None:
    gone = {"loki_schema_periods": RAN["loki_schema_periods"][:1]}
    assert lost(gone, RAN, "2026-12-23") == []
    assert lost(gone, RAN, "2026-12-24") != []


def guarded(folder: Path, job: str, **own: Any) -> subprocess.CompletedProcess[str]:
    """Run the guard as the role's task has it."""
    wanted = folder / "wanted.json"
    wanted.write_text(loki_config.schema(values_of(**own)), encoding="utf-8")
    command = [sys.executable, str(GUARD), job, str(wanted), str(folder / "schema.json")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_guard_remembers_what_loki_started_with(tmp_path: Path) -> None:
    record = tmp_path / "schema.json"
    assert guarded(tmp_path, "check").returncode == 0
    assert not record.exists()
    assert guarded(tmp_path, "start").returncode == 0
    assert json.loads(record.read_text(encoding="utf-8")) == schema_of()
    assert stat.S_IMODE(record.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["schema.json", "wanted.json"]
    before = record.stat()
    assert guarded(tmp_path, "start").returncode == 0
    assert record.stat().st_ino == before.st_ino
    added = {"loki_schema_periods": [{"from": "2099-01-01"}]}
    assert guarded(tmp_path, "start", **added).returncode == 0
    assert json.loads(record.read_text(encoding="utf-8")) == schema_of(**added)


@pytest.mark.parametrize("job", ["check", "start"])
def test_the_guard_refuses_and_says_why(tmp_path: Path, job: str) -> None:
    """At the start, too: a return to an earlier configuration has no other check."""
    guarded(tmp_path, "start")
    record = (tmp_path / "schema.json").read_bytes()
    done = guarded(tmp_path, job, loki_schema_periods=[{"from": "2025-01-01"}])
    assert done.returncode == 1
    assert "loki_schema_periods[0].from is '2025-01-01'" in done.stderr
    assert "past" in done.stderr
    assert f"removes {tmp_path}/schema.json" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "schema.json").read_bytes() == record


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"periods": [{}], "buckets": {}}', "\x00"])
def test_a_damaged_record_is_nothing_to_guess_from(tmp_path: Path, content: str) -> None:
    (tmp_path / "schema.json").write_text(content, encoding="utf-8")
    done = guarded(tmp_path, "start")
    assert done.returncode == 1
    assert "schema.json cannot be understood" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "schema.json").read_text(encoding="utf-8") == content


# The role

HOSTS: dict[str, dict[str, Any]] = {
    "watch1": {},
    "watch2": {"loki_s3": BUCKET, "loki_unit_settings": {"MemoryMax": "1G"}, "alertmanager_state": "absent"},
    "rules": {"loki_rules": {"mine": GROUPS}, "alertmanager_port": 9999},
    "gone": {"loki_state": "absent"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every host in one run."""
    hosts = {name: {**own, "ansible_host": f"{name}.example.com"} for name, own in HOSTS.items()}
    done = run_site(tmp_path_factory.mktemp("run"), inventory(hosts), "--tags", "loki", "-vvv", "--diff")
    assert done.code == 0, done.output
    return done


def test_the_declaration(run: Run) -> None:
    sent = run.component("loki", "watch1")
    declaration = sent.arguments["declaration"]
    config = f"/etc/watchkeeper/loki/run-{declaration['run']}/config"
    assert sent.command() == ["/opt/watchkeeper/loki/3.7.6/loki", f"-config.file={config}/loki.yml"]
    assert declaration["manifest"]["listen"] == [{"address": "0.0.0.0", "port": 3100}]  # noqa: S104 - compared
    assert declaration["manifest"]["ready"] == {"url": "http://127.0.0.1:3100/ready", "status": 200, "timeout": 300}
    assert [check[0] for check in declaration["checks"]] == ["/usr/bin/python3", "{release}/loki"]
    assert declaration["checks"][0][-1] == "/var/lib/loki/schema.json"
    lines = declaration["unit"].splitlines()
    for line in (
        "WorkingDirectory=/var/lib/loki",
        f"ExecStartPre=/usr/bin/python3 {config}/schema_guard.py start {config}/schema.json /var/lib/loki/schema.json",
        # SIGHUP would end the program.
        "ExecReload=/bin/true",
        "TimeoutStopSec=120s",
        "ReadWritePaths=/var/lib/loki",
    ):
        assert lines.count(line) == 1, line
    assert not [line for line in lines if line.startswith("Environment")]
    assert sent.file("schema_guard.py") == GUARD.read_text(encoding="utf-8")
    found = sent.data("loki.yml")
    assert loki_schema.problems(found) == []
    assert found["ruler"]["storage"]["local"]["directory"] == f"{config}/rules"
    assert sent.data("schema.json")["periods"][0]["from"] == "2024-01-01"


def test_alerts_go_to_every_alertmanager(run: Run) -> None:
    urls = {
        host: run.component("loki", host).data("loki.yml")["ruler"]["alertmanager_url"].split(",")
        for host in HOSTS
        if host != "gone"
    }
    assert urls["watch1"] == [
        "http://127.0.0.1:9093",
        "http://rules.example.com:9999",
        "http://gone.example.com:9093",
    ]
    assert urls["watch2"] == ["http://watch1.example.com:9093", *urls["watch1"][1:]]
    assert urls["rules"] == [
        "http://127.0.0.1:9999",
        "http://watch1.example.com:9093",
        "http://gone.example.com:9093",
    ]


def test_a_secret_is_not_shown(run: Run) -> None:
    sent = run.component("loki", "watch2")
    assert SECRET in sent.arguments["secrets"]["secrets/aws_credentials"]
    declaration = sent.arguments["declaration"]
    assert declaration["start_secrets"] == ["secrets/aws_credentials"]
    assert SECRET not in json.dumps(declaration)
    assert SECRET not in run.output
    place = f"/etc/watchkeeper/loki/run-{declaration['run']}/config/secrets/aws_credentials"
    assert f"Environment=AWS_SHARED_CREDENTIALS_FILE={place}" in declaration["unit"]
    assert "MemoryMax=1G" in declaration["unit"]
    [period] = sent.data("loki.yml")["schema_config"]["configs"]
    assert period["object_store"] == "s3"


def test_rules_alone_are_no_restart(tmp_path: Path) -> None:
    hosts: dict[str, dict[str, Any]] = {
        "plain": {},
        "rules": {"loki_rules": {"mine": GROUPS}},
        "limit": {"loki_max_streams": 1},
    }
    done = run_site(tmp_path, inventory(hosts, loki_alertmanager_urls=[]), "--tags", "loki")
    assert done.code == 0, done.output
    declared = {host: done.component("loki", host).arguments["declaration"] for host in hosts}
    assert declared["plain"]["run"] == declared["rules"]["run"] != declared["limit"]["run"]
    assert declared["plain"]["config"] != declared["rules"]["config"]
    assert declared["plain"]["manifest"]["reload"] is not None


def test_bad_input_stops_the_run(tmp_path: Path) -> None:
    host = {"loki_s3": {"bucket": "logs", "endpoint": "s3.example.com"}, "loki_retention": "1h"}
    done = run_site(tmp_path, inventory({"watch": host}))
    assert done.stopped_before_any_change()
    assert "loki_s3.secret_access_key is (hidden)" in done.errors["watch"]
    assert re.search("loki_retention.*24h", done.errors["watch"])


# A real Loki

PACKED = sorted(MIRROR.glob(f"loki/*/loki-linux-{ARCH}.zip"))
real = pytest.mark.skipif(not PACKED, reason=f"needs a release archive of loki in the mirror {MIRROR}")


@pytest.fixture(scope="module")
def loki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program."""
    program = tmp_path_factory.mktemp("loki") / "loki"
    unpack_program(PACKED[-1], program, str(PACKED[-1]))
    program.chmod(0o755)
    return program


def write(folder: Path, **own: Any) -> Path:
    """Write a configuration as the engine does, with everything below one folder, and return its main file."""
    values = values_of(loki_data_dir=str(folder / "data"), **own)
    (folder / "data").mkdir(exist_ok=True)
    found = loki_config.render(values, [{**RULES[0], "content": yaml.safe_dump(GROUPS)}])
    contents = {item["path"]: item.get("content") or yaml.safe_dump(item["yaml"]) for item in found.files}
    for path, content in {**contents, **found.secrets}.items():
        file = folder / "config" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content.replace("{config}/", f"{folder}/config/"), encoding="utf-8")
    return folder / "config" / "loki.yml"


def verify(program: Path, file: Path) -> subprocess.CompletedProcess[str]:
    """Let Loki judge a configuration."""
    command = [str(program), f"-config.file={file}", "-verify-config=true"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@real
@every_variant
def test_loki_takes_every_variant(loki: Path, tmp_path: Path, variant: str) -> None:
    done = verify(loki, write(tmp_path, **VARIANTS[variant]))
    assert done.returncode == 0, done.stderr


@real
def test_loki_knows_what_the_table_knows(loki: Path, tmp_path: Path) -> None:
    """And nothing that the table does not: an unknown key is refused by its name."""
    example = {
        loki_schema.BOOL: False,
        loki_schema.INT: 1,
        loki_schema.NUMBER: 0.5,
        loki_schema.TEXT: "",
        loki_schema.TEXTS: [],
        loki_schema.LABELS: {},
        loki_schema.SIZE: "1MB",
        loki_schema.DAY: "2024-01-01",
        loki_schema.DURATION: "24h",
        loki_schema.LONG_DURATION: "24h",
    }

    def filled(schema: Any) -> Any:
        if isinstance(schema, dict):
            return {key: filled(value) for key, value in schema.items()}
        return [filled(schema[0])] if isinstance(schema, list) else example[schema]

    file = tmp_path / "loki.yml"
    file.write_text(yaml.safe_dump(filled(loki_schema.SCHEMA)), encoding="utf-8")
    assert "not found in type" not in verify(loki, file).stderr
    done = verify(loki, write(tmp_path, loki_settings={"limits_config": {"enforce_metric_name": False}}))
    assert done.returncode != 0
    assert "enforce_metric_name" in done.stderr


class Bucket(ThreadingHTTPServer):
    """As much of an object store as a Loki needs to get rid of a chunk: what came, and with whose key."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.stored: set[str] = set()
        self.keys: set[str] = set()


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket

    def do_GET(self) -> None:
        """Nothing is there."""
        self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_PUT(self) -> None:
        """Write down where an object goes."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.stored.add(self.path)
        self._answer(200)

    def _answer(self, status: int, body: bytes = b"") -> None:
        signed = re.search(r"Credential=([^/]+)/", self.headers.get("Authorization", ""))
        self.server.keys.add(signed[1] if signed else "")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def running(program: Path, file: Path, port: int) -> Iterator[Program]:
    """A Loki that is ready."""
    environment = ["env", f"AWS_SHARED_CREDENTIALS_FILE={file.parent}/secrets/aws_credentials"]
    started = Program([*environment, str(program), f"-config.file={file}"], file.parent / "log", answers(port))
    with started as found:
        wait_until(lambda: get(f"http://127.0.0.1:{port}/ready")[0] == 200, "readiness", lambda: found.log)
        yield found


def ports() -> dict[str, int]:
    """Free ports for a Loki."""
    return {"loki_port": free_port(), "loki_grpc_port": free_port()}


def push(port: int, line: str) -> None:
    """Send a line of the job x."""
    streams = [{"stream": {"job": "x"}, "values": [[str(time.time_ns()), line, {"trace_id": "abc"}]]}]
    body = json.dumps({"streams": streams}).encode()
    address = f"http://127.0.0.1:{port}/loki/api/v1/push"
    with urlopen(Request(address, body, {"Content-Type": "application/json"}), timeout=10) as answer:
        assert answer.status == 204


def lines(port: int) -> list[str]:
    """All lines of the job x."""
    query = quote('{job="x"}')
    answer = json.loads(get(f"http://127.0.0.1:{port}/loki/api/v1/query_range?query={query}")[1])
    return [value[1] for stream in answer["data"]["result"] for value in stream["values"]]


def rule_files(port: int) -> set[str]:
    """The rule files that Loki evaluates."""
    answer = json.loads(get(f"http://127.0.0.1:{port}/prometheus/api/v1/rules")[1])
    return {group["file"] for group in answer["data"]["groups"]}


@real
def test_a_real_loki(loki: Path, tmp_path: Path) -> None:
    """It keeps a line over a restart, and takes other rules behind a swapped link without one."""
    wanted: dict[str, Any] = {**ports(), "loki_alertmanager_urls": []}
    port = wanted["loki_port"]
    file = write(tmp_path, **wanted)
    (tmp_path / "config").rename(tmp_path / "config-1")
    (tmp_path / "config").symlink_to("config-1")
    with running(loki, file, port):
        push(port, "hello")
        wait_until(lambda: lines(port) == ["hello"], "the line")
        wait_until(lambda: rule_files(port) == {"logs.yml"}, "the rules")
    with running(loki, file, port) as found:
        wait_until(lambda: lines(port) == ["hello"], "the line after a restart")
        (tmp_path / "config").rename(tmp_path / "aside")
        write(tmp_path, **wanted, loki_rules={"mine": GROUPS})
        (tmp_path / "config").rename(tmp_path / "config-2")
        (tmp_path / "next").symlink_to("config-2")
        (tmp_path / "next").rename(tmp_path / "config")
        end = time.monotonic() + 45
        while rule_files(port) != {"logs.yml", "mine.yml"}:
            assert time.monotonic() < end, found.log
            time.sleep(1)


@real
def test_a_real_loki_with_a_bucket(loki: Path, tmp_path: Path) -> None:
    """The keys come from the file, for a server that is not Amazon's, too."""
    server = Bucket()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        wanted = ports()
        endpoint = {"endpoint": f"127.0.0.1:{server.server_port}", "insecure": True, "force_path_style": True}
        file = write(tmp_path, **wanted, loki_s3={**BUCKET, **endpoint}, loki_alertmanager_urls=[])
        with running(loki, file, wanted["loki_port"]) as found:
            push(wanted["loki_port"], "hello")
        assert [path for path in server.stored if path.startswith("/logs/fake/")], found.log
        assert server.keys == {"ID"}
        assert SECRET not in found.log
    finally:
        server.shutdown()
        server.server_close()


def ask(port: int, path: str, tenant: str, data: Any = None, **query: str | int) -> Any:
    """What Loki answers a tenant."""
    headers = {"X-Scope-OrgID": tenant, "Content-Type": "application/json"}
    body = None if data is None else json.dumps(data).encode()
    with urlopen(Request(f"http://127.0.0.1:{port}{path}?{urlencode(query)}", body, headers), timeout=30) as answer:
        text = answer.read()
        return json.loads(text) if text and "json" in answer.headers.get("Content-Type", "") else text


def chunks_in_memory(port: int) -> list[float]:
    """How many chunks are not on disk yet."""
    return sample(get(f"http://127.0.0.1:{port}/metrics")[1], "loki_ingester_memory_chunks")


def fired(port: int, tenant: str, expr: str, moments: Iterable[int]) -> set[frozenset[tuple[str, str]]]:
    """The labels of the alerts whose expression holds at each of these instants, in nanoseconds."""
    found = [
        {
            frozenset(item["metric"].items())
            for item in ask(port, "/loki/api/v1/query", tenant, query=expr, time=moment)["data"]["result"]
        }
        for moment in moments
    ]
    return set.intersection(*found)


@real
def test_every_alert_on_logs_fires_when_it_should(loki: Path, tmp_path: Path) -> None:
    """Each case in a tenant of its own, and long enough ago for one that looks a day back."""
    wanted: dict[str, Any] = {**ports(), "loki_alertmanager_urls": [], "loki_multi_tenant": True, "loki_tenant": "own"}
    wanted["loki_settings"] = {
        "limits_config": {"reject_old_samples": False, "ingestion_rate_mb": 100},
        "ingester": {"flush_check_period": "1s", "chunk_retain_period": "0s"},
    }
    cases = log_cases(load_catalogue(ROOT / "files" / "alerts"))
    assert cases
    port, base = wanted["loki_port"], time.time_ns() - 30 * 3600 * 10**9
    with running(loki, write(tmp_path, **wanted), port):
        for number, case in enumerate(cases):
            for stream in case.streams:
                values = [[str(base + int(at * 10**9)), line] for at, line in stream.entries]
                data = {"streams": [{"stream": dict(stream.labels), "values": values}]}
                ask(port, "/loki/api/v1/push", f"case{number}", data)
        # What is that old is looked for on the disk alone.
        ask(port, "/flush", "own", {})
        wait_until(lambda: chunks_in_memory(port) == [0], "the flush")
        wrong = [
            f"{case.alert}: {case.name} at {check.at}: {got}"
            for number, case in enumerate(cases)
            for check in case.checks
            if (got := fired(port, f"case{number}", case.expr, [base + int(at * 10**9) for at in check.moments]))
            != {frozenset(item.labels.items()) for item in check.firing}
        ]
    assert not wrong, "\n".join(wrong)
