"""What Promtail's documentation allows in the parts of its configuration that the project writes.

The table stands for the page on its configuration and those on its stages: keys, whether they must be there, and the
form of their values. It is written by hand and knows nothing of the code that it judges; a key that is not in it is
refused, as Promtail refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

# Judges a value at a path and returns what is wrong with it.
Form = Callable[[Any, str], list[str]]

LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
DURATION = r"(\d+(\.\d+)?(ns|us|ms|s|m|h))+"


def text(pattern: str = r"(?s).+") -> Form:
    """A text that fits an expression as a whole."""

    def judge(value: Any, path: str) -> list[str]:
        fits = isinstance(value, str) and re.fullmatch(pattern, value)
        return [] if fits else [f"{path}: {value!r} is no text like {pattern}"]

    return judge


def number(least: int = 0) -> Form:
    """A whole number."""

    def judge(value: Any, path: str) -> list[str]:
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
        return [] if fits else [f"{path}: {value!r} is no number from {least}"]

    return judge


def flag(value: Any, path: str) -> list[str]:
    """True or false."""
    return [] if isinstance(value, bool) else [f"{path}: {value!r} is neither true nor false"]


def expression(value: Any, path: str) -> list[str]:
    """A regular expression; those of the tests mean the same in Go and in Python."""
    wrong = text()(value, path)
    if not wrong:
        try:
            re.compile(value)
        except re.error as error:
            wrong = [f"{path}: {value!r} does not compile: {error}"]
    return wrong


def items(form: Form, least: int = 1) -> Form:
    """A list."""

    def judge(value: Any, path: str) -> list[str]:
        if not isinstance(value, list) or len(value) < least:
            return [f"{path}: {value!r} is no list of {least} and more"]
        return [wrong for index, item in enumerate(value) for wrong in form(item, f"{path}[{index}]")]

    return judge


def names(form: Form, key: str = LABEL) -> Form:
    """A mapping from names of the user's choice."""

    def judge(value: Any, path: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is no mapping"]
        found = [wrong for name in value for wrong in text(key)(name, f"{path} (name)")]
        return found + [wrong for name, item in value.items() for wrong in form(item, f"{path}.{name}")]

    return judge


def keys(required: Mapping[str, Form], optional: Mapping[str, Form] | None = None) -> Form:
    """A mapping with keys of Promtail's."""
    known = {**required, **(optional or {})}

    def judge(value: Any, path: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is no mapping"]
        found = [f"{path}.{key} is not known to Promtail" for key in value if key not in known]
        found += [f"{path}.{key} is missing" for key in required if key not in value]
        return found + [wrong for key in value if key in known for wrong in known[key](value[key], f"{path}.{key}")]

    return judge


def one_of(*allowed: str) -> Form:
    """One of some words."""
    return text("|".join(map(re.escape, allowed)))


def pipeline(value: Any, path: str) -> list[str]:
    """Stages: each is a mapping with one key, the kind of stage."""
    found = items(lambda item, where: [] if isinstance(item, dict) and len(item) == 1 else [f"{where}: not one key"])(
        value, path
    )
    if found:
        return found
    for index, item in enumerate(value):
        for kind, options in item.items():
            where = f"{path}[{index}].{kind}"
            found += STAGES[kind](options, where) if kind in STAGES else [f"{where} is no stage of Promtail's"]
    return found


any_text = text(r"(?s).*")
STAGES: dict[str, Form] = {
    "multiline": keys({"firstline": expression}, {"max_wait_time": text(DURATION), "max_lines": number(1)}),
    "replace": keys({"expression": expression}, {"source": text(), "replace": any_text}),
    "json": keys({"expressions": names(text())}, {"source": text(), "drop_malformed": flag}),
    "regex": keys({"expression": expression}, {"source": text()}),
    "template": keys({"source": text(), "template": any_text}),
    "timestamp": keys(
        {"source": text(), "format": text()},
        {
            "fallback_formats": items(text()),
            "location": text(r"[A-Za-z_]+(/[A-Za-z_+-]+)*"),
            "action_on_failure": one_of("skip", "fudge"),
        },
    ),
    "labels": names(text()),
    "structured_metadata": names(text()),
    "static_labels": names(text()),
    "drop": keys({}, {"source": text(), "expression": expression, "drop_counter_reason": text(r"[a-z_]+")}),
    "match": keys(
        {"selector": text(r"(?s)\{.*\}.*")},
        {
            "stages": pipeline,
            "pipeline_name": text(),
            "action": one_of("keep", "drop"),
            "drop_counter_reason": text(),
        },
    ),
}

RELABEL = keys(
    {},
    {
        "source_labels": items(text(LABEL)),
        "separator": any_text,
        "target_label": text(LABEL),
        "regex": expression,
        "replacement": any_text,
        "action": one_of("replace", "keep", "drop", "hashmod", "labelmap", "labeldrop", "labelkeep"),
    },
)
JOURNAL = keys(
    {}, {"json": flag, "max_age": text(DURATION), "labels": names(text()), "path": text("/.*"), "matches": text()}
)
DOCKER = keys(
    {"host": text(r"(unix|tcp|http|https)://.+")},
    {"port": number(), "refresh_interval": text(DURATION), "host_networking_host": text()},
)
CLIENT = keys(
    {"url": text(r"https?://.+/loki/api/v1/push")},
    {
        "tenant_id": text(),
        "batchwait": text(DURATION),
        "batchsize": number(1),
        "basic_auth": keys({"username": text()}, {"password_file": text("/.+")}),
        "backoff_config": keys(
            {}, {"min_period": text(DURATION), "max_period": text(DURATION), "max_retries": number()}
        ),
        "drop_rate_limited_batches": flag,
        "external_labels": names(text()),
        "timeout": text(DURATION),
    },
)
SCRAPE = keys(
    {"job_name": text()},
    {
        "pipeline_stages": pipeline,
        "journal": JOURNAL,
        "relabel_configs": items(RELABEL),
        "static_configs": items(
            keys({"labels": names(text())}, {"targets": items(text())}),
        ),
        "docker_sd_configs": items(DOCKER),
    },
)
PROMTAIL = keys(
    {"clients": items(CLIENT), "scrape_configs": items(SCRAPE, 0)},
    {
        "server": keys(
            {},
            {
                "disable": flag,
                "profiling_enabled": flag,
                "http_listen_address": text(r"[0-9a-f.:]+|localhost"),
                "http_listen_port": number(),
                "grpc_listen_address": text(r"[0-9a-f.:]+|localhost"),
                "grpc_listen_port": number(),
                "register_instrumentation": flag,
                "graceful_shutdown_timeout": text(DURATION),
                "log_level": one_of("debug", "info", "warn", "error"),
                "health_check_target": flag,
                "enable_runtime_reload": flag,
            },
        ),
        "positions": keys({}, {"filename": text("/.+"), "sync_period": text(DURATION), "ignore_invalid_yaml": flag}),
        "limits_config": keys(
            {},
            {
                "readline_rate_enabled": flag,
                "readline_rate": number(1),
                "readline_burst": number(1),
                "readline_rate_drop": flag,
                "max_streams": number(),
                "max_line_size": number(),
                "max_line_size_truncate": flag,
            },
        ),
        "target_config": keys({}, {"sync_period": text(DURATION)}),
        "tracing": keys({}, {"enabled": flag}),
    },
)


def faults(document: Any) -> list[str]:
    """Return everything in a configuration that Promtail does not know or would read otherwise."""
    found = PROMTAIL(document, "promtail")
    if found:
        return found
    jobs = [job["job_name"] for job in document["scrape_configs"]]
    return [f"two jobs are named {job}" for job in {job for job in jobs if jobs.count(job) > 1}]
