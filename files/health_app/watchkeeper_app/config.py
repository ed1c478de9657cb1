"""The configuration file ``app.yml``: its keys, their defaults and what is allowed.

Times are seconds, sizes are bytes, rates and ratios are from 0 to 1. Secrets are never in the file: keys that end in
``_file`` name files that hold them. ``load`` reads it all and names every problem at once.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from watchkeeper_app import __version__
from watchkeeper_app.scrub import scrub

_LONGEST_VALUE = 80
_AUTHORITY = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d+)?"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` says why, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _refuse(message: str) -> PydanticCustomError:
    # Braces would be taken for placeholders.
    return PydanticCustomError("refused", "{message}", {"message": message})


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise _refuse(f"{value!r} is no IP address; 127.0.0.1 listens on this host only, 0.0.0.0 on all") from None
    return value


def _absolute(value: str) -> str:
    # The value is not repeated: it may be the secret itself, put where its path belongs.
    if not value.startswith("/") or "\0" in value:
        raise _refuse("must be an absolute path")
    return value


def _absolute_or_empty(value: str) -> str:
    return _absolute(value) if value else value


def _port_fits(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _http_url(value: str) -> str:
    if not re.fullmatch(rf"https?://{_AUTHORITY}([/?][\x21-\x7e]*)?", value) or not _port_fits(value):
        raise _refuse("must be an http:// or https:// address, ASCII, without user name and password")
    return value


def _http_url_or_empty(value: str) -> str:
    return _http_url(value) if value else value


def _redis_url(value: str) -> str:
    pattern = rf"rediss?://{_AUTHORITY}(/\d*)?|unix:///[\w./-]+(\?db=\d+)?"
    if not re.fullmatch(pattern, value) or not _port_fits(value):
        raise _refuse(
            "must be redis://host:port/database, rediss:// for TLS or unix:///path?db=database; "
            "user name and password go into username and password_file"
        )
    return value


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,62}$")]
Text = Annotated[str, Field(max_length=1000)]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,255}$")]
HostOrDirectory = Annotated[str, Field(pattern=r"^([A-Za-z0-9_.:-]{1,255}|/[A-Za-z0-9_./-]{0,99})$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Limit = Annotated[float, Field(gt=0, le=30)]
Rate = Annotated[float, Field(ge=0, le=1)]
Status = Annotated[int, Field(ge=100, le=599)]
AbsolutePath = Annotated[str, AfterValidator(_absolute)]
OptionalPath = Annotated[str, AfterValidator(_absolute_or_empty)]


def read_secret(path: str) -> str:
    """The secret in a file, without the line ends after it; empty when no file is named.

    Raises ValueError when the file cannot be read or holds nothing.
    """
    if not path:
        return ""
    try:
        secret = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; must be a file that the app's account can read") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: must be a text file in UTF-8") from None
    if not secret:
        raise ValueError(f"{path}: the file is empty; must hold the secret")
    return secret


def read_headers(path: str) -> dict[str, str]:
    """The headers in a file of ``name: value`` lines; none when no file is named. Raises ValueError."""
    headers = {}
    for number, line in enumerate(read_secret(path).splitlines(), 1):
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or not value.strip().isprintable():
            raise ValueError(f"{path}: line {number} is no header; must be `name: value`")
        headers[name] = value.strip()
    return headers


class Section(BaseModel):
    """A part of the file. An unknown key is refused together with the list of the known ones."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        if isinstance(value, Mapping):
            unknown = [str(key) for key in value if key not in cls.model_fields]
            if unknown:
                raise _refuse(f"unknown key {', '.join(unknown)}; allowed are {', '.join(cls.model_fields)}")
        return value


class Check(Section):
    """What every check has: a name of its own, whether the service can do without, and its time limit in seconds."""

    name: Name
    critical: bool = True
    timeout: Limit = 2.0


class PostgresCheck(Check):
    """A query in a PostgreSQL database. `host` is a name, an address or the directory of the server's socket."""

    type: Literal["postgresql"]
    host: HostOrDirectory = "127.0.0.1"
    port: Port = 5432
    database: Annotated[str, Field(min_length=1, max_length=63)]
    user: Annotated[str, Field(min_length=1, max_length=63)]
    password_file: OptionalPath = ""
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"

    @cached_property
    def password(self) -> str:
        """The password, empty without a file."""
        return read_secret(self.password_file)


class RedisCheck(Check):
    """A key written to Redis and read back."""

    type: Literal["redis"]
    url: Annotated[str, AfterValidator(_redis_url)] = "redis://127.0.0.1:6379/0"
    username: Annotated[str, Field(max_length=255)] = ""
    password_file: OptionalPath = ""

    @cached_property
    def password(self) -> str:
        """The password, empty without a file."""
        return read_secret(self.password_file)


class HttpCheck(Check):
    """A GET request: one of the status codes, and `contains` in the first 64 KiB of the answer unless it is empty."""

    type: Literal["http"]
    url: Annotated[str, AfterValidator(_http_url)]
    status: Annotated[list[Status], Field(min_length=1)] = [200]
    contains: Text = ""


class TcpCheck(Check):
    """A TCP connection that is accepted."""

    type: Literal["tcp"]
    host: Host
    port: Port


class DiskCheck(Check):
    """Free space of a file system, in percent of what its users may fill, as `df` counts."""

    type: Literal["disk"]
    path: AbsolutePath = "/"
    free_percent: Annotated[float, Field(gt=0, lt=100)] = 5.0


AnyCheck = Annotated[
    PostgresCheck | RedisCheck | HttpCheck | TcpCheck | DiskCheck,
    Field(discriminator="type"),
]
CHECKS: tuple[str, ...] = tuple(
    get_args(model.model_fields["type"].annotation)[0] for model in get_args(get_args(AnyCheck)[0])
)


class Listen(Section):
    """Where the app answers."""

    address: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    port: Port = 8000


class Health(Section):
    """For how many seconds probes share one result; with 0 only those that arrive while the checks run share it."""

    cache: Annotated[float, Field(ge=0, le=60)] = 1.0


class Logging(Section):
    """Where logs go: standard output always, and files in `directory`, which are turned over at `max_bytes`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    directory: OptionalPath = ""
    max_bytes: Annotated[int, Field(ge=4096, le=1 << 30)] = 5 * 1024 * 1024
    backups: Annotated[int, Field(ge=1, le=100)] = 5


class Errors(Section):
    """Error tracking, off without a DSN. A rate of null is 0.1 in production and 1.0 elsewhere."""

    dsn_file: OptionalPath = ""
    traces_sample_rate: Rate | None = None
    profiles_sample_rate: Rate | None = None

    @cached_property
    def dsn(self) -> str:
        """The DSN, empty without a file."""
        return read_secret(self.dsn_file)


class Tracing(Section):
    """Traces over OTLP, off without an endpoint. The headers' file has ``name: value`` lines."""

    otlp_endpoint: Annotated[str, AfterValidator(_http_url_or_empty)] = ""
    sample_ratio: Rate | None = None
    headers_file: OptionalPath = ""

    @cached_property
    def headers(self) -> dict[str, str]:
        """The headers, none without a file."""
        return read_headers(self.headers_file)


class NewRelic(Section):
    """New Relic's agent, off without its configuration file."""

    config_file: OptionalPath = ""


class Config(Section):
    """The whole file."""

    service: Label = "backend"
    environment: Label = "production"
    version: Label = __version__
    listen: Listen = Listen()
    health: Health = Health()
    checks: list[AnyCheck] = []
    logging: Logging = Logging()
    errors: Errors = Errors()
    tracing: Tracing = Tracing()
    newrelic: NewRelic = NewRelic()
    demo: bool = False


def load(path: Path) -> Config:
    """The configuration in a file, with its secrets. Raises ConfigError with every problem found."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}; must be a file that the app's account can read"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: must be a text file in UTF-8"]) from None
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError([f"line {line}: no valid YAML: {error.problem}"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"no valid YAML: {error}"]) from None
    return parse({} if data is None else data)


def parse(data: object) -> Config:
    """The configuration from its data. Raises ConfigError with every problem found."""
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError([_problem(details) for details in error.errors()]) from None
    problems = [*_names(config), *_demo(config), *_secrets(config)]
    if problems:
        raise ConfigError(problems)
    return config


def _problem(details: ErrorDetails) -> str:
    """One line for an error of the models: the key, the value and what is allowed."""
    kind, context = details["type"], details.get("ctx", {})
    where = list(details["loc"])
    if where[:1] == ["checks"] and len(where) > 2:
        # Behind the number of a check stands its type, which is no key.
        del where[2]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        where.append("type")
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
    prefix = f"{key}: " if key else ""
    if kind == "union_tag_invalid":
        return f"{prefix}{context['tag']!r} is not allowed; must be one of {context['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"{prefix}missing; must be one of {', '.join(map(repr, CHECKS))}"
    if kind == "missing":
        return f"{prefix}missing; must be set"
    if kind == "refused":
        return f"{prefix}{details['msg']}"
    allowed = re.sub(r"^\w+ should ", "", details["msg"])
    return f"{prefix}{_shown(details['input'])} is not allowed; must {allowed}"


def _shown(value: object) -> str:
    text = repr(scrub(value))
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _names(config: Config) -> Iterator[str]:
    first: dict[str, int] = {}
    for number, check in enumerate(config.checks):
        other = first.setdefault(check.name, number)
        if other != number:
            yield f"checks[{number}].name: {check.name!r} is the name of checks[{other}] too; names must be unique"


def _demo(config: Config) -> Iterator[str]:
    for kind in ("postgresql", "redis"):
        if config.demo and not any(check.type == kind for check in config.checks):
            yield f"demo: true needs a check of type {kind!r} in checks"


def _secrets(config: Config) -> Iterator[str]:
    readers: list[tuple[str, Any, str]] = [
        (f"checks[{number}].password_file", check, "password")
        for number, check in enumerate(config.checks)
        if isinstance(check, PostgresCheck | RedisCheck)
    ]
    readers += [("errors.dsn_file", config.errors, "dsn"), ("tracing.headers_file", config.tracing, "headers")]
    for key, section, attribute in readers:
        try:
            getattr(section, attribute)
        except ValueError as error:
            yield f"{key}: {error}"
