#!/usr/bin/env python3
"""Plays Docker and Compose for tests/unit/test_sentry_self_hosted.py: it only remembers what is said to run.

The folder WATCHKEEPER_TEST_DOCKER holds its state: `host.json` (what `docker info` says, and what is to fail),
`calls.jsonl`, `running.json`, `volumes.json`, and `sentry.json`, the accounts and tokens of its Sentry.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

STATE = Path(os.environ["WATCHKEEPER_TEST_DOCKER"])


def load(name: str, default: Any) -> Any:
    """Return what a file of the state says."""
    path = STATE / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default


def save(name: str, data: Any) -> None:
    """Write a file of the state, at once: the test reads it meanwhile."""
    candidate = STATE / f"{name}.{os.getpid()}"
    candidate.write_text(json.dumps(data), encoding="utf-8")
    candidate.replace(STATE / name)


def environment(files: list[str]) -> dict[str, str]:
    """Return what the given files say, the last one first, unless the process has it already."""
    found: dict[str, str] = {}
    for name in files:
        for line in Path(name).read_text(encoding="utf-8").splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                found[key] = value[1:-1] if value.startswith("'") else value
    return {**found, **{key: os.environ[key] for key in found if key in os.environ}}


def services(variables: dict[str, str]) -> list[str]:
    """Return the services of the profile, of a file with one name and its profiles on each line."""
    lines = Path("docker-compose.yml").read_text(encoding="utf-8").splitlines()
    rows = [line.lstrip("# ").split() for line in lines if line.strip()]
    return [name for name, *profiles in rows if not profiles or variables["COMPOSE_PROFILES"] in profiles]


class Manager:
    """Django's manager of one model, as far as the script asks it."""

    def __init__(self, kind: str, sentry: dict[str, Any]) -> None:
        self.kind, self.sentry = kind, sentry

    def get(self, username: str) -> Any:
        """Return an account that is there."""
        account = self.sentry["users"][username]

        def set_password(password: str) -> None:
            account["password"] = password

        return types.SimpleNamespace(id=username, set_password=set_password, save=lambda: None)

    def filter(self, **words: Any) -> Manager:
        """Remember what the following word is about."""
        self.words = words
        return self

    def delete(self) -> None:
        """Remove tokens."""
        kept = [one for one in self.sentry["tokens"] if {key: one[key] for key in self.words} != self.words]
        self.sentry["tokens"] = kept

    def create(self, **words: Any) -> Any:
        """Make a token."""
        made = {**words, "token": f"sntryu_{len(self.sentry['tokens'])}{os.urandom(8).hex()}"}
        self.sentry["tokens"].append(made)
        return types.SimpleNamespace(plaintext_token=made["token"])


def run_script(text: str, sentry: dict[str, Any]) -> None:
    """Run a script as `sentry exec` does: indented, inside a `try`."""

    def module(name: str, **names: Any) -> None:
        made = types.ModuleType(name)
        vars(made).update(names)
        sys.modules[name] = made

    def set_option(name: str, value: Any, channel: str) -> None:
        assert channel == "application"
        sentry["options"][name] = value

    default = types.SimpleNamespace(slug=sentry["organization"])
    options = types.SimpleNamespace(set=set_option, UpdateChannel=types.SimpleNamespace(APPLICATION="application"))
    module("sentry", options=options, get_version=lambda: "26.8.0")
    for name in ("models", "types", "users", "users.models"):
        module(f"sentry.{name}")
    module("sentry.models.apitoken", ApiToken=types.SimpleNamespace(objects=Manager("token", sentry)))
    module("sentry.models.organization", Organization=types.SimpleNamespace(get_default=lambda: default))
    module("sentry.types.token", AuthTokenType=types.SimpleNamespace(USER="sntryu_"))
    module("sentry.users.models.user", User=types.SimpleNamespace(objects=Manager("user", sentry)))
    body = text.replace("\n", "\n    ")
    exec(compile(f"try:\n    {body}\nfinally:\n    pass\n", "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102


def in_web(words: list[str]) -> int:
    """Carry out a command of Sentry's container."""
    sentry = load("sentry.json", {"users": {}, "tokens": [], "options": {}, "organization": "sentry"})
    if words[:2] == ["sentry", "createuser"]:
        email = words[words.index("--email") + 1]
        assert "--no-input" in words
        assert "--password" not in words
        sentry["users"].setdefault(email, {"superuser": "--superuser" in words, "password": None})
        print(f"User created: {email}")
    elif words == ["sentry", "exec"]:
        print("00:00:00 [INFO] sentry: a line of the log")
        run_script(sys.stdin.read(), sentry)
    else:
        return 64
    save("sentry.json", sentry)
    return 0


def compose(words: list[str]) -> int:
    """Carry out a command of Compose."""
    files = []
    if words[:2] == ["version", "--short"]:
        print(load("host.json", {})["compose"])
        return 0
    if words[:2] == ["--ansi", "never"]:
        words = words[2:]
    while words and words[0] == "--env-file":
        files.append(words[1])
        words = words[2:]
    variables = environment(files or [".env"])
    running = load("running.json", [])
    verb, *rest = words
    if verb == "config":
        print("\n".join(services(variables)))
    elif verb == "ps":
        print("\n".join(running))
    elif verb == "up":
        if "up" in load("host.json", {}).get("fails", []):
            print("container sentry-self-hosted-web-1 is unhealthy", file=sys.stderr)
            return 1
        save("running.json", services(variables))
        save("variables.json", variables)
    elif verb in ("stop", "down"):
        assert "--volumes" not in rest
        assert "-v" not in rest
        save("running.json", [])
    elif verb == "exec":
        if rest[:2] != ["-T", "web"] or "web" not in running:
            print("service web is not running", file=sys.stderr)
            return 1
        return in_web(rest[2:])
    else:
        return 64
    return 0


def main(words: list[str]) -> int:
    """Carry out a command."""
    with (STATE / "calls.jsonl").open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(words) + "\n")
    host = load("host.json", {})
    if words[0] == "compose":
        return compose(words[1:])
    if words[:1] == ["info"]:
        if "info" in host.get("fails", []):
            print("Cannot connect to the Docker daemon", file=sys.stderr)
            return 1
        print(json.dumps(host["info"]))
        return 0
    volumes = load("volumes.json", [])
    if words[:2] == ["volume", "inspect"]:
        return 0 if words[2] in volumes and not print("[]") else 1
    if words[:2] == ["volume", "create"]:
        save("volumes.json", sorted({*volumes, words[2].partition("=")[2]}))
        return 0
    return 64


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(sys.argv[1:]))
