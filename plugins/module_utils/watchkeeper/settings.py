"""The project-wide settings (`watchkeeper_*`) of a host, with the defaults of the role that documents them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

import yaml


@functools.cache
def _defaults(root: Path) -> dict[str, Any]:
    text = (root / "roles" / "watchkeeper" / "defaults" / "main.yml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


@functools.cache
def documented(root: Path, role: str) -> dict[str, dict[str, Any]]:
    """Return the documented variables of a role: `meta/argument_specs.yml`."""
    text = (root / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text)["argument_specs"]["main"]["options"])


def read_setting(
    root: Path, variables: Mapping[str, Any], name: str, template: Callable[[Any], Any] = lambda value: value
) -> Any:
    """Return one `watchkeeper_*` setting: what the inventory says, run through `template`, else the default."""
    return template(variables[name]) if name in variables else _defaults(root)[name]


def read_settings(
    root: Path, variables: Mapping[str, Any], template: Callable[[Any], Any] = lambda value: value
) -> dict[str, Any]:
    """Return every `watchkeeper_*` setting, each as `read_setting` does."""
    return {name: read_setting(root, variables, name, template) for name in _defaults(root)}
