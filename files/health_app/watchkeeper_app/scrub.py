"""Takes secrets out of what is logged, reported and traced.

Nothing is changed in place: a scrubbed copy is made of plain values only, so that it can be written as JSON.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from typing import Any

MASK = "(hidden)"
CUT = "(cut)"
DEEPEST = 24
# What a value takes at least of the room there is.
_SMALLEST = 8

# A key is secret when one of these is in it, however it is written (api_key, apiKey, X-API-Key) …
_PARTS = (
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "authorization",
    "cookie",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "licensekey",
    "sessionid",
    "sessionkey",
    "csrf",
    "xsrf",
)
# … or one of these is a word of it: as a part they would be found in author, in passage, …
_WORDS = ("auth", "bearer", "dsn", "jwt", "pass", "pwd", "session")
# One of these stands in every name above.
_HINTS = ("pass", "secret", "token", "auth", "cookie", "credential", "key", "session", "srf", "bearer", *_WORDS)
# What ends so names where a secret is kept.
_HARMLESS = ("file", "path", "dir")

_ANY_PART = "|".join(
    part.replace("key", "[-_ .]?key").replace("sessionid", "session[-_ .]?id").replace("csrf", "[cx]srf")
    for part in _PARTS
    if part not in ("authorization", "cookie", "xsrf")
)
# The end of a name in running text, with the quote that closes it.
_REST_OF_NAME = r"(?![\w-]{0,40}(?:file|path|dir)\b)[\w-]{0,40}(?:\\*[\"'])?"
_ASSIGNED = r"\s*(?:[:=]{1,2}>?|,(?=\s*b?\\*[\"']))\s*"
_VALUE = r"""b?(?:
    \(hidden\)                          # scrubbed before
    | \\+(?P<q>["']).*?(?:\\+(?P=q)|$)    # quoted inside a quoted text
    | "(?:[^"\\]|\\.)*(?:"|$)
    | '(?:[^'\\]|\\.)*(?:'|$)
    | (?:(?:bearer|basic|digest)\s+)?[^\s,;&"'<>)\]}]+
)"""
_FLAGS = re.IGNORECASE | re.VERBOSE | re.DOTALL


@dataclasses.dataclass(frozen=True)
class _Form:
    """A form that a secret takes in running text. Most texts hold none of its hints, and so no secret of that form."""

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    becomes: str


# In the order in which they are tried.
_FORMS = (
    _Form(
        ("private key",),
        re.compile(r"-----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|$)", _FLAGS),
        MASK,
    ),
    # scheme://user:password@host; a password may hold a slash that nobody escaped, a port may not.
    _Form(
        ("://",),
        re.compile(
            r"""://(?:
                [^\s/?\#"'<>]+@
                | [^\s/?\#@:"'<>]{0,200}:(?!\d{1,5}(?:[/?\#]|$))[^\s@"'<>]{1,400}@
            )""",
            _FLAGS,
        ),
        f"://{MASK}@",
    ),
    # A header takes the rest of its line: Cookie: a=b; c=d
    _Form(
        ("authorization", "cookie"),
        re.compile(
            rf"((?:authorization|cookie){_REST_OF_NAME}{_ASSIGNED})"
            r"""(?:b?(?P<q>\\*["']).*?(?:(?P=q)|$)|[^"'\r\n]+)""",
            _FLAGS,
        ),
        rf"\1{MASK}",
    ),
    # name=value, "name": "value", ('name', 'value'), name 'value'
    _Form(
        _HINTS,
        re.compile(
            rf"((?:{_ANY_PART}|(?<![A-Za-z])(?:{'|'.join(_WORDS)})(?![A-Za-z])){_REST_OF_NAME}"
            rf"(?:{_ASSIGNED}|\s+(?=\\*['\"]))){_VALUE}",
            _FLAGS,
        ),
        rf"\1{MASK}",
    ),
    # --name value
    _Form(
        ("--",),
        re.compile(rf"((?<![\w-])--[\w-]{{0,40}}(?:{_ANY_PART}){_REST_OF_NAME}\s+)[^\s\"']+", _FLAGS),
        rf"\1{MASK}",
    ),
    _Form(("bearer",), re.compile(r"\b(bearer\s+)[\w.~+/=-]{8,}", _FLAGS), rf"\1{MASK}"),
    _Form(
        ("basic",),
        re.compile(r"\b(Basic\ +)(?=[a-z]*[A-Z0-9+/=])[A-Za-z0-9+/]{4,}={0,2}", re.VERBOSE),
        rf"\1{MASK}",
    ),
    _Form(("eyj",), re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"), MASK),
)
_ANY_HINT = re.compile("|".join(re.escape(hint) for form in _FORMS for hint in form.hints))
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_WORD = re.compile(r"[^a-z0-9]+")


@functools.lru_cache(maxsize=4096)
def is_secret(key: str) -> bool:
    """Whether what stands under this key is a secret."""
    words = _NOT_WORD.sub(" ", _CAMEL.sub(" ", key).lower()).split()
    if not words or words[-1] in _HARMLESS:
        return False
    joined = "".join(words)
    return any(part in joined for part in _PARTS) or any(word in _WORDS for word in words)


def text(value: str) -> str:
    """The text without the secrets that can be told from their form."""
    lowered = value.lower()
    if not _ANY_HINT.search(lowered):
        return value
    for form in _FORMS:
        if any(hint in lowered for hint in form.hints):
            value = form.pattern.sub(form.becomes, value)
    return value


def scrub(value: object, *, longest: int = 0, room: int = 0) -> Any:
    """A copy of `value` without secrets: mappings, lists, tuples, texts, numbers, truth values and None.

    `longest` cuts every text to that many characters, `room` the whole to about that many; 0 is without limit.
    """
    return _Scrubber(longest, room).copy(value, ())


class _Scrubber:
    def __init__(self, longest: int, room: int) -> None:
        self._longest = longest
        self._room = room or math.inf

    def copy(self, value: object, above: tuple[int, ...]) -> Any:
        self._room -= _SMALLEST
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            # Python itself refuses to write out numbers beyond some thousand digits.
            return int(value) if value.bit_length() < 1024 else CUT
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else str(float(value))
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._text(bytes(value).decode("utf-8", "replace"))
        if isinstance(value, (datetime, date, time)):
            return value.isoformat()
        if id(value) in above or len(above) >= DEEPEST:
            return CUT
        try:
            return self._container(value, (*above, id(value)))
        except Exception:  # noqa: BLE001 - whatever a foreign object does when it is looked at
            return f"<{type(value).__name__}>"

    def _text(self, value: str) -> str:
        longest = min(self._longest or math.inf, max(self._room, _SMALLEST))
        if len(value) > longest:
            longest = int(longest)
            # Cut once more only after scrubbing, so that no half of a secret is left at the end.
            value = f"{text(value[: 8 * longest])[:longest]}… {CUT}"
        else:
            value = text(value)
        self._room -= len(value)
        return value

    def _container(self, value: object, above: tuple[int, ...]) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._mapping(
                ((field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value)), above
            )
        if isinstance(value, Mapping):
            return self._mapping(value.items(), above)
        if isinstance(value, tuple):
            return tuple(self._items(self._pair(value), above))
        if isinstance(value, list):
            return self._items(self._pair(value), above)
        if isinstance(value, AbstractSet):
            return self._items(value, above)
        return self._text(str(value))

    def _mapping(self, items: Iterable[tuple[object, object]], above: tuple[int, ...]) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        for name, value in items:
            key = self._text(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name))
            if self._room <= 0:
                copied[CUT] = CUT
                break
            copied[key] = MASK if _hides(key, value) else self.copy(value, above)
        return copied

    def _items(self, items: Iterable[object], above: tuple[int, ...]) -> list[Any]:
        copied: list[Any] = []
        for item in items:
            if self._room <= 0:
                copied.append(CUT)
                break
            copied.append(self.copy(item, above))
        return copied

    @staticmethod
    def _pair(value: list[Any] | tuple[Any, ...]) -> list[Any] | tuple[Any, ...]:
        """Headers and the like come as pairs of name and value."""
        if len(value) != 2 or not isinstance(value[0], (str, bytes)):
            return value
        name = value[0].decode("latin-1") if isinstance(value[0], bytes) else value[0]
        return (value[0], MASK) if _hides(name, value[1]) else value


def _hides(key: str, value: object) -> bool:
    return value is not None and not isinstance(value, bool) and is_secret(key)
