"""Bugsink's settings, as Django reads them, from the file that the environment names.

Secrets lie in files of their own, beside it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from bugsink.conf_utils import deduce_allowed_hosts, deduce_script_name
from bugsink.settings.default import *  # noqa: F403
from bugsink.settings.default import DATABASES, SILENCED_SYSTEM_CHECKS

# Where the path of the file stands.
VARIABLE = "WATCHKEEPER_BUGSINK_CONFIG"

CONFIG: dict[str, Any] = yaml.safe_load(Path(os.environ[VARIABLE]).read_text(encoding="utf-8"))
DATA = Path(CONFIG["data"])

SECRET_KEY = Path(CONFIG["secret_key_file"]).read_text(encoding="utf-8").strip()
TIME_ZONE = CONFIG["time_zone"]

DATABASES["default"]["NAME"] = str(DATA / "db.sqlite3")
DATABASES["snappea"]["NAME"] = str(DATA / "snappea.sqlite3")

# Every event is digested by the process that takes it: there is no second one to run.
SNAPPEA = {"TASK_ALWAYS_EAGER": True}

EMAIL_BACKEND = "bugsink.email_backends.QuietConsoleEmailBackend"

BUGSINK: dict[str, Any] = {
    "BASE_URL": CONFIG["url"],
    "SITE_TITLE": "Bugsink",
    "INGEST_STORE_BASE_DIR": str(DATA / "ingestion"),
    "USER_REGISTRATION": "CB_ADMINS",
    "TEAM_CREATION": "CB_ADMINS",
    **CONFIG["settings"],
    "PHONEHOME": False,
}

ALLOWED_HOSTS = [*deduce_allowed_hosts(CONFIG["url"]), *CONFIG["allowed_hosts"]]
FORCE_SCRIPT_NAME = deduce_script_name(CONFIG["url"])
if FORCE_SCRIPT_NAME:
    STATIC_URL = f"{FORCE_SCRIPT_NAME}/static/"

# The length of a key is judged where it is given; one that a host has made has 256 bits in 43 characters.
SILENCED_SYSTEM_CHECKS += ["security.W009"]
if CONFIG["url"].startswith("https:"):
    # What ends TLS stands before Bugsink, and says so.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    USE_X_REAL_IP = True
else:
    # Such cookies would be sent nowhere.
    SILENCED_SYSTEM_CHECKS += ["security.W012", "security.W016"]
