#!/usr/bin/python
"""Have self-hosted Sentry at one release, by its own installer, and an account and a token without a human."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sentry_self_hosted
short_description: Install, upgrade and stop self-hosted Sentry
version_added: "0.3.0"
description:
  - Has one release of C(getsentry/self-hosted) run in the host's Docker. The tag of the release is fetched with git and
    compared with a commit before any of it runs.
  - Processors, memory, Docker and Compose are checked before anything is fetched. Then the release's own installer runs
    without questions, and without telling its makers anything; Sentry's own telemetry is off as well.
  - The installer runs again for another release and for other settings, and Sentry is down for that time. A run without
    such a change only looks, and starts what does not run.
  - The administrator, and a token of the API for it, are made without a human. Neither is in the result; they lie in
    O(secrets) for root alone. A token that Sentry does not take any more is replaced.
  - The volumes with the data are never touched.
options:
  state:
    description:
      - V(present) has Sentry run.
      - V(absent) removes the containers of a Sentry that was installed this way. Volumes, images and O(directory) stay,
        so V(present) brings back the same Sentry with its data.
    type: str
    choices: [present, absent]
    default: present
  version:
    description: Release, which is a tag of the repository. One that is older than the installed one is refused. Needed
      for V(present).
    type: str
  commit:
    description: Full hash of the commit that the tag names. Needed for V(present).
    type: str
  repository:
    description: Address of the repository, as git takes it.
    type: str
    default: https://github.com/getsentry/self-hosted.git
  directory:
    description: Folder of the release. It belongs to root alone; the key that encrypts data is in its configuration.
    type: path
    default: /opt/sentry-self-hosted
  profile:
    description: V(errors-only) leaves out all but errors, and takes half the memory.
    type: str
    choices: [feature-complete, errors-only]
    default: feature-complete
  url:
    description: URL under which Sentry is reached; DSNs begin with it. Needed for V(present).
    type: str
  listen_address:
    description: IPv4 address on which Sentry listens.
    type: str
    default: 0.0.0.0
  port:
    description: TCP port.
    type: int
    default: 9000
  admin_email:
    description: Address and login of the administrator. Needed for V(present).
    type: str
  admin_password:
    description: Password of the administrator. It is set when it differs from the one that was set last. Empty has one
      made, once.
    type: str
    default: ""
  event_retention_days:
    description: Days for which events are kept.
    type: int
    default: 90
  config:
    description: Further options of C(sentry/config.yml). Values whose names tell of passwords, secrets, keys or tokens
      are masked.
    type: dict
    default: {}
  environment:
    description: Further variables of C(.env.custom), masked likewise.
    type: dict
    default: {}
  secrets:
    description: Folder for the secrets that are made here, among them C(token) and C(admin_password).
    type: path
    default: /var/lib/watchkeeper/sentry/secrets
  record:
    description: Where to remember what was installed.
    type: path
    default: /etc/watchkeeper/sentry_self_hosted.json
  timeout:
    description: Seconds in which Sentry has to run after an installation.
    type: int
    default: 1800
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: It says what would be done. Whether the host is fit for it is checked, too.
    support: full
  diff_mode:
    description: It shows nothing, since settings may be secret; the actions name the files.
    support: none
"""

EXAMPLES = r"""
- name: Have Sentry run, for errors alone
  sentry_self_hosted:
    version: 26.8.0
    commit: 73fe2f2747800873f0896aec283c45b6dcf34432
    profile: errors-only
    url: https://sentry.example.com
    listen_address: 127.0.0.1
    admin_email: ops@example.com

- name: Stop it, and keep its data
  sentry_self_hosted:
    state: absent
"""

RETURN = r"""
component:
  description: What the closing table shows; left out where there is no such Sentry, and never was.
  returned: success
  type: dict
  contains:
    name: {description: C(sentry)., type: str, returned: always}
    version: {description: The release., type: str, returned: always}
    state: {description: C(ready) or C(absent)., type: str, returned: always}
    actions: {description: "What changed, in words.", type: list, elements: str, returned: always}
actions:
  description: What changed, or would change.
  returned: always
  type: list
  elements: str
url:
  description: Where the API answers on this host.
  returned: when present
  type: str
organization:
  description: Slug of the organisation.
  returned: when present
  type: str
token_file:
  description: File with the token of the API, for root alone.
  returned: when present
  type: str
notes:
  description: What a person should know.
  returned: success
  type: list
  elements: str
"""

import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.probe import http_get, port_taken

# What the installer asks for before it begins: processors and MiB of memory, of the machine as Docker sees it.
NEEDS = {"feature-complete": (4, 14000), "errors-only": (2, 7000)}
LEAST_DOCKER = (19, 3, 6)
LEAST_COMPOSE = (2, 32, 2)
# Upstream's last release that every upgrade has to stop at.
LAST_STOP = (24, 8, 0)
INSTALLER = (
    "--skip-user-creation",
    "--skip-commit-check",
    "--no-report-self-hosted-issues",
    "--apply-automatic-config-updates",
)
BEGIN = "# BEGIN watchkeeper: what stands here is replaced"
END = "# END watchkeeper"
ENVIRONMENT_FILE = ".env.custom"
HEADER = "# Made by watchkeeper: sentry_self_hosted_environment takes further variables."
DATA_VOLUME = "sentry-postgres"
TOKEN_NAME = "watchkeeper"  # noqa: S105 - what it is called
SCOPES = (
    "org:read",
    "team:read",
    "team:write",
    "team:admin",
    "project:read",
    "project:write",
    "project:admin",
    "project:releases",
    "alerts:read",
    "alerts:write",
)
# Variables that follow from options, or on which the containers and volumes hang.
OWN_VARIABLES = {
    "COMPOSE_PROFILES": "sentry_self_hosted_profile",
    "SENTRY_BIND": "sentry_self_hosted_listen_address and sentry_self_hosted_port",
    "SENTRY_EVENT_RETENTION_DAYS": "sentry_self_hosted_event_retention_days",
    "COMPOSE_PROJECT_NAME": "",
    "LAUNCHPAD_RPC_SHARED_SECRET": "",
    "REPORT_SELF_HOSTED_ISSUES": "",
}
OWN_OPTIONS = {
    "system.url-prefix": "sentry_self_hosted_url",
    "system.admin-email": "sentry_self_hosted_admin_email",
    "system.secret-key": "",
}
MARK = "watchkeeper-account "
# Sentry reads this from its standard input: no secret is on a command line. It stands inside a `try`, indented.
ACCOUNT = """
import json
import sentry
from sentry import options
from sentry.models.apitoken import ApiToken
from sentry.models.organization import Organization
from sentry.types.token import AuthTokenType
from sentry.users.models.user import User
given = json.loads({given})
user = User.objects.get(username=given["email"])
if given["password"]:
    user.set_password(given["password"])
    user.save()
# The questions of the first login are answered in config.yml.
options.set("sentry:version-configured", sentry.get_version(), channel=options.UpdateChannel.APPLICATION)
ApiToken.objects.filter(user_id=user.id, name=given["token"]).delete()
token = ApiToken.objects.create(
    user_id=user.id,
    name=given["token"],
    token_type=AuthTokenType.USER,
    scope_list=given["scopes"],
    expires_at=None,
)
print({mark} + json.dumps({{"token": token.plaintext_token, "organization": Organization.get_default().slug}}))
"""
POLL_SECONDS = 0.5
LAST_LINES = 25
HIDDEN = "********"
SECRET_NAME = re.compile(r"password|passwd|secret|key|token|dsn|credential", re.IGNORECASE)


class RefusedError(Exception):
    """Sentry cannot be brought to what is wanted; the message is for the person who reads the run."""


@dataclass(frozen=True)
class Record:
    """What an earlier run did: `reached` is the newest release whose installer was begun, `settings` and `account` are
    keyed digests of what was installed and of who administers it."""

    directory: str
    version: str = ""
    reached: str = ""
    settings: str = ""
    account: str = ""
    organization: str = ""
    running: bool = False


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers at the start of a version."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def dotted(version: Sequence[int]) -> str:
    """Return a version as people write it."""
    return ".".join(str(part) for part in version)


def with_block(text: str, lines: Sequence[str]) -> str:
    """Return a text with our lines at its end, in place of those of an earlier run."""
    rest = re.sub(rf"(?ms)^{re.escape(BEGIN)}$.*?^{re.escape(END)}\n?", "", text).rstrip("\n")
    return "\n".join([*([rest, ""] if rest else []), BEGIN, *lines, END, ""])


def secret_values(value: Any, name: str = "") -> set[str]:
    """Return the texts under names that tell of secrets."""
    if isinstance(value, Mapping):
        return {text for key, inner in value.items() for text in secret_values(inner, f"{name} {key}")}
    if isinstance(value, list):
        return {text for inner in value for text in secret_values(inner, name)}
    return {value} if isinstance(value, str) and value and SECRET_NAME.search(name) else set()


def settings_problems(params: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the task, each with the name of the variable."""
    found = []
    if not re.fullmatch(r"\d+\.\d+\.\d+", params["version"]):
        found.append(f"sentry_self_hosted_version is {params['version']!r}; it must be a release such as 26.8.0")
    if not re.fullmatch(r"[0-9a-f]{40}", params["commit"]):
        found.append(f"sentry_self_hosted_commit is {params['commit']!r}; it must be the 40 digits of a commit's hash")
    parts = urlsplit(params["url"])
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or "@" in parts.netloc:
        found.append("sentry_self_hosted_url must be like https://sentry.example.com, without path and account")
    try:
        ipaddress.IPv4Address(params["listen_address"])
    except ValueError:
        found.append(f"sentry_self_hosted_listen_address is {params['listen_address']!r}; it must be an IPv4 address")
    if not 0 < params["port"] < 65536:
        found.append(f"sentry_self_hosted_port is {params['port']}; it must be from 1 to 65535")
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", params["admin_email"]):
        found.append(f"sentry_self_hosted_admin_email is {params['admin_email']!r}; it must be an e-mail address")
    if params["event_retention_days"] < 1:
        days = params["event_retention_days"]
        found.append(f"sentry_self_hosted_event_retention_days is {days}; it must be at least 1")
    for name, value in params["environment"].items():
        where = f"sentry_self_hosted_environment.{name}"
        if name in OWN_VARIABLES:
            own = OWN_VARIABLES[name]
            found.append(f"{where} cannot be set there{f': set {own}' if own else ', it is made by the role'}")
        elif not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            found.append(f"{where}: the name must be of capital letters, digits and '_'")
        elif isinstance(value, (dict, list)) or re.search(r"['\r\n]", str(value)):
            found.append(f"{where} must be one line of text without a single quote")
    for name in params["config"]:
        where = f"sentry_self_hosted_config.{name}"
        if name in OWN_OPTIONS:
            own = OWN_OPTIONS[name]
            found.append(f"{where} cannot be set there{f': set {own}' if own else ', the installer makes it'}")
        elif not re.fullmatch(r"[\w.:-]*\w", name, re.ASCII):
            found.append(f"{where}: the name must be of letters, digits, '.', ':', '_' and '-'")
    return found


class SelfHosted:
    """One installation on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        given = module.params
        self.module = module
        self.params = given
        self.write = not module.check_mode
        self.folder = Path(given["directory"])
        self.secrets = Path(given["secrets"])
        self.place = Path(given["record"])
        self.actions: list[str] = []
        self.notes: list[str] = []
        told = secret_values(given["config"]) | secret_values(given["environment"])
        # As a whole they would mask every 25 and every word of theirs in what is told.
        module.no_log_values.update(told)
        self.known = {given["admin_password"], *told}

    @cached_property
    def docker(self) -> str:
        """The program."""
        found = self.module.get_bin_path("docker")
        if not found:
            raise RefusedError(
                "this host has no Docker (no program docker): Sentry runs in it. Install it with Compose first"
            )
        return str(found)

    @property
    def url(self) -> str:
        """Where the API answers on this host."""
        listen = self.params["listen_address"]
        return f"http://{'127.0.0.1' if listen == '0.0.0.0' else listen}:{self.params['port']}"  # noqa: S104 - compared

    # Words of other programs.

    def masked(self, text: str) -> str:
        """Return the last lines of what a program said, without secrets."""
        for secret in sorted((one for one in self.known if len(one) > 3), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return "\n".join(text.strip().splitlines()[-LAST_LINES:])

    def run(self, *command: str, what: str = "", text: str | None = None) -> str:
        """Run a program in the folder of the release; raise RefusedError, saying `what` failed, if it fails."""
        cwd = str(self.folder) if self.folder.is_dir() else None
        code, output, errors = self.module.run_command(list(command), cwd=cwd, data=text, binary_data=False)
        if code and what:
            raise RefusedError(f"{what} (exit status {code}):\n{self.masked(output + errors)}")
        return "" if code else str(output)

    def git(self, *words: str, what: str) -> str:
        """Run git in the folder of the release."""
        program = self.module.get_bin_path("git")
        if not program:
            raise RefusedError("this host has no program git, with which the release is fetched: install it first")
        own = ("-C", str(self.folder), "-c", "core.hooksPath=/dev/null", "-c", f"safe.directory={self.folder}")
        return self.run(program, *own, *words, what=what).strip()

    def compose(self, *words: str, what: str = "", text: str | None = None) -> str:
        """Run Compose on the installation."""
        files = ("--env-file", ".env", "--env-file", ENVIRONMENT_FILE)
        return self.run(self.docker, "compose", "--ansi", "never", *files, *words, what=what, text=text)

    # What is there.

    def recorded(self) -> Record | None:
        """Return what an earlier run did, if any."""
        try:
            return Record(**json.loads(self.place.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def remember(self, record: Record) -> None:
        """Record what was done."""
        self.put(self.place, json.dumps(asdict(record), indent=1) + "\n", 0o600)

    def put(self, path: Path, text: str, mode: int) -> None:
        """Put a file in place at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        candidate = Path(self.module.tmpdir, path.name)
        candidate.touch(mode=0o600)
        candidate.write_text(text, encoding="utf-8")
        candidate.chmod(mode)
        self.module.atomic_move(str(candidate), str(path))
        path.chmod(mode)

    def secret(self, name: str, value: str = "") -> str:
        """Return a secret that is kept on this host, which is made when there is none; a given one replaces it."""
        path = self.secrets / name
        kept = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        wanted = value or kept or secrets.token_urlsafe(32)
        if wanted != kept and self.write:
            self.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.put(path, wanted + "\n", 0o600)
        self.known.add(wanted)
        return wanted

    def digest(self, *parts: str) -> str:
        """Return a digest that tells nothing to those who do not have the secrets."""
        key = self.secret("launchpad").encode()
        return hmac.new(key, "\0".join(parts).encode(), hashlib.sha256).hexdigest()

    def head(self) -> str:
        """Return the commit that is checked out, nothing where there is none."""
        if not (self.folder / ".git").exists():
            return ""
        return self.git("rev-parse", "--verify", "--quiet", "HEAD", what="")

    def installed(self, record: Record | None) -> str:
        """Return the newest release that ran on the data of this host, nothing where there are none."""
        if record and record.reached:
            return record.reached
        try:
            said = (self.folder / ".env").read_text(encoding="utf-8")
        except OSError:
            return ""
        found = re.search(r"^SENTRY_IMAGE=\S+:(\d+\.\d+\.\d+)$", said, re.MULTILINE)
        return found[1] if found else ""

    # What is checked before.

    def refuse_what_cannot_be(self, record: Record | None) -> None:
        """Refuse what would damage data: an older release, an upgrade past a stop, somebody else's installation."""
        version, there = self.params["version"], self.installed(record)
        if record and record.directory != str(self.folder):
            raise RefusedError(
                f"sentry_self_hosted_directory is {self.folder}, but Sentry was installed in {record.directory}: set "
                f"it back, or stop Sentry, move the folder with all that is in it and change the path in {self.place}"
            )
        if there and numbers(version) < numbers(there):
            raise RefusedError(
                f"sentry_self_hosted_version is {version}, but {there} was installed: Sentry cannot go back, its data "
                "have been migrated. Set it to that release or a newer one"
            )
        if there and numbers(there) < LAST_STOP < numbers(version):
            raise RefusedError(
                f"Sentry {there} is installed: an upgrade has to stop at {dotted(LAST_STOP)} and others before. Go "
                "through upstream's hard stops first (https://develop.sentry.dev/self-hosted/releases/)"
            )
        if not there and self.folder.is_dir() and os.listdir(self.folder) and not self.head():
            git = self.folder / ".git"
            # What an interrupted first run leaves has no commit yet, and nothing else in it.
            if not git.exists() or os.listdir(self.folder) != [".git"]:
                raise RefusedError(
                    f"sentry_self_hosted_directory is {self.folder}, which is neither empty nor a checkout of "
                    "getsentry/self-hosted: name another folder"
                )
        if not there and self.run(self.docker, "volume", "inspect", DATA_VOLUME):
            raise RefusedError(
                f"this host has the volume {DATA_VOLUME} of a Sentry that is not in {self.folder}: set "
                "sentry_self_hosted_directory to its checkout, or remove its volumes if nobody needs the data"
            )
        environment = self.folder / ENVIRONMENT_FILE
        if environment.exists() and not environment.read_text(encoding="utf-8").startswith(HEADER):
            raise RefusedError(
                f"{environment} was made by somebody else: move its lines to sentry_self_hosted_environment, and the "
                "file away"
            )

    def refuse_what_is_too_small(self, fresh: bool) -> None:
        """Refuse a host on which the installer would give up, or Sentry would not run."""
        said = self.run(self.docker, "info", "--format", "{{json .}}", what="Docker does not answer")
        try:
            host = json.loads(said)
        except ValueError:
            host = {}
        if not isinstance(host, dict) or not host.get("ServerVersion"):
            raise RefusedError("Docker does not answer (docker info): start it first")
        compose = self.run(self.docker, "compose", "version", "--short").strip()
        processors, memory = NEEDS[self.params["profile"]]
        found = []
        if int(host.get("NCPU", 0)) < processors:
            found.append(f"{processors} processors are needed, it has {host.get('NCPU', 0)}")
        mebibytes = int(host.get("MemTotal", 0)) // 2**20
        if mebibytes < memory:
            found.append(f"{memory} MiB of memory are needed, it has {mebibytes}")
        if numbers(host["ServerVersion"]) < LEAST_DOCKER:
            found.append(f"Docker {dotted(LEAST_DOCKER)} is needed, it has {host['ServerVersion']}")
        if numbers(compose) < LEAST_COMPOSE:
            found.append(f"Docker Compose {dotted(LEAST_COMPOSE)} is needed, it has {compose or 'none'}")
        if found:
            smaller = self.params["profile"] != "errors-only" and "memory" in " ".join(found)
            advice = ". sentry_self_hosted_profile: errors-only needs half, bugsink next to nothing" if smaller else ""
            raise RefusedError(
                f"this host cannot run Sentry ({self.params['profile']}): {'; '.join(found)}{advice}. Nothing was "
                "changed"
            )
        if fresh:
            holder = port_taken(self.params["listen_address"], self.params["port"])
            if holder:
                raise RefusedError(
                    f"port {self.params['port']} is taken by {holder}: set sentry_self_hosted_port to another"
                )

    # What is written.

    def check_out(self, head: str) -> None:
        """Fetch the release, and check it out if it is the one that is wanted."""
        version, commit, repository = self.params["version"], self.params["commit"], self.params["repository"]
        self.actions.append(f"release {version} in {self.folder}")
        if not self.write:
            return
        if not head:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.git("init", "--quiet", what=f"git could not use {self.folder}")
        tag = f"refs/tags/{version}"
        self.git(
            *("fetch", "--quiet", "--no-tags", "--depth=1", repository, f"+{tag}:{tag}"),
            what=f"release {version} could not be fetched from {repository}",
        )
        named = self.git("rev-parse", f"{tag}^{{commit}}", what=f"{tag} names no commit")
        if named != commit:
            raise RefusedError(
                f"release {version} of {repository} is commit {named}, but sentry_self_hosted_commit is {commit}: set "
                "it to that commit if you changed sentry_self_hosted_version and trust it. Nothing of it has run"
            )
        self.git("checkout", "--quiet", "--detach", commit, what=f"release {version} could not be checked out")

    def changed_by_hand(self) -> None:
        """Refuse to run files of the release that somebody has changed."""
        said = self.git("status", "--porcelain", "--untracked-files=no", what="git could not compare the release")
        if said:
            names = ", ".join(line[2:].strip() for line in said.splitlines())
            raise RefusedError(
                f"files of the release were changed by hand in {self.folder}: {names}. Undo that (git checkout), and "
                "use docker-compose.override.yml, sentry_self_hosted_config or sentry_self_hosted_environment instead"
            )

    def environment(self) -> str:
        """Return the variables of the installation."""
        given = self.params
        own = {
            "COMPOSE_PROFILES": given["profile"],
            "SENTRY_BIND": f"{given['listen_address']}:{given['port']}",
            "SENTRY_EVENT_RETENTION_DAYS": given["event_retention_days"],
            "LAUNCHPAD_RPC_SHARED_SECRET": self.secret("launchpad"),
        }
        further = {name: f"'{value}'" for name, value in sorted(given["environment"].items())}
        return "\n".join([HEADER, *(f"{name}={value}" for name, value in {**own, **further}.items()), ""])

    def options(self) -> list[str]:
        """Return our lines of config.yml. The first login would ask for what is left out."""
        given = self.params
        own = {
            "system.url-prefix": given["url"].rstrip("/"),
            "system.admin-email": given["admin_email"],
            "auth.allow-registration": False,
            "beacon.anonymous": True,
            "mail.port": 25,
            "mail.username": "",
            "mail.password": "",
            "mail.use-tls": False,
            "mail.use-ssl": False,
        }
        every = {**own, **dict(sorted(given["config"].items()))}
        return [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in every.items()]

    def python(self) -> list[str]:
        """Return our lines of sentry.conf.py."""
        lines = ["SENTRY_BEACON = False", f"CSRF_TRUSTED_ORIGINS = [{json.dumps(self.params['url'].rstrip('/'))}]"]
        if self.params["url"].startswith("https:"):
            lines += [
                'SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")',
                "SESSION_COOKIE_SECURE = True",
                "CSRF_COOKIE_SECURE = True",
                "SOCIAL_AUTH_REDIRECT_IS_HTTPS = True",
            ]
        return lines

    def files(self) -> dict[str, str]:
        """Return the files that are to be written, by their paths. What others wrote into them stays."""
        wanted = {ENVIRONMENT_FILE: self.environment()}
        for name, example, lines in (
            ("sentry/config.yml", "sentry/config.example.yml", self.options()),
            ("sentry/sentry.conf.py", "sentry/sentry.conf.example.py", self.python()),
        ):
            path = self.folder / name
            source = path if path.exists() else self.folder / example
            # In check mode the release may not be there yet.
            text = source.read_text(encoding="utf-8") if source.exists() or self.write else ""
            wanted[name] = with_block(text, lines)
        return {name: text for name, text in wanted.items() if self.said(name) != text}

    def said(self, name: str) -> str | None:
        """Return the text of a file of the installation, None where there is none."""
        path = self.folder / name
        return path.read_text(encoding="utf-8") if path.exists() else None

    # What runs.

    def install(self) -> None:
        """Run the release's installer. It stops what runs, and starts nothing for good."""
        begun = time.monotonic()
        self.run(
            # A question of its own would find no answer, instead of waiting for one.
            *("bash", "-c", 'exec bash install.sh "$@" </dev/null', "install.sh", *INSTALLER),
            what=f"the installer of Sentry {self.params['version']} failed, and Sentry is stopped; its whole log is "
            f"{self.folder}/sentry_install_log-*.txt. Mend what it says and run again; it goes on from there",
        )
        self.module.log(f"the installer of Sentry took {time.monotonic() - begun:.0f} s")

    def missing(self) -> list[str]:
        """Return the services that do not run."""
        wanted = self.compose("config", "--services", what="Compose cannot read the installation").split()
        running = self.compose("ps", "--services", "--status", "running").split()
        return sorted(set(wanted) - set(running))

    def start(self) -> None:
        """Start what does not run, and wait until Sentry answers."""
        timeout = self.params["timeout"]
        deadline = time.monotonic() + timeout
        self.compose("up", "--wait", "--wait-timeout", str(timeout), what="Sentry did not start")
        said = "nothing"
        while True:
            try:
                status, _body = http_get(f"{self.url}/_health/")
                if status == 200:
                    return
                said = f"status {status}"
            except OSError as error:
                said = str(error)
            if time.monotonic() > deadline:
                raise RefusedError(f"Sentry was started, but {self.url}/_health/ does not answer: {said}")
            time.sleep(POLL_SECONDS)

    def token_is_good(self, organization: str) -> bool:
        """Tell whether Sentry takes the token."""
        path = self.secrets / "token"
        if not path.exists():
            return False
        request = urllib.request.Request(  # noqa: S310 - the address is of http
            f"{self.url}/api/0/organizations/{organization or 'sentry'}/",
            headers={"Authorization": f"Bearer {path.read_text(encoding='utf-8').strip()}"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30):
                return True
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (401, 403, 404):
                    return False
                raise RefusedError(f"{self.url} answered {error.code} when it was asked for its organisation") from None
        except OSError as error:
            raise RefusedError(f"{self.url} did not answer: {error}") from error

    def make_account(self, password: str) -> str:
        """Have the administrator and its token; return the slug of the organisation."""
        email = self.params["admin_email"]
        words = ("exec", "-T", "web", "sentry", "createuser", "--email", email, "--superuser", "--no-password")
        self.compose(*words, "--no-input", what=f"Sentry did not make the account {email}")
        given = {"email": email, "password": password, "token": TOKEN_NAME, "scopes": SCOPES}
        script = ACCOUNT.format(given=repr(json.dumps(given)), mark=repr(MARK))
        what = f"Sentry did not make the token of {email}"
        said = self.compose("exec", "-T", "web", "sentry", "exec", text=script, what=what)
        line = next((line for line in said.splitlines() if line.startswith(MARK)), "")
        if not line:
            raise RefusedError(f"{what}:\n{self.masked(said)}")
        made = json.loads(line[len(MARK) :])
        self.secret("token", made["token"])
        return str(made["organization"])


def present(sentry: SelfHosted) -> dict[str, Any]:
    """Have Sentry run; return what the result says of it."""
    params, recorded = sentry.params, sentry.recorded()
    found = settings_problems(params)
    if found:
        raise RefusedError("; ".join(found))
    sentry.refuse_what_cannot_be(recorded)
    record = recorded or Record(str(sentry.folder))
    head = sentry.head()
    settings = sentry.digest(
        params["version"], params["commit"], sentry.environment(), *sentry.options(), *sentry.python()
    )
    to_install = head != params["commit"] or record.settings != settings or bool(sentry.files())
    if to_install:
        sentry.refuse_what_is_too_small(fresh=not sentry.installed(recorded))
        if head:
            sentry.changed_by_hand()
        if head != params["commit"]:
            sentry.check_out(head)
        for name, text in sentry.files().items():
            sentry.actions.append(f"settings in {name}")
            if sentry.write:
                # Containers read the others with accounts of their own; the folder keeps everybody else out.
                sentry.put(sentry.folder / name, text, 0o600 if name == ENVIRONMENT_FILE else 0o644)
        sentry.actions.append(f"installation of {params['version']} ({params['profile']})")
        if sentry.write:
            sentry.folder.chmod(0o700)
            # Data may be of the new release from here on, and an interrupted installation is done again.
            record = replace(record, reached=params["version"], settings="", running=True)
            sentry.remember(record)
            sentry.install()
            record = replace(record, version=params["version"], settings=settings)
            sentry.remember(record)
    missing = ["every service"] if to_install and not sentry.write else sentry.missing()
    if missing:
        sentry.actions.append("start" if to_install or len(missing) > 3 else f"start of {', '.join(missing)}")
        if sentry.write:
            record = replace(record, running=True)
            sentry.remember(record)
            sentry.start()
    organization = account_and_token(sentry, record, bool(missing))
    return {
        "url": sentry.url,
        "organization": organization or "sentry",
        "token_file": str(sentry.secrets / "token"),
        "component": {"name": "sentry", "version": params["version"], "state": "ready", "actions": sentry.actions},
    }


def account_and_token(sentry: SelfHosted, record: Record, missing: bool) -> str:
    """Have the administrator and the token of the API; return the slug of the organisation."""
    email, given = sentry.params["admin_email"], sentry.params["admin_password"]
    path = sentry.secrets / "admin_password"
    if not given and not path.exists():
        sentry.notes.append(f"the password of {email} is made on this host: {path}")
    password = sentry.secret("admin_password", given)
    account = sentry.digest(email, password)
    known = record.account == account
    # In check mode, Sentry cannot be asked before it runs.
    if known and ((missing and not sentry.write) or sentry.token_is_good(record.organization)):
        return record.organization
    sentry.actions.append(
        f"token of the API for {email}" if known else f"administrator {email}, and a token of the API"
    )
    if not sentry.write:
        return record.organization
    # Without a change here, the password of somebody who has changed it in Sentry stays.
    organization = sentry.make_account("" if known else password)
    sentry.remember(replace(record, account=account, organization=organization))
    return organization


def absent(sentry: SelfHosted) -> dict[str, Any]:
    """Remove the containers of an installation of ours; return what the result says of it."""
    record = sentry.recorded()
    if record is None:
        return {}
    sentry.folder = Path(record.directory)
    if record.running:
        sentry.actions.append("stop")
        if sentry.write:
            # Without Docker, nothing can be running.
            if sentry.module.get_bin_path("docker"):
                sentry.compose("down", "--timeout", "60", "--remove-orphans", what="Sentry could not be stopped")
            sentry.remember(replace(record, running=False))
        sentry.notes.append(f"the data of Sentry are kept: its volumes (sentry-*) in Docker, and {record.directory}")
    version = record.version or record.reached
    return {"component": {"name": "sentry", "version": version, "state": "absent", "actions": sentry.actions}}


def main() -> None:
    """Do it, or say why not."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "version": {"type": "str"},
            "commit": {"type": "str"},
            "repository": {"type": "str", "default": "https://github.com/getsentry/self-hosted.git"},
            "directory": {"type": "path", "default": "/opt/sentry-self-hosted"},
            "profile": {"type": "str", "choices": list(NEEDS), "default": "feature-complete"},
            "url": {"type": "str"},
            "listen_address": {"type": "str", "default": "0.0.0.0"},  # noqa: S104 - applications are elsewhere
            "port": {"type": "int", "default": 9000},
            "admin_email": {"type": "str"},
            "admin_password": {"type": "str", "default": "", "no_log": True},
            "event_retention_days": {"type": "int", "default": 90},
            "config": {"type": "dict", "default": {}},
            "environment": {"type": "dict", "default": {}},
            "secrets": {"type": "path", "default": "/var/lib/watchkeeper/sentry/secrets", "no_log": False},
            "record": {"type": "path", "default": "/etc/watchkeeper/sentry_self_hosted.json"},
            "timeout": {"type": "int", "default": 1800},
        },
        required_if=[("state", "present", ("version", "commit", "url", "admin_email"))],
        supports_check_mode=True,
    )
    os.umask(0o022)
    module.run_command_environ_update = {
        "LC_ALL": "C.UTF-8",
        "GIT_TERMINAL_PROMPT": "0",
        "REPORT_SELF_HOSTED_ISSUES": "0",
        # The release runs Python of its own in containers, and the installer reads this.
        "APPLY_AUTOMATIC_CONFIG_UPDATES": "1",
    }
    sentry = SelfHosted(module)
    try:
        result = (present if module.params["state"] == "present" else absent)(sentry)
    except (RefusedError, OSError) as error:
        changed = bool(sentry.actions) and sentry.write
        module.fail_json(msg=str(error), changed=changed, actions=sentry.actions)
    module.exit_json(changed=bool(sentry.actions), actions=sentry.actions, notes=sentry.notes, **result)


if __name__ == "__main__":
    main()
