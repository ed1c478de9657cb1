"""A client of UptimeRobot's API v3: its pace, its lists that come in pages, its odd texts, what its refusals mean."""

from __future__ import annotations

import json
import math
import re
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.message import Message
from pathlib import Path
from typing import Any, Callable

from ansible.module_utils.basic import env_fallback
from ansible.module_utils.watchkeeper.http_api import HIDDEN, WAITS, Api, ApiError, retry_after

URL = "https://api.uptimerobot.com/v3"
# Monitors in one answer. No other list takes a wish.
PAGE = 200
MOST_PAGES = 1000
# The account's requests are counted over this many seconds; no honest limit asks for more.
WINDOW = 60.0
# A time to end at that is larger than this is in seconds since 1970, not in seconds from now.
EPOCH = 1e9
# Waits for a limit that does not say how long, in seconds; the last one again and again.
BLIND_WAITS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
# Statuses that pass by themselves, besides those of a server's error.
PASSING = (408, 425)

# What the plan does not have, what is not there, what belongs to somebody else, by the vendor's codes.
PLAN_CODES = ("000-003", "021-003")
FOREIGN_CODE = "000-006"
# Fields of answers that hold a secret.
SECRET_FIELDS = ("apiKey", "httpPassword", "httpUsername", "customHttpHeaders", "customHeaders", "postValueData")

# The options by which each module reaches UptimeRobot; the documentation fragment `uptimerobot` says the same in words.
CONNECTION: dict[str, Any] = {
    "api_key": {"type": "str", "no_log": True, "required": True, "fallback": (env_fallback, ["UPTIMEROBOT_API_KEY"])},
    "url": {"type": "str", "default": URL, "fallback": (env_fallback, ["UPTIMEROBOT_API_URL"])},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "timeout": {"type": "int", "default": 30},
    "rate_limit_wait": {"type": "int", "default": 600},
    "progress_file": {"type": "path"},
}

_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
# With the semicolon only: a URL may well hold `&copy=2`.
_ENTITY = re.compile(r"&(?:(amp|lt|gt|quot|apos)|#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6}));")


class UptimeRobotError(ApiError):
    """What UptimeRobot refused, or why it gave no answer; `code` is the vendor's own, empty where it gave none."""

    def __init__(self, text: str, status: int = 0, code: str = "") -> None:
        super().__init__(text, status)
        self.code = code


class _LimitError(UptimeRobotError):
    """The account's limit asks for a longer wait than the task may take."""


class UptimeRobot(Api):
    """One account of UptimeRobot, asked at the pace that it allows.

    Call `from_params` with the module's `log`: it gets one line for each wait. `requests` counts what was sent,
    `waited` the seconds spent waiting for the limit.
    """

    service = "UptimeRobot"
    error = UptimeRobotError
    example = URL

    def __init__(
        self,
        url: str,
        *,
        api_key: str,
        rate_limit_wait: float = 600,
        validate_certs: bool = True,
        ca_path: str | None = None,
        timeout: float = 30,
        tell: Callable[[str], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        key = api_key.strip()
        if not key or not key.isprintable() or " " in key:
            what = "holds a space or a line's end" if key else "is empty"
            raise UptimeRobotError(f"api_key {what}; set it, or UPTIMEROBOT_API_KEY, to a key of the account")
        super().__init__(
            url,
            headers={"Authorization": f"Bearer {key}"},
            secrets=[key],
            validate_certs=validate_certs,
            ca_path=ca_path,
            timeout=timeout,
            sleep=sleep,
        )
        # Keys say themselves what they are for.
        self.read_only = key.startswith("ur")
        self.requests = 0
        self.waited = 0.0
        # Requests a minute; 0 as long as the account has not told.
        self.rate = 0
        self.allowed_wait = rate_limit_wait
        self._tell = tell or _nothing
        self._now = now
        self._code = ""
        self._remaining = -1
        self._window_ends = 0.0
        self._asked = 0.0
        self._account: dict[str, Any] | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, Any], warn: Callable[[str], None]) -> UptimeRobot:
        """Make a client of a module's parameters. `warn` gets a line whenever it waits; a module's `log` is right."""
        place = Path(params["progress_file"]) if params.get("progress_file") else None

        def tell(text: str) -> None:
            warn(text)
            if place is None:
                return
            # Whoever shows the file has made it. On another host it is not there, and nobody looks.
            with suppress(OSError):
                if place.is_file():
                    with place.open("a", encoding="utf-8") as file:
                        file.write(text + "\n")

        return cls(
            params["url"],
            api_key=params["api_key"],
            rate_limit_wait=params["rate_limit_wait"],
            validate_certs=params["validate_certs"],
            ca_path=params["ca_path"],
            timeout=params["timeout"],
            tell=tell,
        )

    # Asking

    def listing(self, path: str) -> list[dict[str, Any]]:
        """Return all items of a list, page by page, with names and URLs made plain."""
        found: list[dict[str, Any]] = []
        query, cursors = (f"?limit={PAGE}" if path == "/monitors" else ""), set()
        for _ in range(MOST_PAGES):
            answer = self.get(path + query)
            items, cursor = _page(answer, path)
            found += [readable(item) for item in items]
            # After a full last page there comes one without anything.
            if not items or cursor is None:
                return found
            if path == "/monitors" and len(items) < PAGE:
                return found
            if cursor in cursors:
                raise UptimeRobotError(f"GET {self.url}{path}: the pages go in a circle at cursor {cursor}")
            cursors.add(cursor)
            mark = "&" if path == "/monitors" else "?"
            query = (f"?limit={PAGE}" if path == "/monitors" else "") + f"{mark}cursor={urllib.parse.quote(cursor)}"
        raise UptimeRobotError(f"GET {self.url}{path}: more than {MOST_PAGES} pages")

    def account(self) -> dict[str, Any]:
        """Return what the account is and may; it is asked once."""
        if self._account is None:
            self._account = dict(self.get("/user/me"))
        return self._account

    def send(
        self, method: str, path: str, body: Any = None, repeatable: bool = True, waits: Sequence[float] = WAITS
    ) -> Any:
        """Send a request; after 429 again, since it was not carried out, whatever it is.

        After any other failure only a GET or DELETE is repeated: a creation may have been carried out all the same.
        """
        repeatable = repeatable and method in ("GET", "DELETE")
        limited = 0
        while True:
            self._code = ""
            try:
                return super().send(method, path, body, repeatable, waits)
            except _LimitError:
                raise
            except UptimeRobotError as error:
                error.code = self._code if error.status else ""
                if error.status != 429:
                    raise
                blind = BLIND_WAITS[min(limited, len(BLIND_WAITS) - 1)]
                # The one told for the last time may be a little early: never at once.
                self._keep_to_limit(self._asked or blind)
                limited += 1

    # What Api leaves to its clients

    def before_request(self) -> None:
        """Wait for the next window where this one is used up, and count."""
        if self._remaining == 0:
            wait = self._window_ends - self._now()
            if wait > 0:
                self._keep_to_limit(wait)
        self._remaining = -1
        self.requests += 1

    def after_answer(self, status: int, headers: Message) -> None:
        """Take note of what is left in this window, and of when it ends."""
        self._remaining, self._asked = -1, 0.0
        rate = _number(headers.get("X-RateLimit-Limit"))
        if rate is not None and rate >= 1:
            self.rate = int(rate)
        ends = window_end(headers.get("X-RateLimit-Reset"), time.time())
        remaining = _number(headers.get("X-RateLimit-Remaining"))
        if remaining is not None and ends is not None:
            self._remaining, self._window_ends = max(int(remaining), 0), self._now() + ends
        if status == 429:
            self._asked = retry_after(headers.get("Retry-After")) or ends or 0.0
            # The wait after this answer is the one that was asked for; before_request need not wait again.
            self._remaining = -1

    def again(self, status: int, repeatable: bool) -> bool:
        """Tell whether a request may be repeated at once; 429 has its own way, in `send`."""
        return status != 429 and repeatable and (status in PASSING or status >= 500)

    def message(self, body: bytes) -> str:
        """Return the sentence that UptimeRobot gave as a reason, which may be several, and note its code."""
        try:
            data = json.loads(body)
        except ValueError:
            return ""
        if not isinstance(data, dict):
            return ""
        code = data.get("code")
        self._code = code if isinstance(code, str) else ""
        for key in ("message", "detail", "error"):
            said = data.get(key)
            if isinstance(said, list):
                said = "; ".join(str(one) for one in said)
            elif isinstance(said, dict):
                said = said.get("message")
            if isinstance(said, str) and said:
                return said + (f" ({self._code})" if self._code else "")
        return ""

    def advice(self, status: int, text: str) -> str:
        """Return what to do about a refusal."""
        if status == 401:
            return (
                ". UptimeRobot does not know the key: set api_key or UPTIMEROBOT_API_KEY to the account's main key, "
                "which is in its dashboard under Integrations & API"
            )
        if status != 403:
            return ""
        if self._code in PLAN_CODES or "plan" in text.lower():
            return ". The account's plan does not have this: take another plan, or leave the setting out of the task"
        if self._code == FOREIGN_CODE:
            return ". It belongs to another account: use that account's key, or another id"
        if self.read_only or "read" in text.lower():
            return ". The key may only read: set api_key or UPTIMEROBOT_API_KEY to the account's main key"
        return ". Does the key belong to the account, is it the main key, and does the plan have this?"

    def _keep_to_limit(self, seconds: float) -> None:
        """Wait for the account's limit, as long as the task may."""
        rate = f" of {self.rate} requests a minute" if self.rate else ""
        if self.waited + seconds > self.allowed_wait:
            raise _LimitError(
                f"UptimeRobot's limit{rate} asks for another wait of {math.ceil(seconds)} s, and the task has waited "
                f"{round(self.waited)} s of the {self.allowed_wait} s of rate_limit_wait: set it higher, or run again "
                "later, which goes on where this ended",
                429,
            )
        self._tell(
            f"UptimeRobot's limit{rate} is used up: waiting {math.ceil(seconds)} s "
            f"({self.requests} requests sent, {round(self.waited)} s waited so far)"
        )
        self._sleep(seconds)
        self.waited += seconds
        self._remaining = -1


def plain(text: str) -> str:
    """Return a text as somebody has typed it: UptimeRobot may give it back escaped for HTML, once."""
    return _ENTITY.sub(_character, text)


def readable(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item of an answer with its names and its URL made plain."""
    return {
        key: plain(value) if key in ("friendlyName", "name", "url") and isinstance(value, str) else value
        for key, value in item.items()
    }


def public_fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item of an answer without what is secret in it, the URL to which a heartbeat is sent included."""
    shown = {key: value for key, value in raw.items() if key not in SECRET_FIELDS}
    if str(raw.get("type")).upper() == "HEARTBEAT" and shown.get("url"):
        shown["url"] = HIDDEN
    return shown


def window_end(value: str | None, today: float) -> float | None:
    """Return in how many seconds the limit's window ends: the header is in seconds from now, or since 1970."""
    number = _number(value)
    if number is None:
        return None
    if number > EPOCH:
        number -= today
    # A clock that is wrong must not make it an hour.
    return min(max(number, 0.0), WINDOW)


def _nothing(text: str) -> None:
    """Tell nobody."""


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _character(found: re.Match[str]) -> str:
    name, decimal, hexadecimal = found.groups()
    if name:
        return _ENTITIES[name]
    number = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(number) if 31 < number < 0xD800 else found[0]


def _page(answer: Any, path: str) -> tuple[list[dict[str, Any]], str | None]:
    """Return the items of a page and the cursor of the next one, in today's shape and in older ones."""
    if isinstance(answer, list):
        return answer, None
    if isinstance(answer, dict):
        items = next((answer[key] for key in ("data", path.strip("/"), "items") if key in answer), None)
        if isinstance(items, list):
            return items, _cursor(answer)
    raise UptimeRobotError(f"GET {path}: UptimeRobot's answer holds no list; is it UptimeRobot's API v3 at url?")


def _cursor(answer: Mapping[str, Any]) -> str | None:
    link = answer.get("nextLink")
    if link:
        # Only the cursor: where the link leads is not for the answer to say.
        found = urllib.parse.parse_qs(urllib.parse.urlsplit(str(link)).query).get("cursor")
        return found[0] if found else None
    number = answer.get("nextCursorId")
    return None if number in (None, "") else str(number)
