"""`python -m watchkeeper_bugsink --config FILE check|prepare|manage …`: what Bugsink's own programs need around them.

`check` judges a configuration and changes nothing. `prepare`, before each start, brings the database to this release,
makes the first administrator and the token of the API, and leaves the program `manage` in the data directory. That runs
any of Bugsink's commands with the configuration of the service.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

# What a token may do with which projects, teams and releases are made, and source maps uploaded; it reads no errors.
RIGHTS = (
    "projects_read",
    "projects_manage",
    "teams_read",
    "teams_manage",
    "releases_read",
    "releases_create",
    "debug_files_upload",
)
TOKEN = "api_token"  # noqa: S105 - the name of a file
PASSWORD = "admin_password.hash"  # noqa: S105 - the name of a file


def main(arguments: list[str]) -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="watchkeeper_bugsink", description="Bugsink as a component.")
    parser.add_argument("--config", required=True, type=Path, help="the configuration file")
    parser.add_argument("command", choices=["check", "prepare", "manage"])
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="words for Bugsink's own program")
    given = parser.parse_args(arguments)
    config = given.config.absolute()
    os.environ["WATCHKEEPER_BUGSINK_CONFIG"] = str(config)
    os.environ["DJANGO_SETTINGS_MODULE"] = "watchkeeper_bugsink.settings"
    # Bugsink's settings look at the command line, too; a migration may take longer than another query.
    sys.argv = ["bugsink-manage", *(given.rest if given.command == "manage" else ["migrate"])]
    import django
    from django.core.management import call_command, execute_from_command_line

    if given.command == "manage":
        execute_from_command_line(sys.argv)
        return
    django.setup()
    if given.command == "check":
        check()
        return
    os.umask(0o077)
    call_command("migrate", interactive=False, verbosity=1)
    call_command("migrate", "snappea", database="snappea", interactive=False, verbosity=1)

    from django.conf import settings

    administrator(settings.DATA, settings.CONFIG["admin"])
    token(settings.DATA)
    # With the very files of the service that is about to start, which a later run replaces.
    program = [sys.executable, "-m", "watchkeeper_bugsink", "--config", str(config), "manage"]
    write(settings.DATA / "manage", f'#!/bin/sh\nexec {shlex.join(program)} "$@"\n', 0o700)


def check() -> None:
    """Have Bugsink judge the configuration, with the names of its settings."""
    from bugsink.app_settings import DEFAULTS
    from django.conf import settings
    from django.core.management import call_command
    from django.core.management.base import SystemCheckError

    unknown = sorted(set(settings.CONFIG["settings"]) - set(DEFAULTS))
    if unknown:
        sys.exit(f"bugsink_settings: {', '.join(unknown)} is no setting of Bugsink's; it has {', '.join(DEFAULTS)}")
    try:
        call_command("check", deploy=True, fail_level="WARNING")
    except SystemCheckError as error:
        sys.exit(str(error))


def administrator(data: Path, admin: dict[str, Any]) -> None:
    """Make the administrator, and give the account another password when another one is declared.

    What a person has changed on Bugsink's own pages stays until then.
    """
    from django.contrib.auth import get_user_model
    from django.contrib.auth.hashers import check_password, make_password

    password = Path(admin["password_file"]).read_text(encoding="utf-8").strip()
    record = data / PASSWORD
    given_before = record.read_text(encoding="utf-8").strip() if record.exists() else ""
    users = get_user_model().objects
    user = users.filter(username=admin["user"]).first()
    if user is None:
        users.create_superuser(username=admin["user"], email=admin["user"], password=password)
        print(f"made the administrator {admin['user']}")
    elif check_password(password, given_before):
        return
    else:
        user.set_password(password)
        user.save(update_fields=["password"])
        print(f"gave the administrator {admin['user']} the password that is declared")
    write(record, make_password(password), 0o600)


def token(data: Path) -> None:
    """Make the token of the API, unless the one that was made before is still good."""
    from bsmain.models import AuthToken
    from bugsink.authentication import get_token_for_authentication

    place = data / TOKEN
    if place.exists() and get_token_for_authentication(place.read_text(encoding="utf-8").strip()):
        return
    made = AuthToken.objects.create(description="Watchkeeper", **dict.fromkeys(RIGHTS, True))
    write(place, made.token, 0o600)
    print("made a token of the API")


def write(path: Path, content: str, mode: int) -> None:
    """Replace a file in one rename."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as out:
        out.write(content)
    fresh.chmod(mode)
    fresh.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
