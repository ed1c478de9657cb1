"""What the role postgres_exporter declares, and the account that it creates, against real PostgreSQL servers.

Needs PostgreSQL's programs (Debian's package postgresql) and a release archive of the exporter in the mirror; without
them these tests are skipped by name. Where root runs the tests, the servers run as the account postgres.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from ansible.module_utils.watchkeeper.alerts import load_catalogue
from ansible.module_utils.watchkeeper.catalogue import Project
from ansible.module_utils.watchkeeper.declaration import expand
from ansible.module_utils.watchkeeper.probe import failing_samples

from tests.emulators.smtp import make_certificate
from tests.unit.live import Program, answers, declared, free_port, get, lacking, metrics_read, sample
from tests.unit.runs import ROOT, Run, Sent, inventory, run_site

# Debian keeps the server's own programs out of the PATH.
FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
BIN = FOLDERS[-1] if FOLDERS else Path(shutil.which("initdb") or "/nonexistent/initdb").parent
LACKING = lacking("postgres_exporter", "psql", "setpriv")
if not LACKING and not (BIN / "initdb").exists():
    LACKING = "needs the program initdb"
if not LACKING and os.geteuid() == 0 and not any(account.pw_name == "postgres" for account in pwd.getpwall()):
    LACKING = "needs the account postgres, because PostgreSQL does not run as root"
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)

ENTRY = Project.load(ROOT).entry("postgres_exporter")
ME = pwd.getpwuid(os.geteuid()).pw_name
ADMIN = "postgres" if os.geteuid() == 0 else ME
MARK = "planted-mark"
PASSWORD = MARK + r""" 'a:b' \ $@/#%"n&=?é"""
SECOND, TRAPPED, WEAK = f"{MARK}-second", f"{MARK}-trapped", "known-to-the-server"
MEASURED = ("", "socket", "tls")
# The specification's dashboard of the database, with the names that the exporter has today.
DASHBOARD = {
    "pg_stat_database_xact_commit",
    "pg_stat_database_xact_rollback",
    "pg_stat_database_blks_hit",
    "pg_stat_database_blks_read",
    "pg_stat_database_numbackends",
    "pg_stat_database_deadlocks",
    "pg_stat_statements_seconds_total",
    "pg_stat_statements_calls_total",
}
TABLES = {"pg_stat_user_tables_table_size_bytes", "pg_stat_user_tables_index_size_bytes"}
HBA = """
local all watcher,weak scram-sha-256
local all all peer map=own
local replication all peer map=own
host all all 127.0.0.0/8 scram-sha-256
"""
# A server that writes down all it can.
SETTINGS = """
listen_addresses = '127.0.0.2,127.0.0.3'
ssl = on
ssl_cert_file = '{data}/server.crt'
ssl_key_file = '{data}/server.key'
shared_preload_libraries = 'pg_stat_statements'
log_statement = 'all'
log_min_duration_statement = 0
fsync = off
"""


class Server:
    """A PostgreSQL server of the test's own."""

    def __init__(self, folder: Path, sockets: Path, name: str) -> None:
        self.sockets, self.port = sockets, free_port()
        self.data, self.log = folder / name, folder / f"{name}.log"
        self.where = [f"--host={sockets}", f"--port={self.port}", "--username=postgres"]
        self.prefix = ["env", "--chdir=/", "LC_ALL=C.UTF-8"]
        if os.geteuid() == 0:
            self.prefix = ["setpriv", f"--reuid={ADMIN}", f"--regid={ADMIN}", "--init-groups", *self.prefix]

    def call(self, program: str, *arguments: str, text: str = "") -> str:
        """Run one of PostgreSQL's programs as the server's account and return what it says."""
        done = subprocess.run(
            [*self.prefix, str(BIN / program), *arguments], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def sql(self, statements: str, database: str = "postgres") -> str:
        """Carry out statements as the superuser and return their results."""
        options = ["-XAtq", "--set=ON_ERROR_STOP=1", f"--dbname={database}"]
        return self.call("psql", *self.where, *options, text=statements)

    def create(self, certificate: Path, key: Path) -> None:
        """Make the files of an empty server."""
        self.call("initdb", f"--pgdata={self.data}", "--username=postgres", "--auth=peer", "--no-sync")
        contents = {
            "server.crt": certificate.read_text(encoding="utf-8"),
            "server.key": key.read_text(encoding="utf-8"),
            "pg_hba.conf": HBA,
            # The exporter's account on the host is the one that runs the tests.
            "pg_ident.conf": f"own {ADMIN} postgres\nown {ME} postgres_exporter\n",
            "postgresql.conf": SETTINGS.format(data=self.data),
        }
        for name, content in contents.items():
            path = self.data / name
            path.touch(mode=0o600)
            path.write_text(content, encoding="utf-8")
            if os.geteuid() == 0:
                shutil.chown(path, ADMIN, ADMIN)

    def copy(self, primary: Server, *options: str) -> None:
        """Take over the files of another server."""
        self.call("pg_basebackup", *primary.where, f"--pgdata={self.data}", "--checkpoint=fast", "--no-sync", *options)

    def running(self, *settings: str) -> Program:
        """Return it as a process."""

        def ready() -> bool:
            return "ready to accept" in self.log.read_text(encoding="utf-8")

        options = ["-D", str(self.data), f"--unix_socket_directories={self.sockets}", f"--port={self.port}", *settings]
        return Program([*self.prefix, str(BIN / "postgres"), *options], self.log, ready)

    def login(self, user: str, password: str) -> str:
        """Log in over TCP, and return what the server says to a wrong password."""
        done = subprocess.run(
            ["psql", "-XAtq", "--no-password", "--host=127.0.0.2", f"--port={self.port}", f"--username={user}"],
            input="SELECT 1",
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PGPASSWORD": password, "PGDATABASE": "postgres"},
        )
        return done.stderr

    def converge(self, check: bool = False, extension: bool = False, **instance: Any) -> dict[str, Any]:
        """Run the module for one instance and return its answer."""
        given = {"host": str(self.sockets), "port": self.port, **instance}
        arguments = {"instances": [given], "extension": extension, "_ansible_check_mode": check, "_ansible_diff": True}
        done = subprocess.run(
            [sys.executable, str(ROOT / "library" / "postgres_account.py")],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


class Trap:
    """A server that asks everybody for their password in the clear, and remembers it."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.4", port))
        self.heard: list[str] = []
        threading.Thread(target=self.serve, daemon=True).start()

    def close(self) -> None:
        """Let nobody in any longer."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def serve(self) -> None:
        """Listen to everybody until the listener is closed."""
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            with client, client.makefile("rb") as words:
                (length,) = struct.unpack("!I", words.read(4))
                words.read(length - 4)
                client.sendall(b"R" + struct.pack("!II", 8, 3))
                if words.read(1) == b"p":
                    (length,) = struct.unpack("!I", words.read(4))
                    self.heard.append(words.read(length - 4).rstrip(b"\0").decode())


@contextmanager
def folders() -> Iterator[tuple[Path, Path]]:
    """Two folders that the server's account may use: for data, and for a socket where no sandbox hides it."""
    with tempfile.TemporaryDirectory() as data, tempfile.TemporaryDirectory(dir="/dev/shm") as sockets:
        for path in (data, sockets):
            if os.geteuid() == 0:
                shutil.chown(path, ADMIN, ADMIN)
        yield Path(data), Path(sockets)


def prepared(sent: Sent, folder: Path, port: int) -> Program:
    """Return the exporter that was declared, in its unit's environment, after what the unit does before the start."""
    program = declared(sent, folder, port)
    unit = re.sub(
        r"/etc/watchkeeper/postgres_exporter/run-[^/]+/config",
        str(folder / "config"),
        sent.arguments["declaration"]["unit"],
    ).replace("/run/postgres_exporter", str(folder / "run"))
    (folder / "run").mkdir()
    for before in re.findall(r"^ExecStartPre=(.*)$", unit, re.MULTILINE):
        subprocess.run(shlex.split(before), check=True)
    environment = re.findall(r"^Environment=(.*)$", unit, re.MULTILINE)
    return Program(["env", "-i", *environment, *program._command], folder / "log", answers(port))


@dataclass(frozen=True)
class Rollout:
    """A host with an exporter that runs as the role declares it, the server it measures, and what Prometheus asks."""

    run: Run
    server: Server
    exporter: Program
    folder: Path
    trap: Trap
    targets: dict[str, dict[str, str]]
    port: int

    def url(self, name: str, **asked: str) -> str:
        """Return what Prometheus asks for an instance, or something else."""
        labels = self.targets[name]
        query = {key.removeprefix("__param_"): value for key, value in labels.items() if key.startswith("__param_")}
        return f"http://127.0.0.1:{self.port}{labels['__metrics_path__']}?{urlencode({**query, **asked})}"

    def scrape(self, name: str, **asked: str) -> str:
        """Return the metrics of an instance."""
        status, page = get(self.url(name, **asked))
        assert status == 200, page
        return page


@pytest.fixture(scope="module")
def rollout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollout]:
    """Run a server, site.yml for the host that measures it in every way, and the exporter that it declares."""
    folder = tmp_path_factory.mktemp("postgres")
    certificate, key = make_certificate(folder, ("localhost", "127.0.0.2"))
    own = free_port()
    with ExitStack() as stack:
        server = Server(*stack.enter_context(folders()), "primary")
        trap = Trap(server.port)
        stack.callback(trap.close)
        server.create(certificate, key)
        stack.enter_context(server.running())
        server.sql(f"CREATE ROLE weak LOGIN PASSWORD '{WEAK}'; CREATE DATABASE shop;")
        server.sql("CREATE TABLE orders AS SELECT generate_series(1, 1000) AS id; CREATE INDEX ON orders (id)", "shop")
        local = {"host": str(server.sockets), "port": server.port}
        remote = {"host": "127.0.0.2", "port": server.port, "user": "watcher", "password": PASSWORD}
        instances = [
            {**local, "databases": ["shop"]},
            {**local, "name": "socket", "user": "watcher", "password": PASSWORD},
            {**remote, "name": "tls", "sslmode": "verify-full", "sslrootcert": str(certificate)},
            {
                **remote,
                "name": "stranger",
                "host": "127.0.0.3",
                "sslmode": "verify-full",
                "sslrootcert": str(certificate),
            },
            {**remote, "name": "wrong", "host": "127.0.0.3", "user": "weak", "password": f"{MARK}-wrong"},
            {**remote, "name": "nobody", "port": free_port()},
            {**local, "name": "weak", "user": "weak", "password": WEAK},
            {"name": "trap", "host": "127.0.0.4", "port": server.port, "sslmode": "disable", "password": TRAPPED},
        ]
        host = {
            "postgres_exporter_listen_address": "127.0.0.1",
            "postgres_exporter_port": own,
            "postgres_exporter_instances": instances,
            "postgres_exporter_extension_create": True,
        }
        run = run_site(
            folder / "site",
            inventory({"mon1": {}}, {"db1": host}, {"postgresql": ["db1"]}),
            "-vvv",
            "--diff",
            real=("postgres_account",),
        )
        assert run.code == 0, run.output
        prometheus = run.component("prometheus", "mon1")
        targets = {
            target["labels"]["instance"].removeprefix("db1").removeprefix("/"): target["labels"]
            for target in prometheus.data("targets/postgres.json")
        }
        [detail] = prometheus.data("targets/postgres_databases.json")
        targets["shop"] = detail["labels"]
        sent = run.component("postgres_exporter", "db1")
        exporter = stack.enter_context(prepared(sent, folder / "exporter", own))
        yield Rollout(run, server, exporter, folder / "exporter", trap, targets, own)


@pytest.mark.parametrize("name", MEASURED)
def test_every_kind_of_instance_is_measured(rollout: Rollout, name: str) -> None:
    """By the host's own account without a password, by password, over TLS with the server's certificate verified."""
    assert failing_samples(rollout.url(name), ENTRY.samples) == ""


@pytest.mark.parametrize(
    ("name", "sample_of", "words"),
    [
        ("wrong", "pg_up", "password authentication failed"),
        ("nobody", "pg_up", "connection refused"),
        ("stranger", "pg_up", "certificate"),
        ("weak", "pg_scrape_collector_success", "permission denied for function pg_ls_waldir"),
    ],
)
def test_what_is_wrong_is_found_by_the_proof(rollout: Rollout, name: str, sample_of: str, words: str) -> None:
    """And the exporter's last words say what it is."""
    assert failing_samples(rollout.url(name), ENTRY.samples).startswith(sample_of)
    assert words in rollout.exporter.log


def test_every_metric_of_an_alert_is_exposed(rollout: Rollout) -> None:
    """An alert on a metric that nobody exposes never fires."""
    alerts = [alert for alert in load_catalogue(ROOT / "files" / "alerts") if alert.group == "database"]
    read = {metric for alert in alerts for metric in metrics_read(alert.expr, "pg")}
    assert len(read) > len(alerts)
    page = rollout.scrape("")
    assert {metric for metric in read | DASHBOARD if not sample(page, metric)} == set()


def test_labels_that_alerts_read(rollout: Rollout) -> None:
    """Whose transaction is open, and which collector failed; the rules count on these names."""
    psql = [*rollout.server.prefix, "psql", "-Xq", *rollout.server.where, "--dbname=shop"]
    with subprocess.Popen(psql, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdin
        assert session.stdout
        session.stdin.write("BEGIN; SELECT 'open';\n")
        session.stdin.flush()
        while "open" not in session.stdout.readline():
            pass
        page = rollout.scrape("")
        session.stdin.close()
    found = [
        dict(re.findall(r'(\w+)="([^"]*)"', line))
        for line in page.splitlines()
        if line.startswith("pg_stat_activity_max_tx_duration{") and not line.endswith(" 0")
    ]
    own = {"backend_type": "client backend", "usename": "postgres", "datname": "shop", "state": "idle in transaction"}
    assert any(own.items() <= labels.items() for labels in found)
    assert 'pg_scrape_collector_success{collector="database_wraparound"} 1' in page


def test_tables_of_further_databases(rollout: Rollout) -> None:
    """PostgreSQL shows them only to those who are connected to that database."""
    page = rollout.scrape("shop")
    for metric in TABLES:
        assert re.search(rf'^{metric}{{datname="shop",relname="orders",schemaname="public"}} [1-9]', page, re.MULTILINE)
    assert 'relname="orders"' not in rollout.scrape("")


def test_a_password_goes_to_its_own_server_alone(rollout: Rollout) -> None:
    """Whoever reaches the exporter may name any server to it, but not have a password sent there."""
    rollout.scrape("trap")
    assert TRAPPED in rollout.trap.heard
    rollout.trap.heard.clear()
    for user in ("watcher", "weak"):
        where = f"host=127.0.0.4&port={rollout.server.port}&user={user}&sslmode=disable"
        rollout.scrape("trap", target=f"postgresql:///postgres?{where}")
    assert set(rollout.trap.heard) == {""}


def test_no_password_is_shown(rollout: Rollout) -> None:
    """Not to other users of the host, not in a log, not in what is sent beside the secrets, not in the run's output."""
    for name in rollout.targets:
        rollout.scrape(name)
    # With a space in it the exporter writes the whole connection string down.
    rollout.scrape("", target=f"postgresql:///a b?host=127.0.0.2&port={rollout.server.port}&user=watcher")
    process = Path("/proc", str(rollout.exporter.pid))
    shown = {name: (process / name).read_bytes().decode() for name in ("cmdline", "environ")}
    shown["exporter"] = rollout.exporter.log
    shown["server"] = rollout.server.log.read_text(encoding="utf-8")
    shown["statements"] = rollout.server.sql("SELECT query FROM pg_stat_statements")
    shown["output"] = rollout.run.output
    shown["results"] = json.dumps(rollout.run.results)
    for item in rollout.run.sent:
        shown[f"{item.host} {item.arguments.get('name', item.module)}"] = json.dumps(
            {key: value for key, value in item.arguments.items() if key != "secrets"}
        )
    # All passwords of this host begin with it.
    assert MARK in json.dumps(rollout.run.component("postgres_exporter", "db1").arguments["secrets"])
    assert {where for where, text in shown.items() if MARK in text or quote(MARK) in text} == set()
    assert "malformed dsn" in shown["exporter"]
    assert "CONNECTION LIMIT" not in shown["server"]
    assert "SCRAM-SHA-256$" not in shown["server"]
    modes = {(rollout.folder / "run" / "pgpass").stat().st_mode & 0o777}
    assert modes == {0o400}


def test_the_candidate_judges_its_command_line(rollout: Rollout) -> None:
    """A collector that this version does not have is found before anything changes."""
    sent = rollout.run.component("postgres_exporter", "db1")
    [check] = sent.arguments["declaration"]["checks"]
    words = [expand(word, {part: str(rollout.folder / part) for part in ("release", "config")}) for word in check]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
    done = subprocess.run([*words, "--collector.nothing"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "unknown long flag '--collector.nothing'" in done.stderr


def attributes(server: Server, user: str) -> str:
    """Return what an account may, and its memberships."""
    rights = "rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolconnlimit"
    roles = "ARRAY(SELECT roleid::regrole FROM pg_auth_members WHERE member = pg_roles.oid)"
    return server.sql(f"SELECT {rights}, {roles}, rolconfig FROM pg_roles WHERE rolname = '{user}'")  # noqa: S608


def test_the_account_has_no_more_rights_than_it_needs(rollout: Rollout) -> None:
    """It reads statistics, has limits, and an account of somebody else's is left alone."""
    assert rollout.run.of("postgres_account", "db1")["changed"] is True
    limits = "{lock_timeout=2s,statement_timeout=8s}"
    assert attributes(rollout.server, "postgres_exporter") == "t|f|f|f|f|f|16|{pg_monitor}|" + limits
    assert attributes(rollout.server, "watcher") == "t|f|f|f|f|f|8|{pg_monitor}|" + limits
    assert attributes(rollout.server, "weak") == "t|f|f|f|f|f|-1|{}|"
    assert rollout.server.login("weak", WEAK) == ""


def test_a_second_run_changes_nothing(rollout: Rollout) -> None:
    """What was changed by hand comes back, and check mode only tells."""
    server = rollout.server
    account: dict[str, Any] = {"databases": ["shop"]}
    assert server.converge(**account)["changed"] is False
    server.sql("REVOKE pg_monitor FROM postgres_exporter; ALTER ROLE postgres_exporter SUPERUSER")
    broken = attributes(server, "postgres_exporter")
    answer = server.converge(check=True, **account)
    assert answer["changed"] is True
    assert "superuser: true" in answer["diff"][0]["before"]
    assert "superuser: false" in answer["diff"][0]["after"]
    assert attributes(server, "postgres_exporter") == broken
    assert server.converge(**account)["changed"] is True
    assert server.converge(**account)["changed"] is False


def test_a_password_is_replaced(rollout: Rollout) -> None:
    """Only when it is another one; taken away when there is to be none; and a verifier is all that the server gets."""
    server = rollout.server
    account: dict[str, Any] = {"user": "watcher"}
    assert server.login("watcher", PASSWORD) == ""
    assert server.converge(**account, password=PASSWORD)["changed"] is False
    answer = server.converge(**account, password=SECOND)
    assert answer["changed"] is True
    assert MARK not in json.dumps(answer)
    assert server.login("watcher", SECOND) == ""
    assert "authentication failed" in server.login("watcher", PASSWORD)
    assert server.converge(**account)["changed"] is True
    assert "authentication failed" in server.login("watcher", SECOND)
    assert server.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'watcher'") == ""
    assert server.converge(**account, password=PASSWORD)["changed"] is True
    assert server.login("watcher", PASSWORD) == ""


def test_a_standby_takes_its_accounts_from_the_primary(rollout: Rollout) -> None:
    """It cannot be written to; the lag that an alert reads is measured there."""
    primary = rollout.server
    with folders() as (folder, sockets):
        standby = Server(folder, sockets, "standby")
        standby.copy(primary, "--write-recovery-conf")
        with standby.running():
            assert standby.converge(databases=["shop"])["changed"] is False
            answer = standby.converge(user="another")
            assert answer["changed"] is False
            assert attributes(standby, "another") == ""
            where = f"host={sockets}&port={standby.port}&user=postgres_exporter"
            target = f"postgresql:///postgres?{where}"
            assert failing_samples(rollout.url("", target=target), ENTRY.samples) == ""
            page = rollout.scrape("", target=target)
            assert sample(page, "pg_replication_is_replica") == [1]
            assert sample(page, "pg_replication_lag_seconds")


def test_an_extension_whose_library_is_not_loaded(rollout: Rollout) -> None:
    """The message says what to do; and the collector stays off, because its question would fail."""
    with folders() as (folder, sockets):
        plain = Server(folder, sockets, "plain")
        plain.copy(rollout.server)
        with plain.running("--shared_preload_libraries="):
            assert plain.converge(databases=["shop"])["stat_statements"] is False
            plain.sql("DROP EXTENSION pg_stat_statements")
            assert plain.converge(databases=["shop"])["changed"] is False
            refused = plain.converge(extension=True)["msg"]
            assert "add it to shared_preload_libraries and restart the server" in refused
    assert rollout.run.of("postgres_account", "db1")["stat_statements"] is True
