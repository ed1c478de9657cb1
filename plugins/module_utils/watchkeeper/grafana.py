"""A client of Grafana's HTTP API: how to log in, its lists that come in pages, and what its refusals mean."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from ansible.module_utils.urls import basic_auth_header
from ansible.module_utils.watchkeeper import http_api
from ansible.module_utils.watchkeeper.http_api import Api, ApiError, nobody_listens

# Items of a list in one answer.
PAGE = 1000
UID = re.compile(r"[a-zA-Z0-9_-]{1,40}")
UID_RULE = "1 to 40 letters, digits, - and _"

# The options by which each module reaches Grafana; the documentation fragment `grafana` says the same in words.
CONNECTION: dict[str, Any] = {
    "url": {"type": "str", "default": "http://127.0.0.1:3000"},
    "token": {"type": "str", "no_log": True},
    "username": {"type": "str", "default": "admin"},
    "password": {"type": "str", "no_log": True},
    "password_file": {"type": "path", "no_log": False},
    "organization": {"type": "int"},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "timeout": {"type": "int", "default": 30},
}
# Exactly one of these is needed.
LOGINS = ("token", "password", "password_file")


class GrafanaError(ApiError):
    """What Grafana refused, or why it gave no answer."""


class Grafana(Api):
    """One Grafana, seen by one account in one organisation."""

    service = "Grafana"
    error = GrafanaError
    example = "http://127.0.0.1:3000 or https://grafana.example.com"

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        username: str = "",
        password: str = "",
        organization: int | None = None,
        validate_certs: bool = True,
        ca_path: str | None = None,
        timeout: float = 30,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        login = f"Bearer {token}" if token else basic_auth_header(username, password)
        headers = {"Authorization": login if isinstance(login, str) else login.decode("ascii")}
        if organization is not None:
            # Choosing the organisation for the account would change it for everybody who uses the account.
            headers["X-Grafana-Org-Id"] = str(organization)
        super().__init__(
            url,
            headers=headers,
            secrets=[token, password],
            validate_certs=validate_certs,
            ca_path=ca_path,
            timeout=timeout,
            sleep=sleep,
        )
        self.username = "" if token else username

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Grafana:
        """Make a client of a module's parameters; raise GrafanaError when the password cannot be read."""
        return cls(
            params["url"],
            token=params["token"] or "",
            username=params["username"],
            password=params["password"] or read_secret(params["password_file"], "password_file"),
            organization=params["organization"],
            validate_certs=params["validate_certs"],
            ca_path=params["ca_path"],
            timeout=params["timeout"],
        )

    def with_token(self, token: str) -> Grafana:
        """Return a client of the same Grafana that logs in with a token, in the token's own organisation."""
        options = {name: self._options[name] for name in ("timeout", "validate_certs", "ca_path")}
        return Grafana(self.url, token=token, sleep=self._sleep, **options)

    def pages(self, path: str, size: str, key: str = "") -> Iterator[dict[str, Any]]:
        """Yield the items of a list that comes in pages; `size` is the query's word for how many, `key` holds them."""
        number = 1
        while True:
            answer = self.get(f"{path}{size}={PAGE}&page={number}")
            items = answer[key] if key else answer
            yield from items
            if len(items) < PAGE:
                return
            number += 1

    def advice(self, status: int, text: str) -> str:
        """Return what to do about a refusal."""
        who = f"the account {self.username}" if self.username else "the token"
        if status == 401:
            said = f". Grafana does not know {who} or its password"
            if self.username:
                said += "; after five failures it refuses the right one, too, for five minutes"
            return said
        if status == 403 and "read-only" not in text and "read only" not in text:
            return f". Has {who} the role that this needs, in this organisation?"
        return ""


def checked_url(url: str) -> str:
    """Return the URL of a Grafana without a slash at its end, or raise GrafanaError."""
    return Grafana.checked_url(url)


def grafana_not_there(params: Mapping[str, Any]) -> bool:
    """Tell whether Grafana is to be on this host and is not there yet: no password file, or nobody who listens."""
    url = checked_url(params["url"])
    if params.get("password_file") and not os.path.exists(params["password_file"]):
        return True
    return nobody_listens(url, params["timeout"])


def read_secret(path: str | None, option: str) -> str:
    """Return what a file on this host holds; raise GrafanaError where it cannot be read."""
    try:
        return http_api.read_secret(path, option)
    except ApiError as error:
        raise GrafanaError(str(error)) from None
