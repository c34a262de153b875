"""Small records as JSON that notices damage: the digest comes first and covers every other byte."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from disttrain.checkpoint.messages import explain
from disttrain.errors import CheckpointCorrupt

Json = Any  # dict with str keys, list, str, int, float, bool or None, nested

_OPEN, _BODY, _CLOSE = b'{"sha256":"', b'","body":', b"}\n"
_PREFIX_BYTES = len(_OPEN) + 64 + len(_BODY)
_FLOAT_KEY = "$float"  # JSON has no NaN and no infinity; a diverged loss must not make a save fail
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_MAX_DEPTH = 64


def seal(body: dict[str, Json]) -> bytes:
    """`{"sha256":"<64 hex digits>","body":<body>}` and a newline; the digest is over the bytes of `<body>`. Keys are sorted.

    Tuples become lists. NaN and infinities become `{"$float": "nan"}`, `"inf"`, `"-inf"`.

    Raises:
        ValueError: a value is no JSON; the message names its place.
    """
    text = json.dumps(_encode(body, "body", 0), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
    return _OPEN + hashlib.sha256(text).hexdigest().encode() + _BODY + text + _CLOSE


_REMEDY = "an older checkpoint, or restore this file from a copy"


def unseal(data: bytes, source: str, remedy: str = _REMEDY) -> dict[str, Json]:
    """The body of a sealed record; `source` names it in messages, `remedy` says what helps where it is damaged.

    Raises:
        CheckpointCorrupt: any byte differs from what `seal` wrote, or the body is not an object.
    """
    if len(data) < _PREFIX_BYTES + len(_CLOSE) or not data.startswith(_OPEN) or not data.endswith(_CLOSE):
        raise _damaged(
            source, remedy, "a record that starts with its sha256 and ends with '}' and a newline", f"{len(data)} bytes of another form"
        )
    named, text = data[len(_OPEN) : len(_OPEN) + 64], data[_PREFIX_BYTES : -len(_CLOSE)]
    digest = hashlib.sha256(text).hexdigest().encode()
    if named != digest or data[len(_OPEN) + 64 : _PREFIX_BYTES] != _BODY:
        raise _damaged(
            source,
            remedy,
            f"sha256 {named[:16].decode(errors='replace')}..., as its own first line says",
            f"sha256 {digest[:16].decode()}...",
        )
    try:
        body = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _damaged(source, remedy, "JSON", str(error)) from None
    if not isinstance(body, dict):
        raise _damaged(source, remedy, "a JSON object", type(body).__name__)
    return body


def _damaged(source: str, remedy: str, expected: str, found: str) -> CheckpointCorrupt:
    return CheckpointCorrupt(explain(f"{source} is damaged.", expected=expected, found=found, remedy=remedy))


def _encode(value: Json, place: str, depth: int) -> Json:
    if depth > _MAX_DEPTH:
        raise ValueError(f"{place} is nested more than {_MAX_DEPTH} deep: expected flatter JSON.")
    if value is None or isinstance(value, bool):
        return value
    # exact types: NumPy's float64 is a float, an IntEnum an int; they would come back as something else
    if type(value) is str or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {_FLOAT_KEY: repr(value)}
    if isinstance(value, dict):
        if _FLOAT_KEY in value:
            raise ValueError(f"{place} has the key {_FLOAT_KEY!r}, which stands for NaN and infinities: expected another name.")
        for key in value:
            if type(key) is not str:
                raise ValueError(f"{place} has the key {key!r}: expected a string, as in JSON.")
        return {key: _encode(item, f"{place}[{key!r}]", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise ValueError(
        f"{place} is a {type(value).__module__}.{type(value).__qualname__}: expected JSON (dict, list, str, int, float, bool, None); "
        "of a NumPy scalar take .item(), and give arrays to the checkpoint as arrays."
    )


def _object(pairs: list[tuple[str, Json]]) -> Json:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object names a key twice")
    if _FLOAT_KEY in made:
        if len(made) != 1 or made[_FLOAT_KEY] not in _FLOATS:
            raise ValueError(f"{_FLOAT_KEY} must stand alone and be one of {', '.join(_FLOATS)}")
        return _FLOATS[made[_FLOAT_KEY]]
    return made


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")
