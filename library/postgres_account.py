#!/usr/bin/python
"""Give the PostgreSQL servers of this host a monitoring account with no more rights than it needs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_account
short_description: Create the monitoring account of the PostgreSQL servers on this host
version_added: "0.1.0"
description:
  - Creates an account that may log in and is a member of C(pg_monitor), with a limit of connections, and limits of time
    so that a lock held by others does not pile up its questions.
  - It works with C(psql) over the server's socket as the account C(postgres), in one transaction for each server.
    Nothing needs to be installed on the host.
  - A password is set when the server's own verifier says that it is another one. The server is sent a verifier
    (SCRAM-SHA-256), never the password.
  - An account that was not created by this module is left as it is, and so is everything on a standby.
options:
  instances:
    description:
      - The servers. One that is not on this host (its host is neither the directory of a socket nor C(localhost),
        C(127.0.0.1) or C(::1)) is left out.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Tells the instances apart.
        type: str
        default: default
      host:
        description: Directory of the server's socket, or a name or address of this host.
        type: str
        default: /run/postgresql
      port:
        description: The server's port, for a socket too.
        type: int
        default: 5432
      database:
        description: Database that the account connects to.
        type: str
        default: postgres
      user:
        description: Name of the account.
        type: str
        default: postgres_exporter
      password:
        description: Password of the account. Empty is an account without one.
        type: str
        default: ""
      sslmode:
        description: How the account connects. Not used here.
        type: str
        default: require
      sslrootcert:
        description: How the account connects. Not used here.
        type: str
        default: ""
      databases:
        description: Further databases that the account connects to, which raise its limit of connections.
        type: list
        elements: str
        default: []
  extension:
    description: Whether to create the extension C(pg_stat_statements) in the database of each server.
    type: bool
    default: false
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: Says what would change, on a host without PostgreSQL too.
    support: full
  diff_mode:
    description: Shows the account's attributes, and of its password only whether there is one.
    support: full
"""

EXAMPLES = r"""
- name: Create the monitoring account of the local server
  postgres_account:
    instances:
      - name: default
"""

RETURN = r"""
stat_statements:
  description: Whether the extension C(pg_stat_statements) can be read in the database of one of the servers.
  returned: success
  type: bool
"""

import base64
import hashlib
import hmac
import json
import os
import pwd
import re
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

# The account on the host, and the superuser of the same name in PostgreSQL.
ADMIN = "postgres"
SOCKETS = "/run/postgresql"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
ITERATIONS = 4096
PSQL_SECONDS = 60

STATE = """
SELECT json_build_object(
  'standby', pg_is_in_recovery(),
  'library', current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%',
  'extension', EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_stat_statements'),
  'account', (
    SELECT json_build_object(
      'ours', coalesce(shobj_description(oid, 'pg_authid'), '') = :'comment',
      'verifier', rolpassword,
      'attributes', json_build_object(
        'login', rolcanlogin AND coalesce(rolvaliduntil, 'infinity') = 'infinity',
        'superuser', rolsuper,
        'createdb', rolcreatedb,
        'createrole', rolcreaterole,
        'replication', rolreplication,
        'bypassrls', rolbypassrls,
        'pg_monitor', pg_has_role(oid, 'pg_monitor', 'USAGE'),
        'connections', rolconnlimit,
        'settings', coalesce((
          SELECT array_agg(setting ORDER BY setting)
          FROM pg_catalog.pg_db_role_setting, unnest(setconfig) AS setting
          WHERE setrole = pg_authid.oid AND setdatabase = 0 AND setting ~ '^(lock|statement)_timeout='
        ), '{}')
      )
    )
    FROM pg_catalog.pg_authid WHERE rolname = :'account'
  )
);
"""
# An error must not bring the verifier into the server's log, nor a setting that writes every statement down.
BEGIN = r"""
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
BEGIN;
"""
CREATE = 'CREATE ROLE :"account";\n'
ALTER = """
ALTER ROLE :"account" LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
  CONNECTION LIMIT :connections VALID UNTIL 'infinity';
ALTER ROLE :"account" SET lock_timeout = '2s';
ALTER ROLE :"account" SET statement_timeout = '8s';
GRANT pg_monitor TO :"account";
COMMENT ON ROLE :"account" IS :'comment';
"""
SET_PASSWORD = "ALTER ROLE :\"account\" PASSWORD :'verifier';\n"  # noqa: S105 - a statement
DROP_PASSWORD = 'ALTER ROLE :"account" PASSWORD NULL;\n'  # noqa: S105 - a statement
EXTENSION = "CREATE EXTENSION pg_stat_statements;\n"
COMMIT = "COMMIT;\n"
COMMENT = "Managed by Watchkeeper"


class AccountError(Exception):
    """The account cannot be what it should be; the message says why and what to do."""


def scram_verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """Return what PostgreSQL keeps of a password."""

    def encoded(value: bytes) -> str:
        return base64.b64encode(value).decode()

    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    return f"SCRAM-SHA-256${iterations}:{encoded(salt)}${encoded(stored_key)}:{encoded(server_key)}"


def is_password(password: str, verifier: str) -> bool:
    """Tell whether a verifier of PostgreSQL's belongs to a password; no verifier belongs to no password."""
    if not password or not verifier:
        return password == verifier
    found = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$]+)\$.+", verifier)
    if not found:
        return False
    again = scram_verifier(password, base64.b64decode(found[2]), int(found[1]))
    return hmac.compare_digest(again, verifier)


@dataclass
class Server:
    """One server of this host, and the account that is to be in it."""

    directory: str
    port: int
    user: str
    password: str
    databases: list[str] = field(default_factory=list)

    @property
    def socket(self) -> str:
        """Path of the server's socket."""
        return f"{self.directory}/.s.PGSQL.{self.port}"

    def wanted(self) -> dict[str, Any]:
        """Return the attributes that the account is to have."""
        no = dict.fromkeys(("superuser", "createdb", "createrole", "replication", "bypassrls"), False)
        return {
            "login": True,
            **no,
            "pg_monitor": True,
            # Two for each question, and room for a second Prometheus and for answers that are late.
            "connections": 8 * len(self.databases),
            "settings": ["lock_timeout=2s", "statement_timeout=8s"],
        }

    def psql(self, statements: str, verifier: str = "") -> dict[str, Any]:
        """Carry statements out and return the state after them; raise AccountError with psql's words."""
        variables = {
            "account": self.user,
            "comment": COMMENT,
            "connections": str(self.wanted()["connections"]),
        }
        command = ["psql", "--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align"]
        command += ["--set=ON_ERROR_STOP=1", *(f"--set={name}={value}" for name, value in variables.items())]
        switch: dict[str, Any] = {}
        if os.geteuid() == 0:
            try:
                admin = pwd.getpwnam(ADMIN)
            except KeyError:
                raise AccountError(f"the host has no account {ADMIN} to work as") from None
            switch = {"user": admin.pw_uid, "group": admin.pw_gid, "extra_groups": []}
        try:
            done = subprocess.run(
                command,
                input=f"\\set verifier '{verifier}'\n{statements}{STATE}",
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
                timeout=PSQL_SECONDS,
                env={
                    "PATH": "/usr/local/bin:/usr/bin:/bin",
                    "LC_ALL": "C.UTF-8",
                    "PGHOST": self.directory,
                    "PGPORT": str(self.port),
                    "PGUSER": ADMIN,
                    "PGDATABASE": self.databases[0],
                    "PGCONNECT_TIMEOUT": "10",
                },
                **switch,
            )
        except FileNotFoundError as error:
            raise AccountError("psql is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise AccountError(f"no answer within {PSQL_SECONDS} s") from error
        if done.returncode:
            raise AccountError(done.stderr.strip())
        state: dict[str, Any] = json.loads(done.stdout)
        return state

    def describe(self, account: dict[str, Any] | None, same_password: bool) -> str:
        """Return the account in words, for the diff."""
        lines = [f"server: {self.socket}", f"account: {self.user if account else '(none)'}"]
        if account:
            lines += [f"{name}: {json.dumps(value)}" for name, value in account["attributes"].items()]
            hidden = "(hidden)" if same_password else "(hidden, not this one)"
            lines.append(f"password: {hidden if account['verifier'] else '(none)'}")
        return "\n".join([*lines, ""])


def servers(params: dict[str, Any]) -> list[Server]:
    """Return the servers of this host, each with one account."""
    found: dict[tuple[str, int, str], Server] = {}
    for item in params["instances"]:
        directory = SOCKETS if item["host"] in LOOPBACK else item["host"]
        if not directory.startswith("/"):
            continue
        key = (directory, item["port"], item["user"])
        server = found.setdefault(key, Server(*key, item["password"]))
        server.databases += [item["database"], *item["databases"]]
    return list(found.values())


@dataclass
class Outcome:
    """What was, or would be, done to one server."""

    before: str
    after: str
    stat_statements: bool


def converge(server: Server, extension: bool, check_mode: bool) -> Outcome:
    """Bring one account to what it is to be, or say what would be done."""
    target = {"attributes": server.wanted(), "verifier": server.password}
    after = server.describe(target, same_password=True)
    if not Path(server.socket).exists():
        if check_mode:
            return Outcome(server.describe(None, same_password=False), after, stat_statements=extension)
        raise AccountError("there is no such socket, so PostgreSQL does not run")
    state = server.psql("")
    account = state["account"]
    same_password = bool(account) and is_password(server.password, account["verifier"] or "")
    before = server.describe(account, same_password)
    statements = ""
    if account is None or (account["ours"] and (account["attributes"] != target["attributes"] or not same_password)):
        statements += (CREATE if account is None else "") + ALTER
        statements += SET_PASSWORD if server.password else DROP_PASSWORD
    else:
        after = before
    if extension and not state["extension"]:
        if not state["library"]:
            raise AccountError(
                "the server does not load pg_stat_statements; add it to shared_preload_libraries and restart the "
                "server, or set postgres_exporter_extension_create to false"
            )
        statements += EXTENSION
        before, after = f"{before}pg_stat_statements: False\n", f"{after}pg_stat_statements: True\n"
    if not statements or state["standby"] or check_mode:
        # A standby takes everything over from its primary, the account too.
        after = before if state["standby"] else after
        return Outcome(before, after, state["library"] and (state["extension"] or extension))
    verifier = scram_verifier(server.password, secrets.token_bytes(16)) if server.password else ""
    state = server.psql(BEGIN + statements + COMMIT, verifier)
    if state["account"]["ours"] and state["account"]["attributes"] != target["attributes"]:
        raise AccountError(f"the server made something else of the account: {state['account']['attributes']}")
    return Outcome(before, after, state["library"] and state["extension"])


def main() -> None:
    """Do it, or say what would be done."""
    module = AnsibleModule(
        argument_spec={
            "instances": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "default": "default"},
                    "host": {"type": "str", "default": SOCKETS},
                    "port": {"type": "int", "default": 5432},
                    "database": {"type": "str", "default": "postgres"},
                    "user": {"type": "str", "default": "postgres_exporter"},
                    "password": {"type": "str", "default": "", "no_log": True},
                    "sslmode": {"type": "str", "default": "require"},
                    "sslrootcert": {"type": "str", "default": ""},
                    "databases": {"type": "list", "elements": "str", "default": []},
                },
            },
            "extension": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    outcomes = []
    for server in servers(module.params):
        try:
            outcomes.append(converge(server, module.params["extension"], module.check_mode))
        except AccountError as error:
            module.fail_json(
                msg=f"PostgreSQL at {server.socket}, account {server.user}: {error}\n"
                "Correct it, or set postgres_exporter_account_create to false and create the account yourself."
            )
    changes = [outcome for outcome in outcomes if outcome.before != outcome.after]
    module.exit_json(
        changed=bool(changes),
        stat_statements=any(outcome.stat_statements for outcome in outcomes),
        diff=[{"before": outcome.before, "after": outcome.after} for outcome in changes],
    )


if __name__ == "__main__":
    main()
