"""Exporters that measure several things from one host: each thing is an instance, and a target of its own."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import jinja2

DEFAULT_NAME = "default"


@dataclass(frozen=True)
class Detail:
    """A second job for parts of an instance, such as a server's databases, that only a question of their own measures.

    For each value in the instance's list `list` the instance is asked with `key` set to the value; only metrics whose
    names match `keep` are kept, because the others would be there twice.
    """

    job: str
    list: str
    key: str
    keep: str


@dataclass(frozen=True)
class Question:
    """One request that measures one thing: where, with which parameters, and under which labels."""

    job: str
    name: str
    path: str
    parameters: Mapping[str, str]
    labels: Mapping[str, str]
    port: int

    @property
    def url(self) -> str:
        """Path and query."""
        return f"{self.path}?{urlencode(self.parameters)}" if self.parameters else self.path


@dataclass(frozen=True)
class Instances:
    """How the instances in a host's `variable` are measured; the texts are templates over an instance's keys.

    A parameter that comes out empty is left out; an instance whose `port` comes out as 0 is not measured.
    """

    variable: str
    path: str = "/metrics"
    port: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    detail: Detail | None = None

    @classmethod
    def from_dict(cls, component: str, raw: Mapping[str, Any]) -> Instances:
        """Build it from the field of the catalogue; the variable is `<component>_instances` unless it is named."""
        detail = Detail(**raw["detail"]) if "detail" in raw else None
        return cls(**{"variable": f"{component}_instances", **raw, "detail": detail})

    def questions(
        self, job: str, port: int, option: Mapping[str, Any], items: Sequence[Mapping[str, Any]]
    ) -> Iterator[Question]:
        """Yield what has to be asked for these instances.

        `option` is the variable's documentation: what an item leaves out has the default that stands there. `port` is
        the component's own.
        """
        defaults = {name: inner.get("default", "") for name, inner in option["options"].items()}
        for item in items:
            keys = {**defaults, **item}
            yield self._question(job, port, keys, {})
            if self.detail:
                for value in keys[self.detail.list]:
                    own = {**keys, self.detail.key: value}
                    yield self._question(self.detail.job, port, own, {self.detail.key: str(value)})

    def _question(self, job: str, port: int, keys: Mapping[str, Any], labels: Mapping[str, str]) -> Question:
        found = {name: _render(text, keys) for name, text in self.parameters.items()}
        return Question(
            job=job,
            name="" if keys["name"] == DEFAULT_NAME else str(keys["name"]),
            path=_render(self.path, keys),
            parameters={name: value for name, value in found.items() if value},
            labels={**{name: _render(text, keys) for name, text in self.labels.items()}, **labels},
            port=int(_render(self.port, keys)) if self.port else port,
        )


@functools.cache
def _template(text: str) -> jinja2.Template:
    # The results are URLs and labels, never HTML.
    return jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(text)  # noqa: S701


def _render(text: str, keys: Mapping[str, Any]) -> str:
    return _template(text).render(keys)
