"""The client of UptimeRobot's API: its pace, its pages, its texts, and what its errors say."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ansible.module_utils.watchkeeper.uptimerobot import (
    PAGE,
    UptimeRobot,
    UptimeRobotError,
    plain,
    public_fields,
    window_end,
)

from tests.emulators.base import Answer, HttpSink, Request
from tests.emulators.uptimerobot import UptimeRobotEmulator
from tests.unit.uptimerobot_fixture import API_KEY, READ_ONLY_KEY, uptimerobot

__all__ = ["uptimerobot"]


class Clock:
    """A time that passes only by sleeping."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def now(self) -> float:
        return self.time


class Canned(HttpSink):
    """A service that says what it was given to say, the last of it again and again."""

    def __init__(self, *answers: tuple[int, Any, dict[str, str]]) -> None:
        super().__init__()
        self.answers = list(answers)

    def answer(self, request: Request) -> Answer:
        assert request.headers["authorization"] == f"Bearer {API_KEY}"
        status, body, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        text = body if isinstance(body, str) else json.dumps(body)
        return Answer(status, text, status < 400, "application/json", headers)


@pytest.fixture
def clock() -> Clock:
    """The time of a client."""
    return Clock()


def client_of(url: str, clock: Clock | None = None, **options: Any) -> UptimeRobot:
    """Return a client with the account's key."""
    own = {"sleep": clock.sleep, "now": clock.now} if clock else {}
    return UptimeRobot(url, **{"api_key": API_KEY, **own, **options})


def ok(body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
    """Return an answer of success."""
    return 200, {} if body is None else body, {name.replace("_", "-"): value for name, value in headers.items()}


def limited(**headers: str) -> tuple[int, Any, dict[str, str]]:
    """Return an answer to one request too many."""
    return 429, "ThrottlerException: Too Many Requests", {k.replace("_", "-"): v for k, v in headers.items()}


# Texts


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("&lt;b&gt; &quot;x&quot; &#39;y&#x27; &apos;", "<b> \"x\" 'y' '"),
        ("https://www.example.com/?a=1&amp;b=2", "https://www.example.com/?a=1&b=2"),
        ("https://www.example.com/?a=1&copy=2&lt=3", "https://www.example.com/?a=1&copy=2&lt=3"),
        ("&amp;amp;", "&amp;"),
        ("&#0;&#10;&euro;", "&#0;&#10;&euro;"),
    ],
)
def test_entities_are_undone_once(told: str, meant: str) -> None:
    assert plain(told) == meant


def test_nothing_secret_is_public() -> None:
    raw = {
        "id": 1,
        "type": "HTTP",
        "url": "https://www.example.com/",
        "apiKey": "m1-x",
        "httpPassword": "x",
        "customHttpHeaders": {"X-Token": "x"},
    }
    assert public_fields(raw) == {"id": 1, "type": "HTTP", "url": "https://www.example.com/"}
    assert "x" not in public_fields({"type": "HEARTBEAT", "url": "https://heartbeat.example.com/x"})["url"]


# Keys


@pytest.mark.parametrize("key", ["", "  ", "u1 2", "u1\n2"])
def test_a_key_that_cannot_be_one_is_refused_unsent(key: str) -> None:
    with pytest.raises(UptimeRobotError, match="UPTIMEROBOT_API_KEY"):
        client_of("https://api.example.com", api_key=key)


def test_a_key_read_from_a_file_may_end_its_line(uptimerobot: UptimeRobotEmulator) -> None:
    assert client_of(uptimerobot.url, api_key=f"{API_KEY}\n").account()["monitorsCount"] == 0


def test_the_account_is_asked_once(uptimerobot: UptimeRobotEmulator) -> None:
    client = client_of(uptimerobot.url)
    assert client.account() == client.account()
    assert client.requests == len(uptimerobot.requests) == 1


# Pages


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 401])
@pytest.mark.parametrize("quirk", ["", "empty_last_page"])
def test_all_pages_are_read(uptimerobot: UptimeRobotEmulator, count: int, quirk: str) -> None:
    uptimerobot.seed(count)
    uptimerobot.quirks = frozenset({quirk} - {""})
    client = client_of(uptimerobot.url)
    assert len({one["id"] for one in client.listing("/monitors")}) == count
    more = 1 if quirk and count and count % PAGE == 0 else 0
    assert client.requests == max(1, -(-count // PAGE)) + more


def test_lists_that_take_no_limit_get_none(uptimerobot: UptimeRobotEmulator) -> None:
    for number in range(120):
        uptimerobot.add_contact("Email", value=f"n{number}@example.com")
    assert len(client_of(uptimerobot.url).listing("/alert-contacts")) == 120
    assert all("limit" not in path for _, path in uptimerobot.requests)


def test_names_and_addresses_are_made_plain(uptimerobot: UptimeRobotEmulator) -> None:
    uptimerobot.add_monitor(friendlyName='Tom & "Jerry"', url="https://www.example.com/?a=1&b=2")
    uptimerobot.quirks = frozenset({"html_escaped"})
    found = client_of(uptimerobot.url).listing("/monitors")[0]
    assert (found["friendlyName"], found["url"]) == ('Tom & "Jerry"', "https://www.example.com/?a=1&b=2")


def test_older_shapes_of_a_page_are_read() -> None:
    first = ok({"monitors": [{"id": number} for number in range(PAGE)], "nextCursorId": 199})
    with Canned(first, ok({"monitors": [{"id": 200}], "nextCursorId": None})) as service:
        assert len(client_of(service.base_url).listing("/monitors")) == 201
    with Canned(ok([{"id": 1}])) as service:
        assert client_of(service.base_url).listing("/tags") == [{"id": 1}]


def test_where_the_next_page_is_said_to_be_does_not_matter() -> None:
    """Only the cursor is taken from the link: the key must not go to another host."""
    first = ok({"data": [{"id": 1}], "nextLink": "https://elsewhere.example.com/steal?cursor=7"})
    with Canned(first, ok({"data": [], "nextLink": None})) as service:
        client_of(service.base_url).listing("/psps")
        assert [record["path"] for record in service.records] == ["/psps", "/psps?cursor=7"]


def test_pages_in_a_circle_end() -> None:
    page = ok({"data": [{"id": number} for number in range(PAGE)], "nextLink": "https://x/?cursor=5"})
    with Canned(page) as service, pytest.raises(UptimeRobotError, match="circle at cursor 5"):
        client_of(service.base_url).listing("/monitors")


def test_an_answer_without_a_list_is_named() -> None:
    with Canned(ok({"stat": "ok"})) as service, pytest.raises(UptimeRobotError, match="API v3 at url"):
        client_of(service.base_url).listing("/monitors")


# The limit of requests


def test_the_reset_is_read_in_both_meanings() -> None:
    today = 1_790_000_000.0
    assert window_end("25", today) == 25
    assert window_end(str(int(today) + 25), today) == 25
    assert window_end(str(int(today) - 25), today) == 0
    # Another clock does not make it hours.
    assert window_end(str(int(today) + 9000), today) == 60
    assert [window_end(value, today) for value in (None, "", "soon", "nan")] == [None] * 4


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_what_the_limit_refused_is_repeated_whatever_it_is(clock: Clock, method: str) -> None:
    with Canned(limited(Retry_After="7"), limited(Retry_After="3"), ok({"id": 1})) as service:
        client = client_of(service.base_url, clock)
        assert client.send(method, "/monitors/1", None if method in ("GET", "DELETE") else {}) == {"id": 1}
    assert clock.slept == [7.0, 3.0]
    assert (client.requests, client.waited) == (3, 10.0)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("status", [408, 500, 502, 503])
def test_what_may_have_been_carried_out_is_not_repeated(clock: Clock, method: str, status: int) -> None:
    with Canned((status, {"message": "sorry"}, {}), ok()) as service:
        with pytest.raises(UptimeRobotError, match=f"HTTP {status}: sorry"):
            client_of(service.base_url, clock).send(method, "/monitors/1", {})
        assert len(service.records) == 1


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504])
def test_reading_and_removing_are_repeated(clock: Clock, method: str, status: int) -> None:
    with Canned((status, {}, {}), (status, {}, {}), ok({"id": 1})) as service:
        assert client_of(service.base_url, clock).send(method, "/monitors/1") == {"id": 1}


def test_a_used_up_window_is_waited_for(clock: Clock) -> None:
    """It takes no refusal to know: the last answer said that nothing is left."""
    told: list[str] = []
    last = ok(X_RateLimit_Limit="10", X_RateLimit_Remaining="0", X_RateLimit_Reset="20")
    with Canned(ok(X_RateLimit_Limit="10", X_RateLimit_Remaining="1", X_RateLimit_Reset="21"), last, ok()) as service:
        client = client_of(service.base_url, clock, tell=told.append)
        for _ in range(3):
            client.get("/user/me")
        assert clock.slept == [20.0]
        assert (client.rate, client.waited) == (10, 20.0)
    assert told == [
        "UptimeRobot's limit of 10 requests a minute is used up: waiting 20 s (2 requests sent, 0 s waited so far)"
    ]


def test_time_that_has_passed_by_itself_is_not_waited_for(clock: Clock) -> None:
    with Canned(ok(X_RateLimit_Remaining="0", X_RateLimit_Reset="20")) as service:
        client = client_of(service.base_url, clock)
        client.get("/user/me")
        clock.time += 25
        client.get("/user/me")
    assert clock.slept == []


@pytest.mark.parametrize(
    ("headers", "slept"),
    [
        ({"X_RateLimit_Reset": "12"}, [12.0]),
        ({"X_RateLimit_Reset": str(int(time.time()) - 100)}, [1.0]),
        ({}, [1.0]),
        ({"Retry_After": "0"}, [1.0]),
        ({"Retry_After": "4", "X_RateLimit_Reset": "12"}, [4.0]),
    ],
)
def test_a_refusal_says_its_wait_in_several_ways(clock: Clock, headers: dict[str, str], slept: list[float]) -> None:
    with Canned(limited(**headers), ok()) as service:
        client_of(service.base_url, clock).get("/user/me")
    assert clock.slept == slept


def test_the_wait_has_an_end(clock: Clock) -> None:
    with Canned(limited(Retry_After="30", X_RateLimit_Limit="10")) as service:
        client = client_of(service.base_url, clock, rate_limit_wait=70)
        with pytest.raises(UptimeRobotError) as caught:
            client.send("POST", "/monitors", {})
    assert clock.slept == [30.0, 30.0]
    assert str(caught.value) == (
        "UptimeRobot's limit of 10 requests a minute asks for another wait of 30 s, and the task has waited 60 s of "
        "the 70 s of rate_limit_wait: set it higher, or run again later, which goes on where this ended"
    )


def test_a_used_up_window_beyond_the_wait_is_not_entered(clock: Clock) -> None:
    with Canned(ok(X_RateLimit_Remaining="0", X_RateLimit_Reset="50")) as service:
        client = client_of(service.base_url, clock, rate_limit_wait=40)
        client.get("/user/me")
        with pytest.raises(UptimeRobotError, match="another wait of 50 s"):
            client.get("/user/me")
        assert len(service.records) == 1
    assert clock.slept == []


@pytest.fixture
def tight() -> Iterator[UptimeRobotEmulator]:
    """An account with three requests a second."""
    with UptimeRobotEmulator(rate_limit=3, window=1.0) as emulator:
        yield emulator


@pytest.mark.parametrize("quirk", ["reset_epoch", "reset_delta", "no_retry_after"])
def test_the_pace_is_kept_in_real_time(tight: UptimeRobotEmulator, quirk: str) -> None:
    tight.quirks = frozenset({quirk})
    client = client_of(tight.url)
    for _ in range(5):
        client.get("/user/me")
    assert 0 < client.waited <= 4
    # The window of whole seconds may end a little earlier than said: then once more.
    assert len(tight.refused) <= 2


# Errors


def test_the_vendors_code_comes_along(uptimerobot: UptimeRobotEmulator) -> None:
    with pytest.raises(UptimeRobotError) as caught:
        client_of(uptimerobot.url, api_key="u1-other").account()
    assert (caught.value.status, caught.value.code) == (401, "003-005")
    assert "UPTIMEROBOT_API_KEY" in str(caught.value)
    assert "u1-other" not in str(caught.value)
    with pytest.raises(UptimeRobotError) as caught:
        client_of(uptimerobot.url, api_key=READ_ONLY_KEY).send("POST", "/monitors", {})
    assert caught.value.status == 403
    assert "The key may only read" in str(caught.value)


def test_what_belongs_to_another_account_is_named(uptimerobot: UptimeRobotEmulator) -> None:
    with pytest.raises(UptimeRobotError, match="belongs to another account") as caught:
        client_of(uptimerobot.url).get(f"/psps/{uptimerobot.add_foreign()}")
    assert caught.value.code == "000-006"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"message": ["url is odd", "interval is odd"], "error": "Bad Request"},
            "url is odd; interval is odd",
        ),
        ({"detail": "not so"}, "not so"),
        ({"error": {"message": "nor so"}}, "nor so"),
        ({"error": "Bad Request"}, "Bad Request"),
        ({"message": "no", "code": "000-009"}, "no (000-009)"),
    ],
)
def test_messages_come_in_several_shapes(body: dict[str, Any], said: str) -> None:
    with Canned((400, body, {})) as service, pytest.raises(UptimeRobotError) as caught:
        client_of(service.base_url).get("/monitors")
    assert str(caught.value).endswith(f"HTTP 400: {said}")


def test_a_page_of_a_proxy_stays_unread() -> None:
    with Canned((403, f"<html>{API_KEY}</html>", {})) as service, pytest.raises(UptimeRobotError) as caught:
        client_of(service.base_url).get("/monitors")
    assert "html" not in str(caught.value)


def test_an_error_never_holds_the_key() -> None:
    with Canned((400, {"message": f"bad {API_KEY}"}, {})) as service, pytest.raises(UptimeRobotError) as caught:
        client_of(service.base_url).get("/monitors")
    assert API_KEY not in str(caught.value)


def test_removing_what_is_gone_is_no_error(uptimerobot: UptimeRobotEmulator) -> None:
    client_of(uptimerobot.url).delete("/monitors/1")
