"""No secret survives scrubbing, whatever it stands in, and nothing else is lost."""

from __future__ import annotations

import copy
import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from watchkeeper_app.scrub import CUT, MASK, scrub

PLANTED = "planted-9f3c"


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "db_password",
        "Password",
        "userPassword",
        "PGPASSWORD",
        "Authorization",
        "Proxy-Authorization",
        "X-API-Key",
        "apiKey",
        "api.key",
        "AWS_SECRET_ACCESS_KEY",
        "client_secret",
        "access_token",
        "csrfToken",
        "cookies",
        "Set-Cookie",
        "session",
        "sessionid",
        "auth",
        "sentry_dsn",
        "license_key",
        "privateKey",
    ],
)
def test_a_key_hides_its_value_at_any_depth(key: str) -> None:
    for value in (PLANTED, 4711, [PLANTED], {"inner": PLANTED}, PLANTED.encode()):
        deep = {"a": [{"b": ({key: value, "other": "kept"},)}]}
        assert scrub(deep) == {"a": [{"b": ({key: MASK, "other": "kept"},)}]}
    assert scrub({key.encode(): PLANTED}) == {key: MASK}
    assert scrub([[key, PLANTED], (key.encode(), PLANTED.encode())]) == [[key, MASK], (key, MASK)]


@pytest.mark.parametrize("key", ["author", "passage", "keyboard", "password_file", "dsn_path", "monkey", "host", ""])
def test_a_harmless_key_keeps_its_value(key: str) -> None:
    assert scrub({key: "kept"}) == {key: "kept"}


def test_a_missing_secret_is_told_from_a_hidden_one() -> None:
    assert scrub({"password": None, "token": False}) == {"password": None, "token": False}


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {PLANTED}",
        f"authorization=Basic {PLANTED}",
        f"sent Bearer {PLANTED} to it",
        "sent Basic cGxhbnRlZC05ZjNj to it",
        f"postgresql://app:{PLANTED}@db.example.org:5432/app",
        f"redis://:{PLANTED}@127.0.0.1:6379/0",
        f"redis://:half/{PLANTED}@127.0.0.1:6379/0",
        f"https://{PLANTED}@errors.example.org/1",
        f"https://a:b@one.example.org/ and https://c:{PLANTED}@two.example.org/",
        f"host=db user=app password={PLANTED} dbname=app",
        f"password = '{PLANTED} with spaces' host=db",
        f"{{'password': '{PLANTED}', 'host': 'db'}}",
        f'{{"api_key": "{PLANTED}"}}',
        f'{{"api_key": "a\\"{PLANTED}"}}',
        f'"{{\\"token\\": \\"{PLANTED}\\"}}"',
        f"Cookie: theme=dark; id={PLANTED}",
        f"Set-Cookie: id={PLANTED}; Path=/",
        f"x-api-key: {PLANTED}",
        f"/login?next=/&token={PLANTED}&lang=en",
        f"mysql --password {PLANTED} app",
        f"mysql --password={PLANTED} app",
        f"ALTER USER app PASSWORD '{PLANTED}'",
        f"headers: [(b'authorization', b'Bearer {PLANTED}'), (b'host', b'x')]",
        f"('token', '{PLANTED}')",
        f"AWS_SECRET_ACCESS_KEY={PLANTED}",
        f"clientSecret={PLANTED}",
        f'password="{PLANTED} and no end',
        f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{PLANTED}",
        f"-----BEGIN PRIVATE KEY-----\n{PLANTED}\n-----END PRIVATE KEY-----",
    ],
)
def test_a_text_loses_the_secrets_in_it(text: str) -> None:
    for value in (text, [text], {"note": text}, {text: 1}, text.encode(), ValueError(text)):
        shown = json.dumps(scrub(value))
        assert MASK in shown
        assert PLANTED not in shown
        assert "cGxhbnRlZC05ZjNj" not in shown
        assert scrub(scrub(value)) == scrub(value)


@pytest.mark.parametrize(
    "text",
    [
        'password authentication failed for user "app"',
        "http://127.0.0.1:8000/items?owner=me@example.org",
        "GET /health/live 200 in 1.5 ms",
        "the basic idea of a token",
        "author=me passage=long password_file=/run/secrets/db",
    ],
)
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert scrub(text) == text


def test_the_rest_of_a_text_stays() -> None:
    assert scrub(f"host=db password={PLANTED} dbname=app") == f"host=db password={MASK} dbname=app"
    assert scrub(f"postgresql://app:{PLANTED}@db:5432/app") == f"postgresql://{MASK}@db:5432/app"


def test_the_input_is_not_changed() -> None:
    value: dict[str, Any] = {"password": PLANTED, "list": [{"token": PLANTED}], "text": f"token={PLANTED}"}
    before = copy.deepcopy(value)
    scrub(value)
    assert value == before


@dataclasses.dataclass
class Account:
    name: str
    password: str
    friends: list[Account]


def test_objects_become_plain_values() -> None:
    account = Account("me", PLANTED, [Account("you", PLANTED, [])])
    assert scrub(account) == {
        "name": "me",
        "password": MASK,
        "friends": [{"name": "you", "password": MASK, "friends": []}],
    }
    assert scrub({"when": datetime(2026, 1, 2, tzinfo=UTC)}) == {"when": "2026-01-02T00:00:00+00:00"}
    assert scrub([float("nan"), float("-inf"), 1.5, 10**400, True, None]) == ["nan", "-inf", 1.5, CUT, True, None]
    assert scrub({1}) == [1]


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError(PLANTED)


class HostileMapping(dict[str, str]):
    def items(self) -> Any:
        raise RuntimeError(PLANTED)


def test_no_object_can_make_it_fail() -> None:
    assert scrub([Hostile(), HostileMapping()]) == ["<Hostile>", "<HostileMapping>"]


def test_cycles_and_depth_end() -> None:
    cycle: dict[str, Any] = {"password": PLANTED}
    cycle["self"] = [cycle]
    assert scrub(cycle) == {"password": MASK, "self": [CUT]}
    shared = {"token": PLANTED}
    assert scrub([shared, shared]) == [{"token": MASK}, {"token": MASK}]
    deep: list[Any] = [f"token={PLANTED}"]
    for _ in range(100_000):
        deep = [deep]
    shown = json.dumps(scrub(deep))
    assert CUT in shown
    assert PLANTED not in shown


def test_limits_cut_what_is_long_and_what_is_much() -> None:
    assert scrub("x" * 100, longest=10) == f"{'x' * 10}… {CUT}"
    assert scrub(list(range(100)), room=40) == [0, 1, 2, 3, CUT]
    assert len(scrub({str(number): number for number in range(1000)}, room=100)) < 20
    assert len(json.dumps(scrub(["x" * 1000] * 1000, room=5000))) < 6000
    # A secret that the limit would cut in two is hidden first.
    assert "plant" not in scrub(f"see postgresql://app:{PLANTED}@db/", longest=25)


def test_long_texts_made_to_be_slow_are_not() -> None:
    # Minutes, where a pattern looks back or forward without a limit.
    for part in ("://", "://a:", "password", 'password="', "--token", "cookie ", "-", "a", "\\", "eyJ"):
        assert scrub(part * 20_000)
