"""What is refused before a database host is touched, and the account that a host without PostgreSQL would get."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper.component_checks import check_postgres_exporter
from ansible.module_utils.watchkeeper.settings import documented

from tests.unit.runs import ROOT

OPTIONS = documented(ROOT, "postgres_exporter")
DEFAULTS: dict[str, Any] = yaml.safe_load(
    (ROOT / "roles" / "postgres_exporter" / "defaults" / "main.yml").read_text(encoding="utf-8")
)
PASSWORD = "planted-password"  # noqa: S105
REMOTE = {"name": "reports", "host": "db.example.com", "user": "watcher", "password": PASSWORD}


def check(**changes: Any) -> list[str]:
    """Return what is wrong with the defaults and these changes."""
    changed = {f"postgres_exporter_{name}": value for name, value in changes.items()}
    return check_postgres_exporter({"watchkeeper_prove_instances": True, **DEFAULTS, **changed}, OPTIONS)


@pytest.mark.parametrize(
    "instances",
    [
        [],
        [{"name": "default"}, REMOTE],
        [{"databases": ["shop", "Ümläut", "a-b", "x&y=z"]}, {**REMOTE, "host": "10.0.0.5", "port": 6432}],
        [{**REMOTE, "password": r""" a'b:c\d@/#% """, "host": "2001:db8::5", "sslrootcert": "/etc/ssl/db.pem"}],
        [{"name": "default"}, {**REMOTE, "host": "127.0.0.1"}],
        [{"host": "/var/run/postgresql-15"}, {"name": "second", "port": 5433}],
    ],
)
def test_servers_that_can_be_measured(instances: list[dict[str, Any]]) -> None:
    """The one on the host itself, others, several of them; names and passwords as PostgreSQL takes them."""
    assert check(instances=instances) == []


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        (["db1"], ["postgres_exporter_instances[0] is (hidden)", "a mapping with the keys name, host"]),
        ([{"hots": "db1"}], ["[0].hots is not a key of postgres_exporter_instances", "did you mean 'host'?"]),
        ([{"port": "5432"}], ["[0].port is '5432'", "of type int"]),
        ([{"port": 0}], ["[0].port is 0", "a TCP port"]),
        ([{**REMOTE, "password": 1234}], ["[0].password is (hidden)", "in quotes"]),
        ([{**REMOTE, "password": f"{PASSWORD}\n"}], ["[0].password is (hidden)", "one line"]),
        ([{"sslmode": "prefer"}], ["[0].sslmode is 'prefer'", "disable, require, verify-ca, verify-full"]),
        ([{"sslrootcert": "db.pem"}], ["[0].sslrootcert is 'db.pem'", "an absolute path"]),
        ([{"name": "a b"}], ["[0].name is 'a b'", "letters, digits"]),
        ([{"host": "db1:5433"}], ["[0].host is 'db1:5433'", "the port is a key of its own"]),
        ([{"host": "postgresql://db1"}], ["[0].host is 'postgresql://db1'", "the directory of a socket"]),
        ([{"host": "/tmp/postgres"}], ["[0].host is '/tmp/postgres'", "which the exporter's sandbox hides"]),  # noqa: S108
        ([{"host": "/tmp"}], ["[0].host is '/tmp'", "which the exporter's sandbox hides"]),  # noqa: S108
        ([{"database": "my shop"}], ["[0].database is 'my shop'", "a name without spaces"]),
        ([{"user": ""}], ["[0].user is ''", "a name without spaces"]),
        ([{"databases": ["shop", "my shop"]}], ["[0].databases[1] is 'my shop'", "a name without spaces"]),
        ([{"databases": "shop"}], ["[0].databases is 'shop'", "of type list"]),
        ([{"databases": ["shop", "shop"]}], ["[0].databases is ['shop', 'shop']", "each once"]),
        ([{"databases": ["postgres"]}], ["the one in database is measured anyway"]),
        ([REMOTE, {**REMOTE, "host": "db2"}], ["[1].name is 'reports'", "different for each instance"]),
        ([{}, {"name": "again", "database": "shop"}], ["[1].host is '/run/postgresql'", "go into databases"]),
        ([{}, {"name": "again", "host": "localhost"}], ["[1].host is 'localhost'", "another server"]),
    ],
)
def test_servers_that_are_refused(instances: list[Any], words: list[str]) -> None:
    """With the place, what is allowed and where to set it; and never with a password."""
    [message] = check(instances=instances)
    for word in [*words, "set it in the inventory"]:
        assert word in message
    assert PASSWORD not in message
    assert check(instances=instances, state="absent") == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"collectors_enabled": ["locks", "--web"]}, ["collectors_enabled is '--web'", "collectors' names"]),
        ({"collectors_enabled": ["wal"], "collectors_disabled": ["wal"]}, ["both name 'wal'"]),
        ({"collectors_disabled": ["wal"]}, ["without wal", "watchkeeper_prove_instances"]),
        ({"extension_create": True, "account_create": False}, ["needs postgres_exporter_account_create"]),
    ],
)
def test_settings_that_contradict_each_other(changes: dict[str, Any], words: list[str]) -> None:
    """Each for itself is fine."""
    message = check(**changes)[0]
    for word in words:
        assert word in message


def test_without_proof_every_collector_may_be_off() -> None:
    """A server that is not PostgreSQL's own may know no files of its log."""
    values = {**DEFAULTS, "postgres_exporter_collectors_disabled": ["wal"], "watchkeeper_prove_instances": False}
    assert check_postgres_exporter(values, OPTIONS) == []


def converge(*instances: dict[str, Any], check: bool = True) -> dict[str, Any]:
    """Run the module that creates the account, and return its answer."""
    arguments = {"instances": instances, "_ansible_check_mode": check, "_ansible_diff": True}
    done = subprocess.run(
        [sys.executable, str(ROOT / "library" / "postgres_account.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_check_mode_on_a_host_without_postgresql() -> None:
    """It says what would be made, for the servers of this host alone; their databases raise the limit together."""
    local = {"host": "/nonexistent", "password": PASSWORD, "databases": ["shop"]}
    answer = converge(local, {**REMOTE}, {"host": "localhost", "port": 5999})
    assert answer["changed"] is True
    assert answer["stat_statements"] is False
    first, second = answer["diff"]
    assert first["before"] == "server: /nonexistent/.s.PGSQL.5432\naccount: (none)\n"
    for line in ("account: postgres_exporter", "superuser: false", "pg_monitor: true", "connections: 16"):
        assert line in first["after"].splitlines()
    assert "password: (hidden)" in first["after"]
    assert "server: /run/postgresql/.s.PGSQL.5999" in second["after"]
    assert "password: (none)" in second["after"]
    assert PASSWORD not in json.dumps(answer)


def test_a_host_without_postgresql() -> None:
    """The message names the socket and the way around."""
    answer = converge({"host": "/nonexistent", "password": PASSWORD}, check=False)
    assert answer["failed"] is True
    assert "PostgreSQL at /nonexistent/.s.PGSQL.5432" in answer["msg"]
    assert "postgres_exporter_account_create to false" in answer["msg"]
    assert PASSWORD not in json.dumps(answer)


def test_the_module_documents_its_arguments() -> None:
    """Every key of an instance of the role is known to the module, with the same default."""
    text = (ROOT / "library" / "postgres_account.py").read_text(encoding="utf-8")
    options = yaml.safe_load(text.split('DOCUMENTATION = r"""')[1].split('"""')[0])["options"]["instances"][
        "suboptions"
    ]
    role = OPTIONS["postgres_exporter_instances"]["options"]
    assert {name: item["default"] for name, item in options.items()} == {
        name: item["default"] for name, item in role.items()
    }
