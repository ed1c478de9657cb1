"""Durations in Prometheus notation, such as ``30d`` or ``1h30m``."""

from __future__ import annotations

import re

_UNITS = (
    ("y", 31536000.0),
    ("w", 604800.0),
    ("d", 86400.0),
    ("h", 3600.0),
    ("m", 60.0),
    ("s", 1.0),
    ("ms", 0.001),
)
_NOTATION = re.compile("".join(rf"(?:([0-9]+){unit})?" for unit, _ in _UNITS))
# Prometheus counts nanoseconds in a signed 64-bit number.
_LONGEST_SECONDS = (2**63 - 1) / 1e9


def parse_duration(text: object) -> float:
    """Return the seconds that a duration in Prometheus notation stands for.

    Units run from large to small and each appears at most once: ``y`` (365 days), ``w``, ``d``, ``h``, ``m``, ``s``
    and ``ms``. ``0`` needs no unit.

    Raises ValueError when the text is not such a duration (a bare number, a unit out of order, not a string).
    """
    match = _NOTATION.fullmatch(text) if isinstance(text, str) and text else None
    if text != "0" and match is None:
        raise ValueError(f"{text!r} is not a duration; write it as Prometheus does: 30s, 5m, 1h30m, 30d")
    amounts = match.groups(default="0") if match else ()
    seconds = sum(int(amount) * size for amount, (_, size) in zip(amounts, _UNITS))
    if seconds > _LONGEST_SECONDS:
        raise ValueError(f"{text!r} is longer than Prometheus can count (about 292 years)")
    return float(seconds)
