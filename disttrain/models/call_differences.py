"""What differs between two calls that should be the same one: what forbids to go on, and what is only said. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from disttrain.errors import RunMismatch

Identity = dict[str, Any]  # of a call, in JSON types, see `call_identity.py`

TOLD = ("epochs",)
_WORDS = {
    "batches": "batches",
    "class_weight": "class_weight",
    "data": "data",
    "graph": "how the layers of the model are connected",
    "layers": "layer",
    "loss": "loss",
    "metrics": "metrics",
    "optimizers": "",
    "weights": "weight",
}
_EARLIER = {"determinism": "on", "TF32": "convolutions, recurrent layers"}  # of records that do not say
_SHOWN = 12
_NUMBERED = re.compile(r"(?<=[A-Za-z0-9])_\d+\b")
_LONGEST = 90
_MISSING = object()
_REMEDY = "the script as it was, or another --run-dir, or --restart to begin anew"


def differences(then: Identity, now: Identity) -> tuple[list[str], list[str]]:
    """(what forbids to go on, what is only said) between the identities of a call, in words."""
    refused: list[str] = []
    told: list[str] = []
    for path, old, new in _walk(_EARLIER | then, _EARLIER | now, ()):
        words = _in_words(path, old, new)
        (told if path[0] in TOLD else refused).append(words)
    return refused, told


def only_renumbered(then: Identity, now: Identity) -> bool:
    """Do they differ in nothing but the numbers in names, as of a model that a cell of a notebook makes once more: `dense`, `dense_2`?"""
    texts = []
    for identity in (then, now):
        known = {**_EARLIER, **identity, "graph": None}  # a digest, of names too
        texts.append(_NUMBERED.sub("", json.dumps(known, sort_keys=True)))
    return texts[0] == texts[1]


def refuse_other_call(
    refused: list[str], *, call: int, kind: str, run_dir: str, held: str, renumbered: bool = False, remedy: str = _REMEDY
) -> None:  # fmt: skip
    """Raise RunMismatch if there are differences.

    Args:
        held: what of the call the run has: a checkpoint, or its result.
        renumbered: nothing but numbers in names differ.
        remedy: what to do about any other.
    """
    if not refused:
        return
    more = f"\n  and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    again = "dt.clear_session() before the model is made: names that nobody gave are counted on in one process,\n            or "
    raise RunMismatch(
        f"{run_dir} holds {held} of call {call} of the script, a {kind}() that differs from this one:\n  "
        + "\n  ".join(refused[:_SHOWN])
        + more
        + f"\n  try       {again if renumbered else ''}{remedy}"
    )


def _walk(then: Any, now: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in [*then, *(key for key in now if key not in then)]:
            yield from _walk(then.get(key, _MISSING), now.get(key, _MISSING), (*path, str(key)))
    elif then != now and not (then != then and now != now):  # NaN is as it was
        yield path, then, now


def _in_words(path: tuple[str, ...], old: Any, new: Any) -> str:
    kind, *rest = path
    if kind == "batches" and len(rest) == 2:
        return f"{rest[1]} of the {rest[0]} steps: {_shown(old)} then, {_shown(new)} now"
    if kind == "data" and rest[-1:] == ["digest"]:
        return f"data of the {rest[0]} steps: samples with other values then and now"
    if kind == "graph":
        return f"{_WORDS[kind]}: not as it was"
    name = " ".join(part for part in (_WORDS.get(kind, kind), ".".join(rest)) if part)
    return f"{name}: {_shown(old)} then, {_shown(new)} now"


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "none"
    if isinstance(value, dict) and isinstance(value.get("class"), str):
        return str(value["class"])
    text = repr(value) if not isinstance(value, str) else value
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
