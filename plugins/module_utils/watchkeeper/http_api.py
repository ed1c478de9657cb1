"""What the clients of web APIs share: one way to send, to repeat what may be repeated, and to say what went wrong.

Errors hold the service's own message and never a body; every secret that was handed over is masked in them.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import time
import urllib.error
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import Any, Callable

from ansible.module_utils.urls import ConnectionError as UrlError
from ansible.module_utils.urls import open_url

HIDDEN = "********"
# The waits between the attempts of one request, in seconds. A start of a service lies within their sum.
WAITS = (0.25, 0.5, 1.0, 2.0, 4.0)
# A server that asks for a longer wait (in seconds) is answered with the error instead.
LONGEST_WAIT = 60.0
LONGEST_MESSAGE = 300


class ApiError(Exception):
    """What a service refused, or why it gave no answer; `status` is 0 without an answer in HTTP."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Api:
    """One service that talks JSON over HTTP. A client of it is a subclass that says how it differs."""

    service = "the service"
    error: type[ApiError] = ApiError
    example = "https://service.example.com"
    longest_wait = LONGEST_WAIT

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        secrets: Iterable[str] = (),
        validate_certs: bool = True,
        ca_path: str | None = None,
        timeout: float = 30,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = self.checked_url(url)
        self._secrets = {secret for secret in secrets if secret}
        self._headers = {"Accept": "application/json", "Content-Type": "application/json", **headers}
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
    def checked_url(cls, url: str) -> str:
        """Return the URL of the service without a slash at its end, or raise the client's error."""
        try:
            parts = urllib.parse.urlsplit(url)
        except ValueError:  # a bracket without its other one
            parts = urllib.parse.urlsplit("")
        if parts.username is not None or parts.query or parts.fragment:
            raise cls.error("url must hold no account, no password, no query and no fragment")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise cls.error(f"url is {url!r}; it must be like {cls.example}")
        return url.rstrip("/")

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
        """Return the data of a GET, None where the service has nothing."""
        try:
            return self.send("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def delete(self, path: str) -> None:
        """Have the service delete something, which may be gone already."""
        try:
            self.send("DELETE", path)
        except ApiError as error:
            if error.status not in (404, 410):
                raise

    def send(
        self, method: str, path: str, body: Any = None, repeatable: bool = True, waits: Sequence[float] = WAITS
    ) -> Any:
        """Send a request and return the data of its answer.

        What failed is repeated. A request that is not `repeatable` is so only if it surely had no effect.
        """
        data = None if body is None else json.dumps(body).encode()
        for wait in (*waits, None):
            self.before_request()
            try:
                with open_url(
                    self.url + path, data=data, headers=self._headers, method=method, **self._options
                ) as answer:
                    self.after_answer(answer.status, answer.headers)
                    return self._data(answer.read(), method, path)
            except urllib.error.HTTPError as error:
                with error:
                    status, headers, text = error.code, error.headers, self.message(error.read())
                self.after_answer(status, headers)
                asked = self.asked_wait(headers) if status in (429, 503) else 0.0
                if not self.again(status, repeatable) or wait is None or asked > self.longest_wait:
                    raise self.error(self._refusal(method, path, status, text, headers), status) from None
                self.pause(max(wait, asked))
            except (OSError, HTTPException, UrlError) as error:
                refused = isinstance(_reason(error), ConnectionRefusedError)
                if wait is None or _hopeless(error) or not (repeatable or refused):
                    why = self.masked(str(_reason(error) or type(error).__name__))
                    raise self.error(f"{method} {self.url}{path}: no answer: {why}") from None
                self.pause(wait)
        raise AssertionError("the last attempt returns or raises")

    # What a client may say otherwise

    def before_request(self) -> None:
        """Prepare for a request: the place to keep a pace."""

    def after_answer(self, status: int, headers: Message) -> None:
        """Take note of an answer."""

    def pause(self, seconds: float) -> None:
        """Wait before a repetition."""
        self._sleep(seconds)

    def again(self, status: int, repeatable: bool) -> bool:
        """Tell whether a request with this answer may be repeated."""
        return status in (429, 503) or (status >= 500 and repeatable)

    def asked_wait(self, headers: Message) -> float:
        """Return the seconds that the service asks for."""
        return retry_after(headers.get("Retry-After"))

    def message(self, body: bytes) -> str:
        """Return the sentence that the service gave as a reason; a body of another kind stays unread."""
        try:
            data = json.loads(body)
        except ValueError:
            return ""
        text = data.get("message") if isinstance(data, dict) else None
        return text if isinstance(text, str) else ""

    def advice(self, status: int, text: str) -> str:  # noqa: ARG002 - the subclasses need them
        """Return what to do about a refusal, as a sentence after a full stop; nothing where it cannot be told."""
        return ""

    def _data(self, body: bytes, method: str, path: str) -> Any:
        if not body.strip():
            return {}
        try:
            return json.loads(body)
        except ValueError:
            raise self.error(
                f"{method} {self.url}{path}: the answer is not JSON; is it {self.service} that answers at {self.url}, "
                "and no login page in front of it?"
            ) from None

    def _refusal(self, method: str, path: str, status: int, text: str, headers: Message) -> str:
        """Say what was refused and, where it can be told, what to do."""
        said = f"{method} {self.url}{path}: HTTP {status}"
        if text:
            # Masked whole, before it is cut.
            said += f": {' '.join(self.masked(text).split())[:LONGEST_MESSAGE]}"
        if 300 <= status < 400:
            said += (
                f". It redirects to {self.masked(headers.get('Location') or 'nowhere')}: set url to where it answers"
            )
        return said + self.advice(status, text)


def is_loopback(url: str) -> bool:
    """Tell whether a URL is one of this host alone."""
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def nobody_listens(url: str, timeout: float) -> bool:
    """Tell whether a service that is to be on this host does not run there yet; False for one elsewhere."""
    if not is_loopback(url):
        return False
    parts = urllib.parse.urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=timeout):
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
        raise ApiError(f"{option} {path} cannot be read: {why}") from None


def quoted(name: str) -> str:
    """Return a name as one part of a path."""
    return urllib.parse.quote(str(name), safe="")


def rendered(data: Any) -> str:
    """Return data as text for a diff; nothing for None."""
    return "" if data is None else json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def retry_after(value: str | None) -> float:
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
