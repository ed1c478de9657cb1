"""The sinks accept what the real services accept and refuse what those refuse."""

from __future__ import annotations

import json
import signal
import smtplib
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.emulators.base import HttpSink
from tests.emulators.pagerduty import PagerDutySink
from tests.emulators.slack import SlackSink
from tests.emulators.smtp import SmtpSink, make_certificate
from tests.emulators.webhook import WebhookSink

ROOT = Path(__file__).resolve().parents[2]
KEY = "0123456789abcdef0123456789abcdef"
TRIGGER = {
    "routing_key": KEY,
    "event_action": "trigger",
    "payload": {"summary": "disk full", "source": "web-1", "severity": "critical"},
}


def send(
    url: str, body: Any, method: str = "POST", content_type: str = "application/json"
) -> tuple[int, str, dict[str, str]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": content_type}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), dict(error.headers)


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        ({"text": "hello"}, 200, "ok"),
        ({"attachments": [{"title": "hello"}]}, 200, "ok"),
        ({"blocks": [{"type": "divider"}], "channel": "#alerts"}, 200, "ok"),
        ({"channel": "#alerts"}, 400, "no_text"),
        ({"attachments": [{"color": "danger"}]}, 400, "missing_text_or_fallback_or_attachments"),
        ({"attachments": [{"title": "x"}] * 101}, 400, "too_many_attachments"),
        ({"text": "hello", "channel": "#nowhere"}, 404, "channel_not_found"),
        ({"attachments": "x"}, 400, "invalid_payload"),
        ([1], 400, "invalid_payload"),
        (b"{", 400, "invalid_payload"),
    ],
)
def test_slack_answers_as_documented(body: Any, status: int, answer: str) -> None:
    with SlackSink(channels=["#alerts"]) as sink:
        assert send(sink.url, body)[:2] == (status, answer)
        assert [(record["accepted"], record["answer"]) for record in sink.records] == [(status == 200, answer)]


def test_slack_knows_its_own_webhook_only() -> None:
    with SlackSink() as sink:
        assert send(sink.base_url + "/services/T1/B1/other", {"text": "x"})[:2] == (404, "no_service")
        assert send(sink.url, {"text": "x"}, content_type="text/plain")[:2] == (400, "invalid_payload")
        assert send(sink.url, {"text": "x"}, method="PUT")[0] == 405
        assert sink.accepted == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"routing_key": None}, "'routing_key' is missing"),
        ({"routing_key": "short"}, "should be 32 characters"),
        ({"event_action": "page"}, "'event_action'"),
        ({"payload": None}, "'payload.summary' is missing"),
        ({"payload": {"summary": "x", "source": "", "severity": "info"}}, "'payload.source' is missing"),
        ({"payload": {"summary": "x", "source": "y", "severity": "high"}}, "'payload.severity' is none of"),
        ({"payload": {"summary": "x" * 1025, "source": "y", "severity": "info"}}, "longer than 1024"),
        ({"event_action": "resolve"}, "'dedup_key' is missing"),
        ({"dedup_key": "x" * 256}, "'dedup_key' is no text of up to 255"),
        ({"links": [{"text": "runbook"}]}, "'links' has an entry without href"),
    ],
)
def test_pagerduty_refuses_an_invalid_event(change: dict[str, Any], error: str) -> None:
    with PagerDutySink() as sink:
        status, body, _ = send(sink.url, {**TRIGGER, **change})
        assert status == 400
        answer = json.loads(body)
        assert (answer["status"], answer["message"]) == ("invalid event", "Event object is invalid")
        assert any(error in text for text in answer["errors"]), answer
        assert len(sink.refused) == 1


def test_pagerduty_takes_an_incident_from_start_to_end() -> None:
    with PagerDutySink() as sink:
        status, body, _ = send(sink.url, TRIGGER)
        answer = json.loads(body)
        assert (status, answer["status"], len(answer["dedup_key"])) == (202, "success", 32)
        resolve = {"routing_key": KEY, "event_action": "resolve", "dedup_key": answer["dedup_key"]}
        assert json.loads(send(sink.url, resolve)[1])["dedup_key"] == answer["dedup_key"]
        assert [record["body"]["event_action"] for record in sink.accepted] == ["trigger", "resolve"]
        assert send(sink.base_url + "/v1", TRIGGER)[0] == 404
        assert send(sink.url, b"not json")[0] == 400


@pytest.mark.parametrize(("kind", "body"), [(SlackSink, {"text": "x"}), (PagerDutySink, TRIGGER), (WebhookSink, {})])
def test_refuses_too_many_requests_when_asked(kind: type[HttpSink], body: Any) -> None:
    with kind() as sink:
        sink.fail_next(2)
        url = str(getattr(sink, "url"))  # noqa: B009 - every sink has one, their base does not
        assert [send(url, body)[0] // 100 for _ in range(3)] == [4, 4, 2]
        assert [record["status"] for record in sink.refused] == [429, 429]


def test_slack_says_when_to_come_back() -> None:
    with SlackSink() as sink:
        sink.fail_next()
        assert send(sink.url, {"text": "x"})[2]["Retry-After"] == "1"


def test_webhook_takes_json_only() -> None:
    with WebhookSink() as sink:
        assert [send(sink.url, body)[0] for body in ({"status": "firing"}, b"text")] == [200, 400]
        assert send(sink.base_url + "/elsewhere", {})[0] == 404
        assert sink.accepted[0]["body"] == {"status": "firing"}


def test_waiting_ends_with_what_did_arrive() -> None:
    with WebhookSink() as sink:
        send(sink.url, {"planted": 1})
        assert sink.wait(lambda record: record["body"] == {"planted": 1})["status"] == 200
        with pytest.raises(AssertionError, match="planted"):
            sink.wait(lambda record: record["body"] == {"planted": 2}, timeout=0.1)


def mail(sink: SmtpSink, user: str = "", password: str = "", context: ssl.SSLContext | None = None) -> None:
    with smtplib.SMTP(*sink.address, timeout=10) as client:
        if context is not None:
            client.starttls(context=context)
        if user:
            client.login(user, password)
        client.sendmail("from@example.org", ["to@example.org"], "Subject: hello\r\n\r\nbody\r\n")


def test_smtp_keeps_header_fields_and_bodies() -> None:
    with SmtpSink() as sink:
        mail(sink)
        (record,) = sink.accepted
        assert (record["subject"], record["recipients"]) == ("hello", ["to@example.org"])
        assert record["bodies"] == {"text/plain": "body\n"}
        assert (record["tls"], record["authenticated"]) == (False, False)


def test_smtp_wants_tls_and_the_right_password(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    with SmtpSink(user="someone", password="correct", certificate=certificate) as sink:  # noqa: S106
        mail(sink, "someone", "correct", trusting)
        assert [(record["tls"], record["authenticated"]) for record in sink.accepted] == [(True, True)]
        with pytest.raises(smtplib.SMTPAuthenticationError):
            mail(sink, "someone", "wrong", trusting)
        with pytest.raises(smtplib.SMTPSenderRefused, match="Authentication required"):
            mail(sink, context=trusting)
        with pytest.raises(smtplib.SMTPSenderRefused, match="STARTTLS"):
            mail(sink)
        assert len(sink.accepted) == 1
        assert "correct" not in json.dumps(sink.records)


@pytest.mark.parametrize("name", ["slack", "pagerduty", "smtp", "webhook"])
def test_runs_as_a_program_with_a_log(name: str, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    command = [sys.executable, "-m", f"tests.emulators.{name}", "--listen", "127.0.0.1:0", "--log", str(log)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            host, port = process.stdout.readline().split()[-1].rsplit(":", 1)
            if name == "smtp":
                with smtplib.SMTP(host, int(port), timeout=10) as client:
                    client.sendmail("a@example.org", ["b@example.org"], "Subject: logged\r\n\r\n")
            else:
                send(f"http://{host}:{port}/nowhere", {"text": "logged"})
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert "logged" in json.dumps([json.loads(line) for line in log.read_text().splitlines()])
