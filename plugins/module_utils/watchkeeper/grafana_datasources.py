"""Grafana's data sources as data: what is wrong with a declaration, what a live one lacks, and the body that mends it.

Nothing here talks to Grafana. A declaration is one item of the module `grafana_datasource`; what it does not name, or
names as null, is not asserted.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import json
import re
import secrets as random
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DIGEST = "watchkeeperSecretsDigest"
CORRELATIONS = "watchkeeperCorrelations"
RESERVED = (DIGEST, CORRELATIONS)
ACCESS = ("proxy", "direct")
UID = re.compile(r"[a-zA-Z0-9_-]{1,40}")
# What Grafana calls a type that people know under an older name.
ALIASES = {
    "postgres": "grafana-postgresql-datasource",
    "testdata": "grafana-testdata-datasource",
    "phlare": "grafana-pyroscope-datasource",
}
# Option of a declaration, and its key in the API.
FIELDS = {
    "name": "name",
    "type": "type",
    "url": "url",
    "access": "access",
    "user": "user",
    "database": "database",
    "basic_auth": "basicAuth",
    "basic_auth_user": "basicAuthUser",
    "with_credentials": "withCredentials",
    "is_default": "isDefault",
}
# An update with an empty value leaves these as they are.
NOT_CLEARED = {"url": "url", "basicAuthUser": "basic_auth_user"}
# What an answer says beyond what an update takes.
NOT_SENT = ("id", "orgId", "typeLogoUrl", "typeName", "secureJsonFields", "accessControl", "readOnly")
# Where these change, Grafana gets the secrets again.
TELLS_SECRETS_ANEW = ("url", "user", "basicAuthUser")
HIDDEN = "(hidden)"
HIDDEN_CHANGED = "(hidden, changed)"


@dataclass(frozen=True)
class Kind:
    """What is known of a type: its URL's form, the keys of settings and secrets, what is needed, the values of some."""

    url: str
    keys: Sequence[str] = ()
    hidden: Sequence[str] = ()
    required: tuple[str, ...] = ()
    choices: tuple[tuple[str, tuple[str, ...]], ...] = ()


_HTTP_KEYS = """
tlsAuth tlsAuthWithCACert tlsSkipVerify serverName oauthPassThru keepCookies timeout teamHttpHeaders
enableSecureSocksProxy secureSocksProxyUsername manageAlerts alertmanagerUid sigV4Auth sigV4AuthType sigV4Region
sigV4Profile sigV4AssumeRoleArn sigV4ExternalId azureCredentials azureAuthType pdcInjected
"""
_HTTP_HIDDEN = """
basicAuthPassword tlsCACert tlsClientCert tlsClientKey sigV4AccessKey sigV4SecretKey secureSocksProxyPassword
"""
_SQL_KEYS = """
database maxOpenConns maxIdleConns maxIdleConnsAuto connMaxLifetime timeInterval enableSecureSocksProxy tlsAuth
"""
_SQL_HIDDEN = "password tlsCACert tlsClientCert tlsClientKey"
_TRACE_KEYS = """
tracesToLogs tracesToLogsV2 tracesToMetrics tracesToProfiles nodeGraph spanBar traceQuery traceIdTimeParams
"""


def _http(keys: str, hidden: str = "", choices: tuple[tuple[str, tuple[str, ...]], ...] = ()) -> Kind:
    return Kind("http", (_HTTP_KEYS + keys).split(), (_HTTP_HIDDEN + hidden).split(), (), choices)


KINDS = {
    "prometheus": _http(
        """
        httpMethod timeInterval queryTimeout prometheusType prometheusVersion cacheLevel incrementalQuerying
        incrementalQueryOverlapWindow disableRecordingRules disableMetricsLookup customQueryParameters
        exemplarTraceIdDestinations defaultEditor seriesEndpoint seriesLimit codeModeMetricNamesSuggestionLimit
        allowAsRecordingRulesTarget maxSamplesProcessedWarningThreshold maxSamplesProcessedErrorThreshold
        """,
        choices=(
            ("httpMethod", ("POST", "GET")),
            ("prometheusType", ("Prometheus", "Cortex", "Mimir", "Thanos")),
            ("cacheLevel", ("Low", "Medium", "High", "None")),
            ("defaultEditor", ("builder", "code")),
        ),
    ),
    "loki": _http("maxLines derivedFields predefinedOperations"),
    "alertmanager": _http(
        "implementation handleGrafanaManagedAlerts",
        choices=(("implementation", ("prometheus", "mimir", "cortex")),),
    ),
    "tempo": _http(_TRACE_KEYS + "serviceMap search lokiSearch streamingEnabled timeRangeForTags tagLimit"),
    "jaeger": _http(_TRACE_KEYS),
    "elasticsearch": _http(
        """
        index interval timeField esVersion maxConcurrentShardRequests logMessageField logLevelField timeInterval
        dataLinks includeFrozen xpack apiKeyAuth defaultQueryMode
        """,
        "apiKey",
    ),
    "influxdb": _http(
        """
        version dbName httpMode httpMethod organization defaultBucket maxSeries insecureGrpc timeInterval product
        showTagTime metadata
        """,
        "password token",
        (("version", ("InfluxQL", "Flux", "SQL")), ("httpMode", ("GET", "POST"))),
    ),
    "graphite": _http(
        "graphiteVersion graphiteType rollupIndicatorEnabled importConfiguration",
        choices=(("graphiteType", ("default", "metrictank")),),
    ),
    "grafana-postgresql-datasource": Kind(
        "host",
        f"""
        {_SQL_KEYS} sslmode tlsConfigurationMethod sslRootCertFile sslCertFile sslKeyFile postgresVersion timescaledb
        """.split(),
        _SQL_HIDDEN.split(),
        ("database", "user"),
        (
            ("sslmode", ("disable", "require", "verify-ca", "verify-full")),
            ("tlsConfigurationMethod", ("file-path", "file-content")),
        ),
    ),
    "mysql": Kind(
        "host",
        (_SQL_KEYS + "tlsAuthWithCACert tlsSkipVerify timezone allowCleartextPasswords").split(),
        _SQL_HIDDEN.split(),
        ("user",),
    ),
    "grafana-testdata-datasource": Kind(""),
}
_NUMBERED = re.compile(r"httpHeader(Name|Value)\d+")
# Keys that hold a secret in one type or another: everybody who may query a source may read its settings.
SECRET_KEYS = {key for kind in KINDS.values() for key in kind.hidden} - {"tlsCACert", "tlsClientCert"}


# What is wrong with declarations


def canonical_type(name: str) -> str:
    """Return the name under which Grafana keeps a type."""
    return ALIASES.get(name, name)


def title_of(item: Mapping[str, Any]) -> str:
    """Return how a declaration is called in messages."""
    return f"data source {item.get('name') or item.get('uid') or '(without a name)'!s}"


def problems(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for everything that is wrong with declarations, taken one by one and together."""
    found = [problem for item in items for problem in _problems_of(item)]
    present = [item for item in items if item.get("state", "present") != "absent"]
    # One that goes may have the name of one that comes.
    for what, some in (("uid", items), ("name", present)):
        for value, count in Counter(item.get(what) for item in some if item.get(what)).items():
            if count > 1:
                found.append(f"{count} data sources have the {what} {value}; each needs its own")
    defaults = [str(item.get("name")) for item in present if item.get("is_default")]
    if len(defaults) > 1:
        found.append(f"data sources {', '.join(defaults)}: each has is_default, and only one can be the default")
    return found


def _problems_of(item: Mapping[str, Any]) -> list[str]:
    who = title_of(item)
    absent = item.get("state", "present") == "absent"
    found = []
    if not item.get("name") and not (absent and item.get("uid")):
        found.append(f"{who}: name is missing")
    uid = item.get("uid")
    if uid and not UID.fullmatch(str(uid)):
        found.append(f"{who}: uid is {uid!r}; Grafana allows 1 to 40 letters, digits, - and _")
    if absent:
        return found
    kind_name = item.get("type")
    if not kind_name:
        return [*found, f"{who}: type is missing, for example prometheus, loki or postgres"]
    if item.get("access") not in (None, *ACCESS):
        found.append(f"{who}: access is {item['access']!r}; it must be one of {', '.join(ACCESS)}")
    if item.get("basic_auth") and not item.get("basic_auth_user"):
        found.append(f"{who}: basic_auth needs basic_auth_user")
    settings, hidden = _mapping(item, "json_data"), _mapping(item, "secure_json_data")
    for key in (item.get("json_data") or {}).keys() if isinstance(item.get("json_data"), Mapping) else ():
        if key in RESERVED:
            found.append(f"{who}: json_data.{key} is written by this module alone")
        elif key in SECRET_KEYS:
            found.append(
                f"{who}: json_data.{key} is a secret, and everybody who may query the data source could read it there; "
                f"move it to secure_json_data.{key}"
            )
    for key, value in hidden.items():
        if isinstance(value, (Mapping, list)):
            found.append(f"{who}: secure_json_data.{key} must be text")
    for key in settings:
        twin = str(key).replace("Name", "Value")
        if _NUMBERED.fullmatch(str(key)) and item.get("secure_json_data") is not None and twin not in hidden:
            found.append(f"{who}: json_data.{key} names a header whose value secure_json_data.{twin} is missing")
    kind = KINDS.get(canonical_type(str(kind_name)))
    if kind:
        found += _problems_of_kind(item, kind, settings, hidden)
    found += _problems_of_correlations(item)
    return found


def _mapping(item: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = item.get(name)
    return {key: data for key, data in value.items() if data is not None} if isinstance(value, Mapping) else {}


def _problems_of_kind(
    item: Mapping[str, Any], kind: Kind, settings: Mapping[str, Any], hidden: Mapping[str, Any]
) -> list[str]:
    who, found = title_of(item), []
    problem = _url_problem(str(item.get("url") or ""), kind.url)
    if problem:
        found.append(f"{who}: {problem}")
    for key in kind.required:
        if not settings.get(key) and not item.get(key):
            place = key if key in FIELDS and key != "database" else f"json_data.{key}"
            found.append(f"{who}: {place} is missing; the type {item['type']} needs it")
    for key, allowed in kind.choices:
        if key in settings and settings[key] not in allowed:
            found.append(f"{who}: json_data.{key} is {settings[key]!r}; it must be one of {', '.join(allowed)}")
    for where, given, known in (("json_data", settings, kind.keys), ("secure_json_data", hidden, kind.hidden)):
        for key in given if known else ():
            # A newer Grafana may know more keys: only what looks like a slip is one.
            close = [] if key in known or _NUMBERED.fullmatch(str(key)) else _slip(str(key), known)
            if close and not (where == "json_data" and key in SECRET_KEYS):
                found.append(f"{who}: {where}.{key} is not known to the type {item['type']}; did you mean {close[0]}?")
    return found


def _slip(key: str, known: Iterable[str]) -> list[str]:
    same_letters = [name for name in known if name.lower() == key.replace("_", "").lower()]
    return same_letters or difflib.get_close_matches(key, known, 1, 0.88)


def _url_problem(url: str, form: str) -> str:
    if form == "http":
        if not url:
            return "url is missing, for example http://127.0.0.1:9090"
        try:
            parts = urllib.parse.urlsplit(url)
        except ValueError:  # a bracket without its other one
            parts = urllib.parse.urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return f"url is {url!r}; it must start with http:// or https:// and name a host"
        if parts.password is not None:
            return "url holds a password, and everybody who may see the data source could read it; use secure_json_data"
    if form == "host":
        if not url:
            return "url is missing, for example db1.example.com:5432"
        if "://" in url or ("/" in url and not url.startswith("/")):
            return f"url is {url!r}; this type takes host:port, without a scheme and without the database's name"
    return ""


def _problems_of_correlations(item: Mapping[str, Any]) -> list[str]:
    who, found = title_of(item), []
    correlations = item.get("correlations") or []
    for number, wish in enumerate(correlations):
        where = f"{who}: correlations[{number}]"
        kind = wish.get("type") or "query"
        target = wish.get("target_uid")
        if kind == "query" and not target:
            found.append(f"{where}: target_uid is missing; a correlation of the type query leads to a data source")
        elif target and not UID.fullmatch(str(target)):
            found.append(f"{where}: target_uid is {target!r}; Grafana allows 1 to 40 letters, digits, - and _")
        config = wish.get("config") or {}
        if not config.get("field") or not isinstance(config.get("target"), Mapping):
            found.append(f"{where}: config needs field (the result's field that gets the link) and target (the query)")
        for step in config.get("transformations") or []:
            if step.get("type") not in ("regex", "logfmt"):
                found.append(f"{where}: a transformation is {step.get('type')!r}; it must be regex or logfmt")
            elif step["type"] == "regex" and not step.get("expression"):
                found.append(f"{where}: a transformation of the type regex needs an expression")
    for who_twice, count in Counter(identity(wish) for wish in correlations).items():
        if count > 1:
            found.append(f"{who}: {count} correlations lead to {who_twice}; give each another label")
    return found


# Which live one is meant


def matching(item: Mapping[str, Any], live: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the live data source that a declaration means: that with its uid, or without a uid that with its name."""
    key = "uid" if item.get("uid") else "name"
    return next((one for one in live if one.get(key) == item[key]), None)


def namesake(item: Mapping[str, Any], live: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the live data source that has a declaration's name and is another one by its uid."""
    if not item.get("uid"):
        return None
    return next((one for one in live if one.get("name") == item.get("name") and one.get("uid") != item["uid"]), None)


# What it lacks


def list_can_tell(item: Mapping[str, Any], listed: Mapping[str, Any]) -> bool:
    """Tell whether the list of data sources says all that a declaration asserts."""
    wanted = {key for option, key in FIELDS.items() if item.get(option) is not None}
    if item.get("secure_json_data") is not None:
        wanted.add("secureJsonFields")
    return wanted <= set(listed)


def merged(live: Any, wish: Any) -> Any:
    """Lay asserted settings over live ones, mapping by mapping; a null takes a key away."""
    if not isinstance(wish, Mapping):
        return wish
    result = dict(live) if isinstance(live, Mapping) else {}
    for key, value in wish.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def asserted(live: Any, wish: Any) -> Any:
    """Return that part of live settings that a declaration speaks of."""
    if not isinstance(wish, Mapping):
        return live
    found = live if isinstance(live, Mapping) else {}
    return {key: asserted(found[key], value) for key, value in wish.items() if key in found}


@dataclass(frozen=True)
class Secrets:
    """What a declaration says of secrets, and when they are to be sent: on_change, always or on_create."""

    values: Mapping[str, str] | None
    key: str = ""
    mode: str = "on_change"

    @classmethod
    def of(cls, item: Mapping[str, Any], key: str, mode: str) -> Secrets:
        """Return those of a declaration; an empty secret is one that is not there."""
        given = item.get("secure_json_data")
        if given is None:
            return cls(None, key, mode)
        return cls({str(name): str(value) for name, value in given.items() if value not in (None, "")}, key, mode)

    def digest(self, salt: bytes | None = None) -> str:
        """Return what tells these secrets from others without telling them: `1:<salt>:<keyed hash of a slow hash>`."""
        salt = random.token_bytes(16) if salt is None else salt
        text = json.dumps(self.values, sort_keys=True, ensure_ascii=True).encode()
        slow = hashlib.scrypt(text, salt=salt, n=2**14, r=8, p=1)
        return f"1:{salt.hex()}:{hmac.new(self.key.encode(), slow, hashlib.sha256).hexdigest()}"

    def matches(self, digest: Any) -> bool:
        """Tell whether a digest is one of these secrets under this key."""
        parts = str(digest).split(":")
        try:
            salt = bytes.fromhex(parts[1]) if len(parts) == 3 and parts[0] == "1" else None
        except ValueError:
            salt = None
        return salt is not None and hmac.compare_digest(self.digest(salt), str(digest))

    def to_send(self, live: Mapping[str, Any] | None, resend: bool = False) -> dict[str, str] | None:
        """Return the secrets that Grafana has to be sent, those to be cleared as "", None when it has them all."""
        if self.values is None or (live is not None and self.mode == "on_create"):
            return None
        there = {name for name, is_set in ((live or {}).get("secureJsonFields") or {}).items() if is_set}
        stale = dict.fromkeys(there - set(self.values), "")
        if live is None or resend or self.mode == "always" or stale or set(self.values) - there:
            return {**self.values, **stale} or None
        settings = live.get("jsonData") or {}
        return None if not self.values or self.matches(settings.get(DIGEST)) else dict(self.values)


@dataclass(frozen=True)
class Change:
    """A data source before and after, both for people, and the body that Grafana has to be sent; no body, no change.

    `fields` are those that differ, by their names in the API.
    """

    before: dict[str, Any] | None
    after: dict[str, Any]
    body: dict[str, Any] | None
    fields: tuple[str, ...] = ()


def creation(item: Mapping[str, Any], secrets: Secrets) -> Change:
    """Return what makes a data source that is not there."""
    body: dict[str, Any] = {"access": "proxy"}
    body.update({key: item[option] for option, key in FIELDS.items() if item.get(option) is not None})
    body["type"] = canonical_type(body["type"])
    if item.get("uid"):
        body["uid"] = item["uid"]
    settings = merged({}, item.get("json_data") or {})
    shown = {**body, **({"jsonData": settings} if settings else {})}
    sent = secrets.to_send(None)
    if sent:
        shown["secureJsonData"] = dict.fromkeys(sorted(sent), HIDDEN)
        settings = {**settings, DIGEST: secrets.digest()}
        body["secureJsonData"] = sent
    if item.get("correlations"):
        settings = {**settings, CORRELATIONS: sorted(map(identity, item["correlations"]))}
    return Change(None, shown, {**body, "jsonData": settings})


def update(item: Mapping[str, Any], live: Mapping[str, Any], secrets: Secrets) -> Change:
    """Compare what a declaration asserts with a live data source; raise ValueError for what Grafana cannot do."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    body = sendable(live)
    differing = []
    for option, key in FIELDS.items():
        wish, value = item.get(option), live.get(key)
        if wish is None:
            continue
        if key == "type":
            wish, value = canonical_type(wish), canonical_type(str(value))
        elif value is None:
            value = False if isinstance(wish, bool) else ""
        before[key], after[key] = value, wish
        if wish == value:
            continue
        if wish == "" and key in NOT_CLEARED:
            raise ValueError(
                f"{title_of(item)}: {NOT_CLEARED[key]} cannot be emptied: Grafana keeps it ({value!r}) when an update "
                "has it empty. Leave it out, or remove the data source and create it anew"
            )
        differing.append(key)
        body[key] = wish
    settings = live.get("jsonData") or {}
    new = merged(settings, item.get("json_data") or {})
    if item.get("json_data"):
        wished = item["json_data"]
        before["jsonData"], after["jsonData"] = asserted(settings, wished), asserted(new, wished)
    if not same(settings, new):
        differing.append("jsonData")
    resend = secrets.mode == "on_change" and any(key in TELLS_SECRETS_ANEW for key in differing)
    needed = secrets.to_send(live)
    sent = secrets.to_send(live, resend) if resend else needed
    if secrets.values is not None and secrets.mode != "on_create":
        there = {name: HIDDEN for name, is_set in (live.get("secureJsonFields") or {}).items() if is_set}
        # Secrets that only go along with another change are the same as before.
        shown = HIDDEN if needed is None else HIDDEN_CHANGED
        before["secureJsonData"], after["secureJsonData"] = there, dict.fromkeys(secrets.values, shown)
    if sent is not None:
        body["secureJsonData"] = sent
        new = {key: value for key, value in new.items() if key != DIGEST}
        if secrets.values:
            new[DIGEST] = secrets.digest()
        if needed is not None:
            differing.append("secureJsonData")
    if not differing:
        return Change(before, after, None)
    if body.get("isDefault") is False and body.get("ordinal") == 1:
        # Grafana takes this rank for the wish to be the default.
        del body["ordinal"]
    return Change(before, after, {**body, "jsonData": new}, tuple(differing))


def sendable(live: Mapping[str, Any]) -> dict[str, Any]:
    """Return a live data source as the body of an update that changes nothing."""
    return {key: value for key, value in live.items() if key not in NOT_SENT}


def recorded(live: Mapping[str, Any], owned: Iterable[str]) -> dict[str, Any]:
    """Return the body that notes in a data source which of its correlations are ours."""
    settings = merged(live.get("jsonData") or {}, {CORRELATIONS: sorted(owned) or None})
    return {**sendable(live), "jsonData": settings}


def as_before(found: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body that makes a data source what it was; its secrets, and so their digest, stay as they are now."""
    settings = {key: value for key, value in (found.get("jsonData") or {}).items() if key != DIGEST}
    digest = (live.get("jsonData") or {}).get(DIGEST)
    return {
        **sendable(found),
        "version": live.get("version"),
        "jsonData": {**settings, DIGEST: digest} if digest else settings,
    }


def same(one: Any, other: Any) -> bool:
    """Compare settings: true is not 1, and null or an empty mapping is the same as nothing at all."""
    if isinstance(one, Mapping) or isinstance(other, Mapping):
        left = one if isinstance(one, Mapping) else {}
        right = other if isinstance(other, Mapping) else {}
        both_are_mappings = (one is None or left is one) and (other is None or right is other)
        return both_are_mappings and all(same(left.get(key), right.get(key)) for key in {*left, *right})
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


# Correlations


def identity(correlation: Mapping[str, Any]) -> str:
    """Return what tells a correlation of one data source from its others; declared and live ones have the same."""
    target = correlation.get("target_uid") or correlation.get("targetUID") or ""
    return f"{target}/{correlation.get('label') or ''}"


def correlation_body(wish: Mapping[str, Any]) -> dict[str, Any]:
    """Return a declared correlation as the API takes it."""
    config = wish["config"]
    body = {
        "label": wish.get("label") or "",
        "description": wish.get("description") or "",
        "type": wish.get("type") or "query",
        "config": {
            "field": config["field"],
            "target": config["target"],
            # An empty list clears, nothing at all would leave them as they are.
            "transformations": [_without_nothing(step) for step in config.get("transformations") or []],
        },
    }
    return {**body, "targetUID": wish["target_uid"]} if wish.get("target_uid") else body


def correlation_differs(wish: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Tell whether a live correlation is not what is declared."""
    body, config = correlation_body(wish), live.get("config") or {}
    now = {
        "label": live.get("label") or "",
        "description": live.get("description") or "",
        # Older versions keep the type in the configuration.
        "type": live.get("type") or config.get("type") or "query",
        "config": {
            "field": config.get("field"),
            "target": config.get("target") or {},
            "transformations": [_without_nothing(step) for step in config.get("transformations") or []],
        },
    }
    body.pop("targetUID", None)
    return not same(body, now)


def _without_nothing(step: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if value not in (None, "")}


@dataclass(frozen=True)
class Correlations:
    """What a data source's correlations need: those to make, those to change (uid and body), those to remove (uid)."""

    create: tuple[dict[str, Any], ...]
    change: tuple[tuple[str, dict[str, Any]], ...]
    remove: tuple[str, ...]
    # The identities of all that are declared.
    wanted: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.create or self.change or self.remove)


def compare_correlations(
    wishes: Sequence[Mapping[str, Any]], live: Sequence[Mapping[str, Any]], owned: Iterable[str]
) -> Correlations:
    """Compare declared correlations with live ones; of the latter only `owned` ones are ever removed."""
    by_identity: dict[str, Mapping[str, Any]] = {}
    for one in live:
        by_identity.setdefault(identity(one), one)
    wanted = {identity(wish): wish for wish in wishes}
    create = tuple(correlation_body(wish) for key, wish in wanted.items() if key not in by_identity)
    change = tuple(
        (
            by_identity[key]["uid"],
            {name: value for name, value in correlation_body(wish).items() if name != "targetUID"},
        )
        for key, wish in wanted.items()
        if key in by_identity and correlation_differs(wish, by_identity[key])
    )
    left_over = set(owned) - set(wanted)
    remove = tuple(one["uid"] for one in live if identity(one) in left_over)
    return Correlations(create, change, remove, frozenset(wanted))
