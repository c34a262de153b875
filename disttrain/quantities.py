"""Durations and sizes as people write them: `200ms`, `30s`, `5min`, `1.5h`, `30d`; `10GB`, `512MiB`."""

from __future__ import annotations

import re

from disttrain.errors import UsageError

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_SHARE = re.compile(r"(\d*\.?\d+)\s*(%?)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WORDS = {"sec": "s", "second": "s", "seconds": "s", "min": "m", "minute": "m", "minutes": "m", "hour": "h", "hours": "h"}
_WORDS |= {"day": "d", "days": "d"}
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def split(text: str) -> tuple[float, str] | None:
    """The number and the unit, in small letters; None where `text` is no such thing.

    Example:
        >>> split("1.5 GB"), split("often")
        ((1.5, 'gb'), None)
    """
    found = _NUMBER.fullmatch(text.strip().lower())
    return None if found is None else (float(found[1]), found[2])


def seconds_of(text: str) -> float | None:
    """A duration in seconds; None where `text` is none.

    Example:
        >>> seconds_of("200ms"), seconds_of("5min"), seconds_of("3 hours"), seconds_of("5GB")
        (0.2, 300.0, 10800.0, None)
    """
    found = split(text)
    if found is None:
        return None
    unit = _SECONDS.get(_WORDS.get(found[1], found[1]))
    return None if unit is None else found[0] * unit


def seconds(text: str, option: str, *, zero: bool = False) -> float:
    """The duration given to `option`, in seconds; `zero`: may it be none?

    Raises:
        UsageError: it is no duration.
    """
    found = 0.0 if zero and text.strip() == "0" else seconds_of(text)
    if found is None or (found <= 0 and not zero):
        least = "0 or more" if zero else "above 0"
        raise UsageError(f"{option} {text!r}: expected a duration {least} with its unit, such as 200ms, 30s, 5min, 3h or 30d.")
    return found


def size_bytes(text: str, option: str) -> float:
    """The size given to `option`, in bytes. A rate (`10GB/s`) is the size of one second.

    Raises:
        UsageError: it is no size.
    """
    found = split(text.strip().removesuffix("/s"))
    unit = None if found is None else _BYTES.get(found[1])
    if found is None or unit is None or found[0] <= 0:
        raise UsageError(f"{option} {text!r}: expected a size above 0 with its unit, such as 500MB, 10GB or 64GiB.")
    return found[0] * unit


def share_of(option: str, text: str | None) -> float:
    """The share given to `option`, of 1: `1%`, or `0.01`; none is 0.

    Raises:
        UsageError: it is no share.

    Example:
        >>> share_of("--audit", "1%"), share_of("--audit", "0.25"), share_of("--audit", None)
        (0.01, 0.25, 0.0)
    """
    if text is None:
        return 0.0
    found = _SHARE.fullmatch(text.strip())
    share = -1.0 if found is None else float(found[1]) / (100.0 if found[2] else 1.0)
    if not 0.0 <= share <= 1.0:
        raise UsageError(f"{option} {text!r}: expected a share of the time from 0 to 100%, such as 1%.")
    return share


def spoken(seconds: float) -> str:
    """A duration as a person says it, with two or three digits.

    Example:
        >>> [spoken(one) for one in (0.25, 12.0, 1018.2, 10800.0, 2592000.0)]
        ['0.25s', '12s', '17min', '3h', '30d']
    """
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size or seconds == size:
            return f"{seconds / size:.3g}{unit}"
    return f"{seconds:.3g}s"
