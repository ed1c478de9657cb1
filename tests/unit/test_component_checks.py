"""What the variables of redis_exporter and nginx_exporter may mean, found out before any change."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.watchkeeper.component_checks import check_nginx_exporter, check_redis_exporter
from ansible.module_utils.watchkeeper.settings import documented

from tests.unit.runs import ROOT

SECRET = "planted-password"  # noqa: S105
OPTIONS = documented(ROOT, "redis_exporter")


def redis(*instances: Any, **others: Any) -> list[str]:
    """Return what is wrong with these instances, and other variables of the role."""
    values: dict[str, Any] = {
        "redis_exporter_unit_settings": {},
        "redis_exporter_instances": list(instances),
        "redis_exporter_tls_certificate_file": "",
        "redis_exporter_tls_key_file": "",
        "redis_exporter_arguments": [],
    }
    values.update({f"redis_exporter_{name}": value for name, value in others.items()})
    return check_redis_exporter(values, OPTIONS)


def nginx(*urls: str) -> list[str]:
    """Return what is wrong with these pages."""
    return check_nginx_exporter({"nginx_exporter_scrape_urls": list(urls)}, {})


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379",
        "redis://cache-1.example.org",
        "redis://[2001:db8::1]:6379",
        "rediss://cache.example.org:6380/0",
        "redis://monitoring@127.0.0.1:6379",
        "unix:///run/redis/redis-server.sock",
        "unix://monitoring@/run/redis/redis-server.sock",
    ],
)
def test_urls_of_redis(url: str) -> None:
    assert redis({"url": url, "password": SECRET}) == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:6379",
        "valkey://127.0.0.1:6379",
        "REDIS://127.0.0.1:6379",
        "redis://127.0.0.1:0",
        "redis://127.0.0.1:65536",
        "redis://127.0.0.1:6379/",
        "redis://127.0.0.1:6379?db=1",
        "redis://us%40er@127.0.0.1:6379",
        "unix:/run/redis.sock",
        "unix:///run/with a space.sock",
        "redis://2001:db8::1:6379",
        "redis://127.0.0.1:6379\n",
    ],
)
def test_urls_that_the_exporter_would_not_find_a_password_by(url: str) -> None:
    [message] = redis({"url": url, "password": SECRET})
    assert message.startswith("redis_exporter_instances[0].url is ")
    assert "redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH" in message
    assert "set it in the inventory" in message


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        (["redis://127.0.0.1"], "instances[0] is (hidden), but must be a mapping with the keys name, url, password"),
        ([{"adress": "x"}], "instances[0].adress is not a key of redis_exporter_instances"),
        ([{"password": 12345}], "instances[0].password is (hidden), but must be of type str, in quotes"),
        ([{"name": "a/b"}], "instances[0].name is 'a/b', but must be letters, digits, '.', '-' and '_'"),
        ([{}, {"url": "redis://127.0.0.1:6380"}], "instances[1].name is 'default', but must be different for each"),
        ([{}, {"name": "b"}], "instances[1].url is 'redis://127.0.0.1:6379', but must be different for each instance"),
        (
            [{"url": "unix:///tmp/redis.sock"}],
            "instances[0].url is 'unix:///tmp/redis.sock', but must be a socket outside of /tmp, /var/tmp, ",
        ),
        (
            [{"url": "redis://monitoring@127.0.0.1"}],
            "instances[0].password is (hidden), but must be set, because the URL names a user",
        ),
    ],
)
def test_instances_that_are_refused(instances: list[Any], message: str) -> None:
    [found] = redis(*instances)
    assert f"redis_exporter_{message}" in found


def test_a_socket_may_be_anywhere_in_an_open_sandbox() -> None:
    assert redis({"url": "unix:///tmp/redis.sock"}, unit_settings={"PrivateTmp": False}) == []


def test_a_password_in_the_url_is_refused_and_not_shown() -> None:
    [message] = redis({"url": f"redis://monitoring:{SECRET}@127.0.0.1:6379"})
    assert SECRET not in message
    assert "with the password in redis_exporter_instances[0].password" in message


@pytest.mark.parametrize(
    "arguments", [["--debug"], ["-debug=true"], ["--log-level=DEBUG"], ["-log-level", "debug"], ["--x=y", "--debug=1"]]
)
def test_debug_output_would_show_the_passwords(arguments: list[str]) -> None:
    [message] = redis({"password": SECRET}, arguments=arguments)
    assert "redis_exporter_arguments" in message
    assert "passwords into the journal" in message


@pytest.mark.parametrize("arguments", [["--debug=false"], ["--log-level=warn"], ["--is-cluster"]])
def test_other_arguments_are_the_users(arguments: list[str]) -> None:
    assert redis({"password": SECRET}, arguments=arguments) == []


@pytest.mark.parametrize("lonely", ["tls_certificate_file", "tls_key_file"])
def test_a_certificate_needs_its_key(lonely: str) -> None:
    [message] = redis({}, **{lonely: "/etc/ssl/redis.pem"})
    assert "redis_exporter_tls_certificate_file and redis_exporter_tls_key_file go together" in message
    assert redis({}, tls_certificate_file="/etc/ssl/redis.pem", tls_key_file="/etc/ssl/redis.key") == []


@pytest.mark.parametrize(
    "urls",
    [
        ["http://127.0.0.1:8999/stub_status"],
        ["http://127.0.0.1:8999/stub_status", "https://192.0.2.7/status"],
        ["unix:/run/nginx/status.sock:/stub_status"],
    ],
)
def test_pages_of_nginx(urls: list[str]) -> None:
    assert nginx(*urls) == []


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        ([], "nginx_exporter_scrape_urls is [], but must be a list of at least one status page"),
        ([""], "nginx_exporter_scrape_urls[0] is '', but must be a URL that starts with http:// or https://"),
        (["127.0.0.1:8999"], "nginx_exporter_scrape_urls[0] is '127.0.0.1:8999', but must be a URL"),
        (["unix:/run/status.sock"], "nginx_exporter_scrape_urls[0] is 'unix:/run/status.sock', but must be a socket"),
        (
            ["http://127.0.0.1/a", "unix:/run/status.sock:/b"],
            "nginx_exporter_scrape_urls[1] is 'unix:/run/status.sock:/b', but must be the only one",
        ),
        (["http://127.0.0.1/a"] * 2, "nginx_exporter_scrape_urls[1] is 'http://127.0.0.1/a', but must be there once"),
    ],
)
def test_pages_that_are_refused(urls: list[str], message: str) -> None:
    [found] = nginx(*urls)
    assert message in found


def test_a_password_for_a_page_is_refused_and_not_shown() -> None:
    [message] = nginx(f"http://user:{SECRET}@127.0.0.1/status")
    assert SECRET not in message
    assert "nginx_exporter_scrape_urls[0]" in message
