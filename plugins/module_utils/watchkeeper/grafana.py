"""A client of Grafana's HTTP API: one way to log in, to repeat what may be repeated, and to say what went wrong.

Errors hold Grafana's own message and never a body; every secret that was handed over is masked in them.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import time
import urllib.error
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Callable

from ansible.module_utils.urls import ConnectionError as UrlError
from ansible.module_utils.urls import basic_auth_header, open_url

HIDDEN = "********"
# The waits between the attempts of one request. A start of Grafana lies within their sum.
WAITS = (0.25, 0.5, 1.0, 2.0, 4.0)
# A server that asks for a longer wait is answered with the error instead.
LONGEST_WAIT = 60.0
LONGEST_MESSAGE = 300
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


class GrafanaError(Exception):
    """What Grafana refused, or why it gave no answer; `status` is 0 without an answer in HTTP."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Grafana:
    """One Grafana, seen by one account in one organisation."""

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
        self.url = checked_url(url)
        self.username = "" if token else username
        self._secrets = {token, password} - {""}
        self._headers = {"Accept": "application/json", "Content-Type": "application/json"}
        login = f"Bearer {token}" if token else basic_auth_header(username, password)
        self._headers["Authorization"] = login if isinstance(login, str) else login.decode("ascii")
        if organization is not None:
            # Choosing the organisation for the account would change it for everybody who uses the account.
            self._headers["X-Grafana-Org-Id"] = str(organization)
        self._options: dict[str, Any] = {
            "timeout": timeout,
            "validate_certs": validate_certs,
            "ca_path": ca_path,
            # A proxy in the environment is for the outside world.
            "use_proxy": not is_loopback(self.url),
            "use_netrc": False,
            "follow_redirects": "none",
            "http_agent": "watchkeeper",
        }
        self._sleep = sleep

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

    def hide(self, secrets: Iterable[Any]) -> None:
        """Mask further secrets in errors."""
        self._secrets |= {str(secret) for secret in secrets if secret not in (None, "")}

    def masked(self, text: str) -> str:
        """Return a text without any secret that this client knows."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def get(self, path: str, waits: Sequence[float] = WAITS) -> Any:
        """Return the data of a GET."""
        return self.send("GET", path, waits=waits)

    def find(self, path: str) -> Any:
        """Return the data of a GET, None where Grafana has nothing."""
        try:
            return self.send("GET", path)
        except GrafanaError as error:
            if error.status == 404:
                return None
            raise

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

    def delete(self, path: str) -> None:
        """Have Grafana delete something, which may be gone already."""
        try:
            self.send("DELETE", path)
        except GrafanaError as error:
            if error.status != 404:
                raise

    def send(
        self, method: str, path: str, body: Any = None, repeatable: bool = True, waits: Sequence[float] = WAITS
    ) -> Any:
        """Send a request and return the data of its answer.

        What failed is repeated. A request that is not `repeatable` is so only if it surely had no effect.
        """
        data = None if body is None else json.dumps(body).encode()
        for wait in (*waits, None):
            try:
                with open_url(
                    self.url + path, data=data, headers=self._headers, method=method, **self._options
                ) as answer:
                    return self._data(answer.read(), method, path)
            except urllib.error.HTTPError as error:
                with error:
                    status, headers, text = error.code, dict(error.headers.items()), _message(error.read())
                asked = _retry_after(headers.get("Retry-After"))
                again = status in (429, 503) or (status >= 500 and repeatable)
                if not again or wait is None or asked > LONGEST_WAIT:
                    raise GrafanaError(self._refusal(method, path, status, text, headers), status) from None
                self._sleep(max(wait, asked))
            except (OSError, HTTPException, UrlError) as error:
                refused = isinstance(_reason(error), ConnectionRefusedError)
                if wait is None or _hopeless(error) or not (repeatable or refused):
                    why = self.masked(str(_reason(error) or type(error).__name__))
                    raise GrafanaError(f"{method} {self.url}{path}: no answer: {why}") from None
                self._sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _data(self, body: bytes, method: str, path: str) -> Any:
        if not body.strip():
            return {}
        try:
            return json.loads(body)
        except ValueError:
            raise GrafanaError(
                f"{method} {self.url}{path}: the answer is not JSON; is it Grafana that answers at {self.url}, and no "
                "login page in front of it?"
            ) from None

    def _refusal(self, method: str, path: str, status: int, text: str, headers: Mapping[str, str]) -> str:
        """Say what was refused and, where it can be told, what to do."""
        said = f"{method} {self.url}{path}: HTTP {status}"
        if text:
            # Masked whole, before it is cut.
            said += f": {' '.join(self.masked(text).split())[:LONGEST_MESSAGE]}"
        who = f"the account {self.username}" if self.username else "the token"
        if status == 401:
            said += f". Grafana does not know {who} or its password"
            if self.username:
                said += "; after five failures it refuses the right one, too, for five minutes"
        elif status == 403 and "read-only" not in text and "read only" not in text:
            said += f". Has {who} the role that this needs, in this organisation?"
        elif 300 <= status < 400:
            said += (
                f". It redirects to {self.masked(headers.get('Location') or 'nowhere')}: set url to where it answers"
            )
        return said


def checked_url(url: str) -> str:
    """Return the URL of a Grafana without a slash at its end, or raise GrafanaError."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:  # a bracket without its other one
        parts = urllib.parse.urlsplit("")
    if parts.username is not None or parts.query or parts.fragment:
        raise GrafanaError("url must hold no account, no password, no query and no fragment; set username and password")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise GrafanaError(f"url is {url!r}; it must be like http://127.0.0.1:3000 or https://grafana.example.com")
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Tell whether a URL is one of this host alone."""
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def grafana_not_there(params: Mapping[str, Any]) -> bool:
    """Tell whether Grafana is to be on this host and is not there yet: no password file, or nobody who listens."""
    parts = urllib.parse.urlsplit(checked_url(params["url"]))
    if params.get("password_file") and not os.path.exists(params["password_file"]):
        return True
    if not is_loopback(params["url"]):
        return False
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=params["timeout"]):
            return False
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


def read_secret(path: str | None, option: str) -> str:
    """Return what a file on this host holds, without the line's end; nothing where no file is named."""
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise GrafanaError(f"{option} {path} cannot be read: {why}") from None


def quoted(name: str) -> str:
    """Return a name as one part of a path."""
    return urllib.parse.quote(str(name), safe="")


def rendered(data: Any) -> str:
    """Return data as text for a diff; nothing for None."""
    return "" if data is None else json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _message(body: bytes) -> str:
    """Return the sentence that Grafana gave as a reason; a body of another kind stays unread."""
    try:
        data = json.loads(body)
    except ValueError:
        return ""
    text = data.get("message") if isinstance(data, dict) else None
    return text if isinstance(text, str) else ""


def _retry_after(value: str | None) -> float:
    """Return the seconds that a server asks for; its other form, a date, is not in use here."""
    try:
        return max(float(value or 0), 0.0)
    except ValueError:
        return 0.0


def _reason(error: BaseException) -> Any:
    """Return what is behind the error of a library."""
    return error.reason if isinstance(error, urllib.error.URLError) else error


def _hopeless(error: BaseException) -> bool:
    """Tell whether a repetition cannot help: a certificate stays wrong, an unknown name unknown."""
    reason = _reason(error)
    return isinstance(reason, (socket.gaierror, FileNotFoundError)) or "CERTIFICATE_VERIFY" in str(reason)
