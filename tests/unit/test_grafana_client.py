"""The client of Grafana's API, and what is known of data sources without asking Grafana."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.watchkeeper import grafana as client_module
from ansible.module_utils.watchkeeper.grafana import Grafana as Client
from ansible.module_utils.watchkeeper.grafana import GrafanaError, grafana_not_there, read_secret
from ansible.module_utils.watchkeeper.grafana_datasources import (
    CORRELATIONS,
    DIGEST,
    KINDS,
    SECRET_KEYS,
    Secrets,
    compare_correlations,
    correlation_body,
    creation,
    list_can_tell,
    merged,
    problems,
    same,
    sendable,
    update,
)
from ansible.module_utils.watchkeeper.http_api import HIDDEN, WAITS

from tests.unit.grafana_fixture import Grafana, grafana
from tests.unit.live import free_port

__all__ = ["grafana"]

TOKEN = "glsa_0123456789"  # noqa: S105 - known to nobody
PROMETHEUS = {"name": "Prometheus", "uid": "prometheus", "type": "prometheus", "url": "http://127.0.0.1:9090"}


class Clock:
    """Sleeps that take no time, and are remembered."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def clock() -> Clock:
    """The sleeps of a client."""
    return Clock()


def client_of(where: Grafana, clock: Clock, **options: Any) -> Client:
    """Return a client that is logged in."""
    return Client(where.url, username=where.username, password=where.password, sleep=clock, **options)


# Repetition


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_is_repeated(grafana: Grafana, clock: Clock, status: int) -> None:
    grafana.emulator.fail_next(2, status)
    assert client_of(grafana, clock).get("/api/org")["id"] == 1
    assert clock.slept == list(WAITS[:2])


def test_a_wish_to_wait_is_honoured_within_reason(grafana: Grafana, clock: Clock) -> None:
    grafana.emulator.fail_next(1, 429, retry_after="7")
    client_of(grafana, clock).get("/api/org")
    assert clock.slept == [7.0]
    grafana.emulator.fail_next(1, 429, retry_after="86400")
    with pytest.raises(GrafanaError, match="HTTP 429"):
        client_of(grafana, clock).get("/api/org")
    assert clock.slept == [7.0]


def test_it_gives_up(grafana: Grafana, clock: Clock) -> None:
    grafana.emulator.fail_next(100, 503)
    with pytest.raises(GrafanaError, match="HTTP 503: a fault on demand") as caught:
        client_of(grafana, clock).get("/api/org")
    assert caught.value.status == 503
    assert clock.slept == list(WAITS)


def test_a_lost_connection_is_tried_again(grafana: Grafana, clock: Clock) -> None:
    grafana.emulator.drop_next(1)
    assert client_of(grafana, clock).get("/api/org")["id"] == 1
    assert clock.slept == [WAITS[0]]


def test_what_must_not_happen_twice_is_sent_once(grafana: Grafana, clock: Clock) -> None:
    """A connection that ends after the request may have done its work; 429 and 503 have not."""
    client = client_of(grafana, clock)
    for status in (500, 502, 0):
        grafana.emulator.forget()
        if status:
            grafana.emulator.fail_next(1, status, method="POST")
        else:
            grafana.emulator.drop_next(1, method="POST")
        with pytest.raises(GrafanaError):
            client.send("POST", "/api/serviceaccounts", {"name": "a"}, repeatable=False)
        assert len(grafana.emulator.writes) == 1
    grafana.emulator.fail_next(1, 503, method="POST")
    assert client.send("POST", "/api/serviceaccounts", {"name": "a"}, repeatable=False)["name"] == "a"


def test_a_refusal_is_not_repeated(grafana: Grafana, clock: Clock) -> None:
    grafana.emulator.forget()
    with pytest.raises(GrafanaError, match=r"POST .*/api/datasources: HTTP 400: bad request data"):
        client_of(grafana, clock).send("POST", "/api/datasources", {})
    assert len(grafana.emulator.requests) == 1
    assert clock.slept == []


def test_nobody_there(clock: Clock) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(GrafanaError, match=r"no answer: .*refused") as caught:
        Client(url, token=TOKEN, sleep=clock).get("/api/org")
    assert caught.value.status == 0
    assert len(clock.slept) == len(WAITS)


def test_a_name_that_is_not_known_is_not_repeated(clock: Clock) -> None:
    with pytest.raises(GrafanaError, match="no answer"):
        Client("http://grafana.invalid:3000", token=TOKEN, sleep=clock).get("/api/org")
    assert clock.slept == []


# Logging in


def test_a_wrong_password_is_said_once(grafana: Grafana, clock: Clock) -> None:
    """Each repetition would count for the lock."""
    client = Client(grafana.url, username="admin", password="S3cret-and-wrong", sleep=clock)  # noqa: S106
    with pytest.raises(GrafanaError, match="does not know the account admin or its password; after five") as caught:
        client.get("/api/org")
    assert "S3cret" not in str(caught.value)
    assert caught.value.status == 401
    assert clock.slept == []


def test_the_organisation_is_chosen_by_a_header(grafana: Grafana, clock: Clock) -> None:
    _status, made = grafana.ask("POST", "/api/orgs", {"name": "Second"})
    assert client_of(grafana, clock, organization=made["orgId"]).get("/api/org")["name"] == "Second"
    assert client_of(grafana, clock).get("/api/org")["id"] == 1, "the account's own organisation was changed"
    assert not [path for path in grafana.emulator.writes if "/using/" in path]


def test_a_token_logs_in(grafana: Grafana, clock: Clock) -> None:
    _status, account = grafana.ask("POST", "/api/serviceaccounts", {"name": "a", "role": "Viewer"})
    _status, token = grafana.ask("POST", f"/api/serviceaccounts/{account['id']}/tokens", {"name": "t"})
    assert client_of(grafana, clock).with_token(token["key"]).get("/api/org")["id"] == 1
    with pytest.raises(GrafanaError, match="Has the token the role that this needs"):
        client_of(grafana, clock).with_token(token["key"]).get("/api/serviceaccounts/search")


def test_further_secrets_are_masked(grafana: Grafana, clock: Clock) -> None:
    client = client_of(grafana, clock)
    client.hide(["short", "short and long", None, ""])
    said = json.dumps({"message": f"no short and long, no short, no {grafana.password}"})
    grafana.emulator.fail_next(1, 400, body=said)
    with pytest.raises(GrafanaError, match=re.escape(f"no {HIDDEN}, no {HIDDEN}, no {HIDDEN}")):
        client.get("/api/org")


# Strange servers


class Strange(BaseHTTPRequestHandler):
    """A server that is no Grafana."""

    def do_GET(self) -> None:
        """Answer by the path."""
        status = 302 if self.path == "/redirect" else 400 if self.path in ("/html", "/secret") else 200
        body = {
            "/html": b"<html>S3cret</html>",
            "/secret": json.dumps({"message": f"bad {TOKEN}\nin  it " + "x" * 1000, "secret": "other"}).encode(),
            "/page": b"<html>Sign in</html>",
        }.get(self.path, b"")
        self.send_response(status)
        self.send_header("Location", "https://elsewhere.example.com/login")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Says nothing."""


@pytest.fixture
def strange() -> Iterator[str]:
    """The address of a server that is no Grafana."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Strange) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/redirect", "HTTP 302. It redirects to https://elsewhere.example.com/login: set url"),
        ("/html", "/html: HTTP 400"),
        ("/secret", f"HTTP 400: bad {HIDDEN} in it xxx"),
        ("/page", "the answer is not JSON"),
    ],
)
def test_errors_hold_a_reason_and_no_body(strange: str, clock: Clock, path: str, said: str) -> None:
    with pytest.raises(GrafanaError) as caught:
        Client(strange, token=TOKEN, sleep=clock).get(path)
    text = str(caught.value)
    assert said in text
    for secret in ("S3cret", TOKEN, "other", "Sign in"):
        assert secret not in text
    assert len(text) < 500


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:3000",
        "a.example.com",
        "ftp://a",
        "http://",
        "http://[::1",
        "http://admin:pw@a",
        "ftp://admin:pw@a",
        "http://a/?x=1",
    ],
)
def test_an_url_that_cannot_be(url: str) -> None:
    with pytest.raises(GrafanaError, match="url ") as caught:
        Client(url, token=TOKEN)
    assert "pw" not in str(caught.value)


def test_grafana_is_missing_only_where_it_could_be(grafana: Grafana) -> None:
    closed = free_port()
    assert grafana_not_there({"url": f"http://127.0.0.1:{closed}", "timeout": 1})
    assert grafana_not_there({"url": f"http://localhost:{closed}/grafana", "timeout": 1})
    assert not grafana_not_there({"url": grafana.url, "timeout": 1})
    assert not grafana_not_there({"url": f"http://grafana.invalid:{closed}", "timeout": 1})


def test_lists_are_read_to_their_end(grafana: Grafana, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAGE", 2)
    for number in range(5):
        grafana.ask("POST", "/api/serviceaccounts", {"name": f"a{number}"})
    found = client_of(grafana, clock).pages("/api/serviceaccounts/search?query=a&", "perpage", "serviceAccounts")
    assert sorted(item["name"] for item in found) == [f"a{number}" for number in range(5)]


def test_a_secret_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "good").write_text(" p ss \r\n")
    assert read_secret(str(tmp_path / "good"), "password_file") == " p ss "
    assert read_secret(None, "password_file") == ""
    (tmp_path / "bad").write_bytes(b"\xff\xfe")
    for name, why in (("missing", "No such file"), ("bad", "not text in UTF-8")):
        with pytest.raises(GrafanaError, match=f"password_file .*/{name} cannot be read: .*{why}"):
            read_secret(str(tmp_path / name), "password_file")


# Values


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"a": None, "b": {}}, {}, True),
        ({}, None, True),
        (None, {"a": {"b": None}}, True),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": True}, {"a": 1}, False),
        ({"a": False}, {"a": None}, False),
        ({"a": ""}, {}, False),
        ({"a": []}, {}, False),
        ([{"a": 1, "b": None}], [{"a": 1}], True),
        ([1, 2], [2, 1], False),
        ("1", 1, False),
        ({}, [], False),
    ],
)
def test_values_are_compared_as_json(one: Any, other: Any, equal: bool) -> None:
    assert same(one, other) is equal
    assert same(other, one) is equal


def test_asserted_settings_are_laid_over_live_ones() -> None:
    live = {"a": {"b": 1, "c": 2}, "d": [1], "e": 5}
    assert merged(live, {"a": {"b": 3}, "d": [], "e": None}) == {"a": {"b": 3, "c": 2}, "d": []}
    assert live == {"a": {"b": 1, "c": 2}, "d": [1], "e": 5}


# Digests


def test_a_digest_tells_secrets_apart_and_nothing_else() -> None:
    secrets = Secrets({"password": "one"}, "key")
    digest = secrets.digest()
    assert digest != secrets.digest(), "without a salt equal passwords would show"
    assert "one" not in digest
    assert secrets.matches(digest)
    assert not Secrets({"password": "two"}, "key").matches(digest)
    assert not Secrets({"password": "one"}, "other key").matches(digest)
    assert not Secrets({"other": "one"}, "key").matches(digest)
    for damaged in (None, "", "1:zz:00", "2" + digest[1:], digest[:-1], {"a": 1}):
        assert not secrets.matches(damaged)


def test_the_form_of_a_digest_stays() -> None:
    """Another form would send every secret of every installation again."""
    digest = Secrets({"password": "p", "a": "b"}, "key").digest(bytes(16))
    assert digest == "1:" + "00" * 16 + ":63af57f1f9a585a3f2df9c6ea019f508bd0fe30209b7e612b1a92c7e95c50bd0"


def live(**fields: Any) -> dict[str, Any]:
    """Return a data source as Grafana tells it."""
    full = {"access": "proxy", "user": "", "database": "", "basicAuth": False, "basicAuthUser": "", "id": 7, "orgId": 1}
    told = {"withCredentials": False, "isDefault": False, "jsonData": {}, "secureJsonFields": {}, "version": 3}
    return {**full, **told, "readOnly": False, **PROMETHEUS, **fields}


@pytest.mark.parametrize("mode", ["on_change", "always", "on_create"])
def test_when_secrets_are_sent(mode: str) -> None:
    wish = {**PROMETHEUS, "secure_json_data": {"password": "p", "gone": "", "none": None}}
    secrets = Secrets.of(wish, "k", mode)
    assert secrets.to_send(None) == {"password": "p"}, "a new data source gets all of them"
    settled = live(jsonData={DIGEST: secrets.digest()}, secureJsonFields={"password": True})
    assert secrets.to_send(settled) == ({"password": "p"} if mode == "always" else None)
    changed = Secrets.of({"secure_json_data": {"password": "new"}}, "k", mode)
    assert changed.to_send(settled) == (None if mode == "on_create" else {"password": "new"})
    lost = {**settled, "secureJsonFields": {}}
    assert secrets.to_send(lost) == (None if mode == "on_create" else {"password": "p"})
    more = {**settled, "secureJsonFields": {"password": True, "old": True}}
    assert secrets.to_send(more) == (None if mode == "on_create" else {"password": "p", "old": ""})
    assert Secrets.of(PROMETHEUS, "k", mode).to_send(more) is None, "secrets that nobody speaks of"


def test_a_source_that_moves_gets_its_secrets_again() -> None:
    wish = {**PROMETHEUS, "url": "http://other:9090", "secure_json_data": {"basicAuthPassword": "p"}}
    secrets = Secrets.of(wish, "", "on_change")
    now = live(jsonData={DIGEST: secrets.digest()}, secureJsonFields={"basicAuthPassword": True})
    change = update(wish, now, secrets)
    assert change.body
    assert change.body["secureJsonData"] == {"basicAuthPassword": "p"}
    assert change.fields == ("url",)
    assert change.before
    assert change.before["secureJsonData"] == change.after["secureJsonData"]


def test_all_secrets_cleared_leave_no_digest() -> None:
    wish = {**PROMETHEUS, "secure_json_data": {}}
    now = live(jsonData={DIGEST: "1:00:00", "timeInterval": "5s"}, secureJsonFields={"basicAuthPassword": True})
    change = update(wish, now, Secrets.of(wish, "", "on_change"))
    assert change.body
    assert change.body["secureJsonData"] == {"basicAuthPassword": ""}
    assert change.body["jsonData"] == {"timeInterval": "5s"}


# Bodies


def test_a_body_holds_what_nobody_asserts_as_it_is() -> None:
    now = live(jsonData={"httpMethod": "GET", "timeInterval": "5s"}, apiVersion="v0alpha1", basicAuthUser="u")
    change = update({**PROMETHEUS, "json_data": {"httpMethod": "POST"}}, now, Secrets(None))
    assert change.body == {
        **sendable(now),
        "jsonData": {"httpMethod": "POST", "timeInterval": "5s"},
    }
    assert change.body["version"] == 3
    assert not {"id", "orgId", "readOnly", "secureJsonFields"} & set(change.body)
    assert change.before == {**PROMETHEUS_SHOWN, "jsonData": {"httpMethod": "GET"}}
    assert change.after == {**PROMETHEUS_SHOWN, "jsonData": {"httpMethod": "POST"}}


PROMETHEUS_SHOWN = {key: value for key, value in PROMETHEUS.items() if key != "uid"}


@pytest.mark.parametrize(("alias", "stored"), [("postgres", "grafana-postgresql-datasource"), ("loki", "loki")])
def test_an_alias_is_no_change(alias: str, stored: str) -> None:
    assert update({"name": "Prometheus", "type": alias}, live(type=stored), Secrets(None)).body is None
    assert update({"name": "Prometheus", "type": stored}, live(type=alias), Secrets(None)).body is None


@pytest.mark.parametrize(("option", "key"), [("url", "url"), ("basic_auth_user", "basicAuthUser")])
def test_what_grafana_would_not_empty_is_refused(option: str, key: str) -> None:
    with pytest.raises(ValueError, match=f"Prometheus: {option} cannot be emptied"):
        update({"name": "Prometheus", option: ""}, live(**{key: "something"}), Secrets(None))
    assert update({"name": "Prometheus", option: ""}, live(**{key: ""}), Secrets(None)).body is None


def test_a_rank_does_not_bring_the_default_back() -> None:
    now = live(isDefault=True, ordinal=1)
    change = update({**PROMETHEUS, "is_default": False}, now, Secrets(None))
    assert change.body
    assert change.body["isDefault"] is False
    assert "ordinal" not in change.body
    assert update({**PROMETHEUS, "name": "x"}, now, Secrets(None)).body == {**sendable(now), "name": "x"}


def test_the_list_tells_what_it_tells() -> None:
    listed = {key: value for key, value in live().items() if key not in ("basicAuthUser", "secureJsonFields")}
    assert list_can_tell({**PROMETHEUS, "json_data": {"a": 1}, "is_default": True}, listed)
    assert not list_can_tell({**PROMETHEUS, "basic_auth_user": "u"}, listed)
    assert not list_can_tell({**PROMETHEUS, "secure_json_data": {}}, listed)


def test_a_new_one_has_what_it_needs() -> None:
    wish = {"name": "DB", "type": "postgres", "url": "db:5432", "json_data": {"a": None, "database": "d"}}
    change = creation(wish, Secrets(None))
    assert change.body == {
        "name": "DB",
        "type": "grafana-postgresql-datasource",
        "url": "db:5432",
        "access": "proxy",
        "jsonData": {"database": "d"},
    }


# Correlations


LINK: dict[str, Any] = {"target_uid": "tempo", "label": "Trace", "config": {"field": "id", "target": {"query": "q"}}}


def told(uid: str, **fields: Any) -> dict[str, Any]:
    """Return a correlation as Grafana tells it."""
    return {"uid": uid, "sourceUID": "loki", "provisioned": False, **correlation_body(LINK), **fields}


def test_correlations_are_compared_by_target_and_label() -> None:
    assert len(compare_correlations([LINK], [], ()).create) == 1
    assert not compare_correlations([LINK], [told("c1")], ())
    changed = compare_correlations([{**LINK, "description": "new"}], [told("c1")], ())
    assert [uid for uid, _body in changed.change] == ["c1"]
    assert "targetUID" not in changed.change[0][1], "an update cannot take another target"
    steps = {"config": {**LINK["config"], "transformations": [{"type": "logfmt", "field": ""}]}}
    assert compare_correlations([{**LINK, **steps}], [told("c1")], ()).change
    assert not compare_correlations([{**LINK, **steps}], [told("c1", **steps)], ())


def test_a_strangers_correlation_stays() -> None:
    live_ones = [told("mine", label="Old"), told("theirs", label="Other")]
    assert compare_correlations([], live_ones, ["tempo/Old"]).remove == ("mine",)
    assert not compare_correlations([], live_ones, [])


def test_an_older_form_of_a_correlation_is_no_change() -> None:
    old = told("c1")
    old["config"] = {**old["config"], "type": old.pop("type")}
    del old["config"]["transformations"]
    assert not compare_correlations([LINK], [old], ())


# Declarations


GOOD: list[dict[str, Any]] = [
    PROMETHEUS,
    {"name": "AM", "type": "alertmanager", "url": "http://[::1]:9093", "json_data": {"implementation": "prometheus"}},
    {"name": "DB", "type": "postgres", "url": "db.example.com:5432", "user": "u", "json_data": {"database": "d"}},
    {"name": "Socket", "type": "postgres", "url": "/run/postgresql", "user": "u", "database": "d"},
    {"name": "Test", "type": "testdata"},
    {"name": "Own", "type": "acme-datasource", "url": "anything goes", "json_data": {"htpMethod": 1}},
    {"name": "New", "type": "loki", "url": "http://l:3100", "json_data": {"somethingFromNextYear": True}},
    {
        "name": "Header",
        "type": "loki",
        "url": "http://l:3100",
        "json_data": {"httpHeaderName1": "X-Scope-OrgID"},
        "secure_json_data": {"httpHeaderValue1": "tenant"},
    },
    {"uid": "gone", "state": "absent"},
]
SQL = {"type": "mysql", "user": "u"}


def test_good_declarations_have_no_problems() -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"uid": "a b"}, "data source Prometheus: uid is 'a b'; Grafana allows 1 to 40 letters"),
        ({"uid": "x" * 41}, "uid is 'xxx"),
        ({"url": "127.0.0.1:9090"}, "url is '127.0.0.1:9090'; it must start with http:// or https://"),
        ({"url": "http://"}, "it must start with http"),
        ({"url": "http://[::1"}, "it must start with http"),
        ({"url": None}, "url is missing"),
        ({"url": "http://u:pw@host"}, "url holds a password"),
        ({"access": "server"}, "access is 'server'; it must be one of proxy, direct"),
        ({"type": None}, "type is missing"),
        ({"name": None}, "name is missing"),
        ({"basic_auth": True}, "basic_auth needs basic_auth_user"),
        ({"json_data": {"httpMethod": "PUT"}}, "json_data.httpMethod is 'PUT'; it must be one of POST, GET"),
        (
            {"json_data": {"timeIntervall": "5s"}},
            "json_data.timeIntervall is not known to the type prometheus; did you ",
        ),
        ({"json_data": {"http_method": "POST"}}, "did you mean httpMethod?"),
        ({"json_data": {"basicAuthPassword": "x"}}, "json_data.basicAuthPassword is a secret"),
        ({"json_data": {DIGEST: "x"}}, "is written by this module alone"),
        ({"secure_json_data": {"basicAuthPasword": "x"}}, "did you mean basicAuthPassword?"),
        ({"secure_json_data": {"basicAuthPassword": {"a": "b"}}}, "basicAuthPassword must be text"),
        ({"json_data": {"httpHeaderName1": "X"}, "secure_json_data": {}}, "value secure_json_data.httpHeaderValue1 is"),
        ({**SQL, "url": "http://db:5432"}, "takes host:port, without a scheme"),
        ({**SQL, "url": "db:5432/shop"}, "without the database's name"),
        ({"type": "postgres", "url": "db:5432", "user": "u"}, "json_data.database is missing"),
        ({"type": "postgres", "url": "db:5432", "database": "d"}, "Prometheus: user is missing"),
        ({**SQL, "url": ""}, "url is missing, for example db1.example.com:5432"),
        ({"correlations": [{"label": "a", "config": {"field": "f", "target": {}}}]}, "target_uid is missing"),
        ({"correlations": [{**LINK, "config": {}}]}, "correlations[0]: config needs field"),
        ({"correlations": [LINK, LINK]}, "2 correlations lead to tempo/Trace"),
        ({"correlations": [{**LINK, "target_uid": "a/b"}]}, "target_uid is 'a/b'"),
        (
            {"correlations": [{**LINK, "config": {**LINK["config"], "transformations": [{"type": "regex"}]}}]},
            "needs an expression",
        ),
        (
            {"correlations": [{**LINK, "config": {**LINK["config"], "transformations": [{"type": "json"}]}}]},
            "it must be regex or logfmt",
        ),
    ],
)
def test_bad_declarations_are_named(fields: dict[str, Any], said: str) -> None:
    found = problems([{**PROMETHEUS, **fields}])
    assert len(found) == 1, found
    assert said in found[0]
    assert "pw@" not in found[0]


def test_declarations_that_do_not_go_together() -> None:
    two = [PROMETHEUS, {**PROMETHEUS, "uid": "other"}]
    assert problems(two) == ["2 data sources have the name Prometheus; each needs its own"]
    assert problems([two[0], {**two[1], "state": "absent"}]) == [], "one may take another's name"
    assert problems([PROMETHEUS, {**PROMETHEUS, "name": "b"}]) == [
        "2 data sources have the uid prometheus; each needs its own"
    ]
    both = [{**PROMETHEUS, "is_default": True}, {**GOOD[6], "is_default": True}]
    assert problems(both) == ["data sources Prometheus, New: each has is_default, and only one can be the default"]


def test_what_is_known_of_types_holds_together() -> None:
    for name, kind in KINDS.items():
        assert len(set(kind.keys)) == len(kind.keys), name
        assert not set(kind.keys) & SECRET_KEYS, name
        assert {key for key, _values in kind.choices} <= set(kind.keys), name
    assert CORRELATIONS.startswith("watchkeeper")
