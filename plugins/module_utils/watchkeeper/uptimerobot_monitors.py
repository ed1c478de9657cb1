"""UptimeRobot's monitors as data: what is wrong with a declaration, what a live one lacks, the body that mends it.

Nothing here talks to UptimeRobot. A declaration is one item of the module `uptimerobot_monitor`; what it does not name,
or names as null, is not asserted. `Wish` is a declaration with all names turned into ids. A live monitor comes from the
client, which has made its name and its URL plain.
"""

from __future__ import annotations

import ipaddress
import json
import re
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.watchkeeper.uptimerobot import plain

HEARTBEAT = "HEARTBEAT"
METHODS = ("HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")
KEYWORD_CASES = ("CaseSensitive", "CaseInsensitive")
COMPARISONS = (
    *("equals", "not_equals", "contains", "not_contains", "greater_than", "less_than"),
    *("is_null", "is_not_null"),
)
DNS_RECORDS = (*("A", "AAAA", "CNAME", "MX", "NS", "TXT", "SRV", "PTR", "SOA", "SPF", "DNSKEY", "DS", "NSEC", "NSEC3"),)
# What UptimeRobot sends where a monitor of the web is made without a wish: HEAD, which many an application refuses.
DEFAULT_METHOD = "GET"
DEFAULT_INTERVAL = 300
DEFAULT_TIMEOUT = 30
DEFAULT_CODES = ("2xx", "3xx")

# Option of a declaration, and its field in the API. Those that need more than another name are in `Wish`.
FIELDS = {
    "name": "friendlyName",
    "url": "url",
    "interval": "interval",
    "timeout": "timeout",
    "port": "port",
    "grace_period": "gracePeriod",
    "method": "httpMethodType",
    "keyword_type": "keywordType",
    "keyword_case_type": "keywordCaseType",
    "keyword_value": "keywordValue",
    "auth_type": "authType",
    "http_username": "httpUsername",
    "http_password": "httpPassword",
    "post_value_type": "postValueType",
    "post_value_data": "postValueData",
    "success_codes": "successHttpResponseCodes",
    "check_ssl_errors": "checkSSLErrors",
    "ssl_expiration_reminder": "sslExpirationReminder",
    "domain_expiration_reminder": "domainExpirationReminder",
    "follow_redirections": "followRedirections",
    "custom_fields": "customFields",
}
_WEB = """
url timeout method auth_type http_username http_password post_value_type post_value_data http_headers
secret_http_headers success_codes check_ssl_errors ssl_expiration_reminder domain_expiration_reminder
follow_redirections config
"""
# Every type has these.
_SHARED = """
id name type state fallback interval alert_contacts tags group maintenance_windows regions response_time_threshold
custom_fields
"""
SHARED = frozenset(_SHARED.split())
_CERTIFICATE = ("sslExpirationPeriodDays", "ipVersion", "applicationErrorRetries")


@dataclass(frozen=True)
class Kind:
    """What is known of a type: the options it takes, those it needs, and the keys that its config takes and needs."""

    options: frozenset[str]
    required: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    config_required: str = ""
    # UptimeRobot keeps the host alone.
    host_only: bool = False


def _kind(options: str, required: str, config: Sequence[str] = (), needs: str = "", host_only: bool = False) -> Kind:
    return Kind(frozenset(options.split()), tuple(required.split()), tuple(config), needs, host_only)


KINDS = {
    "HTTP": _kind(_WEB, "url", _CERTIFICATE),
    "KEYWORD": _kind(
        _WEB + "keyword_type keyword_case_type keyword_value", "url keyword_type keyword_value", _CERTIFICATE
    ),
    "PING": _kind("url timeout config", "url", ["ipVersion"], host_only=True),
    "PORT": _kind("url timeout port config", "url port", ["ipVersion"], host_only=True),
    HEARTBEAT: _kind("grace_period", ""),
    "DNS": _kind("url config", "url config", ["dnsRecords"], "dnsRecords", host_only=True),
    "API": _kind(_WEB, "url config", ["apiAssertions", *_CERTIFICATE], "apiAssertions"),
    "UDP": _kind("url timeout port config", "url port config", ["udp", "ipVersion"], "udp", host_only=True),
    "VISUAL_COMPARISON": _kind("url config", "url config", ["visualComparison"], "visualComparison"),
}
TYPES = tuple(KINDS)
# Types that take a method.
WEB_TYPES = ("HTTP", "KEYWORD", "API")
# What a fallback may say otherwise.
FALLBACK = ("type", "url", "port", "method", "keyword_type", "keyword_case_type", "keyword_value", "config")

# Seconds between two checks that a plan allows at least, by the plan's label; of another label nothing is known.
FLOORS = {"free": 300, "solo": 60, "team": 60, "scale": 30, "enterprise": 30}
FREE = "free"
# Fields about expiry, and the options that ask for them. The free plan has none of it.
EXPIRY_OPTIONS = {
    "sslExpirationReminder": "ssl_expiration_reminder",
    "domainExpirationReminder": "domain_expiration_reminder",
    "sslExpirationPeriodDays": "config.sslExpirationPeriodDays",
}

_PRIVATE = [
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "0.0.0.0/8")
]
_PRIVATE_NAMES = ("localhost", "local", "internal")
_CUSTOM_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ABOVE = {"interval": 2678400, "timeout": 60, "grace_period": 86400, "port": 65535, "response_time_threshold": 60000}
_BELOW = {"interval": 30, "timeout": 0, "grace_period": 0, "port": 1, "response_time_threshold": 0}
_LONGEST = {"name": 250, "url": 10000, "keyword_value": 500, "http_username": 255, "http_password": 255}


# What is wrong with declarations


def title_of(item: Mapping[str, Any]) -> str:
    """Return how a declaration is called in messages."""
    number = item.get("id")
    return f"monitor {item.get('name') or (f'with the id {number}' if number else '(without a name)')}"


def type_of(item: Mapping[str, Any]) -> str:
    """Return a declaration's type in the vendor's spelling, empty where it names none."""
    return str(item.get("type") or "").upper()


def is_absent(item: Mapping[str, Any]) -> bool:
    """Tell whether a monitor is to go."""
    return item.get("state") == "absent"


def alternative(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the declaration that takes the place of this one where the plan does not have its type."""
    fallback = item.get("fallback")
    if not fallback:
        return None
    given = {key: value for key, value in fallback.items() if value is not None}
    merged = {**item, **given, "fallback": None}
    kind = KINDS.get(type_of(merged))
    if kind is None:
        return merged
    config = merged.get("config")
    if config and "config" not in given:
        # Of the config that was made for another type, what this one takes.
        merged["config"] = {key: value for key, value in config.items() if key in kind.config} or None
    takes = SHARED | kind.options
    return {key: value if key in takes else None for key, value in merged.items()}


def problems(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for everything that is wrong with declarations, taken one by one and together."""
    found = []
    for item in items:
        found += _problems_of(item, title_of(item))
        other = alternative(item)
        if other is not None:
            who = f"{title_of(item)}: fallback"
            found += [f"{who}: type is missing"] if not item["fallback"].get("type") else _problems_of(other, who)
            if type_of(other) == type_of(item):
                found.append(f"{who}: type is {type_of(item)} again; it must be another one")
    numbers = Counter(item["id"] for item in items if item.get("id"))
    found += [f"{count} monitors of the task have the id {number}" for number, count in numbers.items() if count > 1]
    names = Counter((str(item["name"]), type_of(item)) for item in items if item.get("name") and not item.get("id"))
    for (name, kind), count in names.items():
        if count > 1:
            of_type = f" of the type {kind}" if kind else ""
            found.append(f"{count} monitors of the task{of_type} have the name {name}; each needs its own")
    # Dropped where a fallback repeats what its item has said already.
    return list(dict.fromkeys(found))


def _problems_of(item: Mapping[str, Any], who: str) -> list[str]:
    found = []
    name, kind_name = item.get("name"), type_of(item)
    if not name and not item.get("id"):
        found.append(f"{who}: name is missing")
    for option in ("name", "url"):
        value = str(item.get(option) or "")
        if plain(value) != value:
            found.append(f"{who}: {option} is {value!r}, which is escaped for HTML; write {plain(value)!r}")
    if is_absent(item) and not kind_name:
        return found
    if kind_name and kind_name not in KINDS:
        return [*found, f"{who}: type is {item['type']!r}; it must be one of {', '.join(TYPES)}"]
    if is_absent(item):
        return found
    for option, most in _LONGEST.items():
        if len(str(item.get(option) or "")) > most:
            found.append(f"{who}: {option} is longer than {most} characters")
    for option, least in _BELOW.items():
        number = item.get(option)
        if number is not None and not least <= number <= _ABOVE[option]:
            found.append(f"{who}: {option} is {number}; it must be from {least} to {_ABOVE[option]}")
    for contact in item.get("alert_contacts") or []:
        for option in ("threshold", "recurrence"):
            if contact.get(option, 0) < 0:
                found.append(
                    f"{who}: {option} of the contact {contact['contact']} is {contact[option]}; 0 is the least"
                )
    for key in item.get("custom_fields") or {}:
        if not _CUSTOM_KEY.fullmatch(str(key)):
            found.append(f"{who}: custom_fields.{key}: a key is 1 to 64 letters, digits, - and _")
    if len(item.get("custom_fields") or {}) > 20:
        found.append(f"{who}: custom_fields has more than 20 keys")
    for tag in item.get("tags") or []:
        if not str(tag).strip() or "," in str(tag):
            found.append(f"{who}: tags has {tag!r}; a tag is a text without a comma")
    kind = KINDS.get(kind_name)
    return [*found, *_problems_of_kind(item, who, kind_name, kind)] if kind else found


def _problems_of_kind(item: Mapping[str, Any], who: str, kind_name: str, kind: Kind) -> list[str]:
    found = []
    for option, value in item.items():
        if value is not None and option not in SHARED | kind.options:
            found.append(f"{who}: a monitor of the type {kind_name} has no {option}")
    url = item.get("url")
    if url is not None and "url" in kind.options:
        found += _problems_of_url(str(url), who, kind_name, kind)
    method = item.get("method")
    if kind_name == "API" and method == "HEAD":
        found.append(f"{who}: method is HEAD, whose answer has nothing to be compared; leave it out or set it to GET")
    if kind_name == "KEYWORD" and method == "HEAD":
        found.append(f"{who}: method is HEAD, whose answer holds no keyword; leave it out or set it to GET")
    if item.get("post_value_data") is not None and method in (None, "HEAD", "GET"):
        found.append(f"{who}: post_value_data needs a method that has a body, such as POST")
    if item.get("http_password") and item.get("auth_type") in (None, "NONE"):
        found.append(f"{who}: http_password needs auth_type HTTP_BASIC, DIGEST or BEARER")
    both = {str(name).lower() for name in item.get("http_headers") or {}} & {
        str(name).lower() for name in item.get("secret_http_headers") or {}
    }
    found += [f"{who}: http_headers and secret_http_headers both have {name}" for name in sorted(both)]
    config = item.get("config")
    if config is not None:
        found += _problems_of_config(config, who, kind_name, kind)
    return found


def _problems_of_url(url: str, who: str, kind_name: str, kind: Kind) -> list[str]:
    try:
        parts = urllib.parse.urlsplit(url if "://" in url or not kind.host_only else f"//{url}")
        host = parts.hostname or ""
    except ValueError:
        parts, host = urllib.parse.urlsplit(""), ""
    if not kind.host_only and parts.scheme not in ("http", "https"):
        return [f"{who}: url is {url!r}; for a monitor of the type {kind_name} it starts with http:// or https://"]
    if not host:
        return [f"{who}: url is {url!r}; it has no host"]
    if parts.password is not None:
        return [f"{who}: url holds a password; set auth_type, http_username and http_password instead"]
    if is_private(host):
        return [f"{who}: url is {url!r}, which is private; UptimeRobot looks from the internet and reaches none of it"]
    return []


def is_private(host: str) -> bool:
    """Tell whether a host is none that the internet can reach."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.lower().rstrip(".").split(".")[-1] in _PRIVATE_NAMES
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        return True
    return any(address in network for network in _PRIVATE if network.version == address.version)


def _problems_of_config(config: Mapping[str, Any], who: str, kind_name: str, kind: Kind) -> list[str]:
    found = []
    for key in config:
        if key not in kind.config:
            takes = f"; it takes {', '.join(kind.config)}" if kind.config else ""
            found.append(f"{who}: config.{key} is none of the type {kind_name}{takes}")
    if kind.config_required and not isinstance(config.get(kind.config_required), Mapping):
        found.append(f"{who}: config.{kind.config_required} is missing, or no mapping")
        return found
    if kind_name == "API":
        found += _problems_of_assertions(config["apiAssertions"], f"{who}: config.apiAssertions")
    if kind_name == "DNS":
        for record in config["dnsRecords"]:
            if record not in DNS_RECORDS:
                found.append(f"{who}: config.dnsRecords has {record}; it takes {', '.join(DNS_RECORDS)}")
    if kind_name == "UDP" and not _is_number(config["udp"].get("packetLossThreshold")):
        found.append(f"{who}: config.udp.packetLossThreshold is missing, or no number")
    if kind_name == "VISUAL_COMPARISON":
        wish = config["visualComparison"]
        if not _is_number(wish.get("sensitivityThreshold")):
            found.append(f"{who}: config.visualComparison.sensitivityThreshold is missing, or no number")
        if wish.get("viewport") not in ("desktop", "mobile"):
            found.append(f"{who}: config.visualComparison.viewport must be desktop or mobile")
    days = config.get("sslExpirationPeriodDays")
    if days is not None and not (
        isinstance(days, list) and len(days) <= 10 and all(_is_number(day) and 0 <= day <= 365 for day in days)
    ):
        found.append(f"{who}: config.sslExpirationPeriodDays is a list of up to 10 numbers of days from 0 to 365")
    if config.get("ipVersion") not in (None, "ipv4Only", "ipv6Only"):
        found.append(f"{who}: config.ipVersion is {config['ipVersion']!r}; it must be ipv4Only or ipv6Only")
    retries = config.get("applicationErrorRetries")
    if retries is not None and not (_is_number(retries) and 0 <= retries <= 3):
        found.append(f"{who}: config.applicationErrorRetries is {retries!r}; it must be from 0 to 3")
    return found


def _problems_of_assertions(wish: Mapping[str, Any], who: str) -> list[str]:
    found = []
    if wish.get("logic") not in ("AND", "OR"):
        found.append(f"{who}.logic is {wish.get('logic')!r}; it must be AND or OR")
    checks = wish.get("checks")
    if not isinstance(checks, list) or not 1 <= len(checks) <= 5 or not all(isinstance(one, Mapping) for one in checks):
        return [*found, f"{who}.checks must be a list of 1 to 5 checks"]
    for check in checks:
        if not str(check.get("property") or "").startswith("$"):
            found.append(f"{who}.checks: property is {check.get('property')!r}; it must start with $, as in $.status")
        if check.get("comparison") not in COMPARISONS:
            found.append(
                f"{who}.checks: comparison is {check.get('comparison')!r}; it must be one of {', '.join(COMPARISONS)}"
            )
        elif "target" not in check and not check["comparison"].startswith("is_"):
            found.append(f"{who}.checks: the comparison {check['comparison']} needs a target")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def lacking(item: Mapping[str, Any]) -> list[str]:
    """Return the options that the creation of a monitor needs and its declaration does not have."""
    kind = KINDS.get(type_of(item))
    needs = ("name", "type", *(kind.required if kind else ()))
    return [option for option in needs if item.get(option) in (None, "")]


# What is wished


@dataclass(frozen=True)
class Wish:
    """A declaration by the fields of the API, in the form that a creation takes, with ids in place of names."""

    kind: str
    fields: Mapping[str, Any]
    # Tags that the monitor is to have besides those it has.
    tags: frozenset[str] = frozenset()
    # Names of headers whose values are not shown.
    secret_headers: frozenset[str] = frozenset()
    paused: bool | None = None


@dataclass(frozen=True)
class Ids:
    """What the names of a declaration stand for."""

    contacts: Mapping[str, int] = field(default_factory=dict)
    windows: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)


def wish_of(item: Mapping[str, Any], ids: Ids, owner_tag: str, kind_name: str) -> Wish:
    """Return what a declaration asserts of a monitor of a type."""
    fields = {key: item[option] for option, key in FIELDS.items() if item.get(option) is not None}
    kind = KINDS[kind_name]
    if "url" in fields and kind.host_only:
        fields["url"] = bare_host(fields["url"])
    if "keywordValue" in fields:
        fields["keywordValue"] = fields["keywordValue"].strip()
    if item.get("config") is not None:
        fields["config"] = dict(item["config"])
    plain_headers, secret_headers = item.get("http_headers"), item.get("secret_http_headers")
    if plain_headers is not None or secret_headers is not None:
        headers = {**(plain_headers or {}), **(secret_headers or {})}
        fields["customHttpHeaders"] = {str(name): _as_text(value) for name, value in headers.items()}
    if "customFields" in fields:
        fields["customFields"] = {str(key): _as_text(value) for key, value in fields["customFields"].items()}
    threshold, regions = item.get("response_time_threshold"), item.get("regions")
    if regions is not None:
        fields["regionData"] = {"REGION": sorted(set(regions))}
        if threshold is not None:
            fields["regionData"]["THRESHOLD"] = dict.fromkeys(fields["regionData"]["REGION"], threshold)
    elif threshold is not None:
        fields["responseTimeThreshold"] = threshold
    owned = {owner_tag.lower()} if owner_tag else set()
    if item.get("tags") is not None:
        fields["tagNames"] = sorted({str(tag).strip().lower() for tag in item["tags"]} | owned)
    if item.get("alert_contacts") is not None:
        fields["assignedAlertContacts"] = [
            {
                "alertContactId": ids.contacts[str(one["contact"])],
                "threshold": one["threshold"],
                "recurrence": one["recurrence"],
            }
            for one in item["alert_contacts"]
        ]
    if item.get("maintenance_windows") is not None:
        fields["maintenanceWindowsIds"] = sorted({ids.windows[str(one)] for one in item["maintenance_windows"]})
    if item.get("group") is not None:
        fields["groupId"] = ids.groups[str(item["group"])]
    state = item.get("state")
    return Wish(
        kind_name,
        fields,
        frozenset(owned),
        frozenset(str(name).lower() for name in secret_headers or {}),
        {"paused": True, "started": False}.get(str(state)),
    )


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def bare_host(url: str) -> str:
    """Return the host of a URL, or of a name that comes without a scheme."""
    try:
        parts = urllib.parse.urlsplit(url if "://" in url else f"//{url}")
        return (parts.hostname or url).lower()
    except ValueError:
        return url


# What is there


def number_of(live: Mapping[str, Any]) -> int:
    """Return the id of something live, which may come as a text."""
    return int(live["id"])


def name_of(live: Mapping[str, Any]) -> str:
    """Return the name of a live monitor."""
    return str(live.get("friendlyName") or "")


def kind_of(live: Mapping[str, Any]) -> str:
    """Return the type of a live monitor."""
    return str(live.get("type") or "").upper()


def is_paused(live: Mapping[str, Any]) -> bool:
    """Tell whether a live monitor does not check."""
    return str(live.get("status") or "").upper() == "PAUSED"


def tags_of(live: Mapping[str, Any]) -> set[str]:
    """Return the tags of a live monitor."""
    found = live.get("tags") or []
    return {str(tag.get("name") if isinstance(tag, Mapping) else tag).lower() for tag in found}


def same_place(kind_name: str, one: Any, other: Any) -> bool:
    """Tell whether two URLs of a monitor of a type are the same."""
    if kind_name == HEARTBEAT:
        return True
    return _address(kind_name, one) == _address(kind_name, other)


def _address(kind_name: str, url: Any) -> str:
    text = str(url or "")
    kind = KINDS.get(kind_name)
    if kind is None or kind.host_only:
        return bare_host(text)
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError:
        return text
    return urllib.parse.urlunsplit(
        (parts.scheme.lower(), parts.netloc.lower(), parts.path or "/", parts.query, parts.fragment)
    )


def credentials_told(live: Mapping[str, Any]) -> bool:
    """Tell whether UptimeRobot says how a monitor logs in: with a bare HTTP_BASIC it says nothing."""
    kind = str(live.get("authType") or "").upper()
    return bool(live.get("httpUsername")) or kind in ("NONE", "DIGEST", "BEARER")


def live_field(key: str, live: Mapping[str, Any]) -> Any:
    """Return what a live monitor has in a field of a wish."""
    if key == "tagNames":
        return tags_of(live)
    if key == "maintenanceWindowsIds":
        return [number_of(one) for one in live.get("maintenanceWindows") or []]
    if key == "regionData":
        return live.get("regionalData") or {}
    if key == "responseTimeThreshold":
        # This field reads 0 whatever it is; the truth is beside it.
        told = (live.get("regionalData") or {}).get("THRESHOLD") or {}
        return max(told.values()) if told else live.get(key) or 0
    return live.get(key)


def unknown(key: str, live: Mapping[str, Any]) -> bool:
    """Tell whether UptimeRobot does not say what a monitor has in a field."""
    if key == "httpMethodType":
        return live.get(key) is None
    if key in ("authType", "httpUsername"):
        return not credentials_told(live)
    return key == "httpPassword" and not live.get(key)


def same(key: str, wished: Any, found: Any, kind_name: str) -> bool:
    """Tell whether a field is as wished, however UptimeRobot spells it."""
    if key == "url":
        return same_place(kind_name, wished, found)
    if key == "config":
        return all(_same_setting(name, value, (found or {}).get(name)) for name, value in wished.items())
    if key == "regionData":
        return _same_regions(wished, found or {})
    wished, found = _canonical(key, wished), _canonical(key, found)
    if isinstance(wished, str) and isinstance(found, str):
        return wished in (found, plain(found))
    return bool(wished == found)


def _canonical(key: str, value: Any) -> Any:
    if key == "assignedAlertContacts":
        return {
            str(int(one["alertContactId"])): (int(one.get("threshold") or 0), int(one.get("recurrence") or 0))
            for one in value or []
        }
    if key == "tagNames":
        return {str(tag).lower() for tag in value or []}
    if key == "maintenanceWindowsIds":
        return {int(number) for number in value or []}
    if key == "successHttpResponseCodes":
        return {str(code).lower() for code in value or DEFAULT_CODES}
    if key == "customHttpHeaders":
        return {str(name).lower(): _as_text(text) for name, text in (value or {}).items()}
    if key == "customFields":
        return {str(name): _as_text(text) for name, text in (value or {}).items()}
    if key == "keywordCaseType":
        return KEYWORD_CASES.index(value) if value in KEYWORD_CASES else value
    if key == "keywordValue":
        return str(value or "").strip()
    if key == "postValueData":
        return _parsed(value)
    if key == "groupId":
        return int(value or 0)
    if key in ("httpMethodType", "authType", "postValueType", "keywordType"):
        return str(value or "").upper()
    if key in ("httpUsername", "httpPassword"):
        return str(value or "")
    if isinstance(value, str) and value.isdigit():
        return int(value)
    if key in ("checkSSLErrors", "sslExpirationReminder", "domainExpirationReminder", "followRedirections"):
        return bool(value)
    return value


def _parsed(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _same_setting(name: str, wished: Any, found: Any) -> bool:
    """Compare one setting of a config; null is one that is to go."""
    if wished is None:
        return found is None
    if found is None:
        return False
    if name == "sslExpirationPeriodDays":
        return {int(day) for day in wished} == {int(day) for day in found}
    if name == "dnsRecords":
        return _records(wished) == _records(found)
    if name == "apiAssertions":
        return _assertions(wished) == _assertions(found)
    if isinstance(wished, Mapping):
        # UptimeRobot adds what it has found out itself.
        return isinstance(found, Mapping) and all(found.get(key) == value for key, value in wished.items())
    return bool(wished == found)


def _records(value: Mapping[str, Any]) -> dict[str, set[str]]:
    return {name: {plain(str(one)) for one in texts} for name, texts in value.items() if texts}


def _assertions(value: Mapping[str, Any]) -> tuple[str, list[tuple[str, str, Any, str]]]:
    # The kind of a target goes along: in Python 1 is True.
    checks = [
        (plain(str(one.get("property"))), str(one.get("comparison")), _target(one), type(_target(one)).__name__)
        for one in value.get("checks") or []
    ]
    return str(value.get("logic")), sorted(checks, key=repr)


def _target(check: Mapping[str, Any]) -> Any:
    if str(check.get("comparison")).startswith("is_"):
        return None
    target = check.get("target")
    if isinstance(target, bool) or target is None:
        return target
    return plain(target) if isinstance(target, str) else float(target)


def _same_regions(wished: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    if set(wished["REGION"]) != set(found.get("REGION") or []):
        return False
    limits = wished.get("THRESHOLD")
    return limits is None or limits == {
        region: limit for region, limit in (found.get("THRESHOLD") or {}).items() if region in limits
    }


# What it lacks


def differences(wish: Wish, live: Mapping[str, Any]) -> list[str]:
    """Return the fields of a live monitor that are not as wished."""
    found = [
        key
        for key, value in wish.fields.items()
        if not unknown(key, live) and not same(key, value, live_field(key, live), wish.kind)
    ]
    if "tagNames" not in wish.fields and not wish.tags <= tags_of(live):
        found.append("tagNames")
    return found


def untold_credentials(wish: Wish, live: Mapping[str, Any]) -> bool:
    """Tell whether a wish to log in cannot be compared, since UptimeRobot does not say how a monitor does."""
    wants = wish.fields.get("authType") not in (None, "NONE") or wish.fields.get("httpUsername")
    return bool(wants) and not credentials_told(live)


def creation(wish: Wish) -> dict[str, Any]:
    """Return the body that makes a monitor."""
    kind = KINDS[wish.kind]
    body: dict[str, Any] = {"interval": DEFAULT_INTERVAL, **wish.fields, "type": wish.kind}
    if "timeout" in kind.options:
        # Left out, UptimeRobot complains about its size.
        body.setdefault("timeout", DEFAULT_TIMEOUT)
    if wish.kind in WEB_TYPES:
        body.setdefault("httpMethodType", DEFAULT_METHOD)
    if wish.kind == "KEYWORD":
        body.setdefault("keywordCaseType", KEYWORD_CASES[0])
    if wish.tags:
        body.setdefault("tagNames", sorted(wish.tags))
    if "config" in body:
        body["config"] = {key: value for key, value in body["config"].items() if value is not None}
    return body


def update(wish: Wish, live: Mapping[str, Any], changed: Iterable[str]) -> dict[str, Any]:
    """Return the body that gives a live monitor the fields that it lacks."""
    keys = set(changed)
    if keys & {"authType", "httpUsername", "httpPassword"}:
        # How to log in is one thing.
        keys |= keys.union(wish.fields).intersection({"authType", "httpUsername", "httpPassword"})
    body = {key: wish.fields[key] for key in wish.fields if key in keys}
    if "tagNames" in keys:
        body["tagNames"] = wish.fields.get("tagNames") or sorted(tags_of(live) | wish.tags)
    if "config" in keys:
        found = live.get("config") or {}
        body["config"] = {
            key: value
            for key, value in wish.fields["config"].items()
            if not _same_setting(key, value, found.get(key)) or key == KINDS[wish.kind].config_required
        }
    limits = (live.get("regionalData") or {}).get("THRESHOLD")
    if "regionData" in keys and limits and "THRESHOLD" not in body["regionData"]:
        kept = {region: limit for region, limit in limits.items() if region in body["regionData"]["REGION"]}
        body["regionData"] = {**body["regionData"], **({"THRESHOLD": kept} if kept else {})}
    # What UptimeRobot wants again with each change, or else takes for its own default.
    companions = {"KEYWORD": ("keywordType", "keywordCaseType", "keywordValue"), "PORT": ("port",), "UDP": ("port",)}
    for key in companions.get(wish.kind, ()):
        value = wish.fields.get(key, live.get(key))
        if value is not None:
            body[key] = value
    if wish.kind in WEB_TYPES:
        body["httpMethodType"] = wish.fields.get("httpMethodType") or live.get("httpMethodType") or DEFAULT_METHOD
    if body.get("keywordCaseType") in KEYWORD_CASES:
        # A creation takes the words, a change the numbers.
        body["keywordCaseType"] = KEYWORD_CASES.index(body["keywordCaseType"])
    return body


# What is shown

HIDDEN = "(hidden)"
HIDDEN_CHANGED = "(hidden, changed)"


def shown(wish: Wish, live: Mapping[str, Any] | None, changed: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of a wish before and after, for a diff, without what is secret."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    keys = set(changed)
    fields = creation(wish) if live is None else dict(wish.fields)
    if "tagNames" in keys:
        fields.setdefault("tagNames", sorted(tags_of(live or {}) | wish.tags))
    for key, value in fields.items():
        found = None if live is None else live_field(key, live)
        if key == "httpPassword":
            before[key], after[key] = HIDDEN, HIDDEN_CHANGED if key in keys else HIDDEN
        elif key in keys or live is None:
            before[key], after[key] = _visible(key, found, wish), _visible(key, value, wish)
            if before[key] == after[key] and live is not None:
                after[key] = HIDDEN_CHANGED
        else:
            # The same thing in another spelling is no difference to look at.
            before[key] = after[key] = _visible(key, value, wish)
    return before, after


def _visible(key: str, value: Any, wish: Wish) -> Any:
    if key == "customHttpHeaders":
        known = {
            str(name).lower(): text
            for name, text in (wish.fields.get(key) or {}).items()
            if str(name).lower() not in wish.secret_headers
        }
        # A value that is there now may be an older secret: only what the task itself shows is shown.
        return {
            str(name).lower(): text if known.get(str(name).lower()) == text else HIDDEN
            for name, text in sorted((value or {}).items())
        }
    if key == "postValueData":
        return HIDDEN if value else value
    if key == "assignedAlertContacts":
        return {
            number: f"threshold {threshold}, recurrence {recurrence}"
            for number, (threshold, recurrence) in sorted(_canonical(key, value).items())
        }
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if key == "keywordCaseType" and value in (0, 1) and not isinstance(value, bool):
        return KEYWORD_CASES[value]
    if key == "config" and isinstance(value, Mapping):
        return {name: value[name] for name in sorted(value) if name in (wish.fields.get(key) or {})}
    return value


# What the plan allows


def beyond_plan(account: Mapping[str, Any], bodies: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[str]:
    """Return a sentence for each field of bodies to send that the account's plan does not have.

    A body comes with the monitor's title and type. What is not surely known of a plan is left to UptimeRobot to say.
    """
    plan = plan_of(account)
    label = plan.lower()
    found = []
    for title, kind_name, body in bodies:
        if not plan_has(account, kind_name):
            found.append(f"{title}: the plan {plan} has no monitors of the type {kind_name}")
        floor = FLOORS.get(label)
        interval = body.get("interval")
        if floor and interval is not None and interval < floor and kind_name != HEARTBEAT:
            found.append(
                f"{title}: interval is {interval}, and the plan {plan} allows {floor} s at least: set interval to "
                f"{floor} or more, or take another plan"
            )
        if label != FREE:
            continue
        if any(one["threshold"] or one["recurrence"] for one in body.get("assignedAlertContacts") or []):
            found.append(
                f"{title}: alert_contacts has a threshold or a recurrence, which the plan {plan} does not have: set "
                "both to 0"
            )
        if body.get("customFields"):
            found.append(f"{title}: custom_fields is nothing that the plan {plan} has: leave it out")
        for key, option in EXPIRY_OPTIONS.items():
            if body.get(key) or (body.get("config") or {}).get(key):
                found.append(f"{title}: {option} is nothing that the plan {plan} has: leave it out")
    return found


def plan_of(account: Mapping[str, Any]) -> str:
    """Return the label of an account's plan."""
    return str((account.get("activeSubscription") or {}).get("plan") or "")


def plan_has(account: Mapping[str, Any], kind_name: str) -> bool:
    """Tell whether a plan may have monitors of a type; True where nobody knows."""
    return not (plan_of(account).lower() == FREE and kind_name == HEARTBEAT)


def monitors_left(account: Mapping[str, Any]) -> int | None:
    """Return how many monitors the account may still make; None where it does not say."""
    limit = account.get("monitorLimit")
    if limit is None:
        limit = (account.get("activeSubscription") or {}).get("monitorLimit")
    used = account.get("monitorsCount")
    return None if limit is None or used is None else int(limit) - int(used)
