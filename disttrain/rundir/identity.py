"""What makes a run the run it is: what may change when it is gone on with, and what may not. The one place that says so.

| belongs to the run (run.json)                                     | when it is another one                                         |
|---|---|
| the script's name; the number of virtual workers; the seed;       | refused                                                        |
| what it computes on, CPUs or GPUs                                 | refused (`devices/asked.py`)                                   |
| the script's text and its arguments, threads a worker, versions   | said; what they change of a call is judged below               |

| belongs to each fit and evaluate (in its checkpoints and records) | when it is another one                                         |
|---|---|
| the model: names, shapes and dtypes of weights, layers' settings  | refused, with the difference in words                          |
| loss, metrics, optimizers and their settings, class weights       | refused                                                        |
| virtual workers, seed, batch size, shuffling, steps               | refused                                                        |
| whether GPUs compute deterministically, where they use TF32       | refused                                                        |
| the data: samples, shapes, dtypes, a digest of some of them       | refused                                                        |
| epochs                                                            | said: an open call goes on to that many, a finished one stays  |

A secret among the arguments counts as the same whatever it is, and stands in no file: it may have been renewed, and comes from the command.
Workers, callbacks, comments, where it runs and how often it saves are no part of it. Pure: values in, words out.
"""

from __future__ import annotations

import io
import json
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from disttrain.checkpoint.messages import explain
from disttrain.errors import CheckpointCorrupt, RunMismatch
from disttrain.redaction import hidden_arguments

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
_SKIPPED = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


@dataclass(frozen=True)
class Asked:
    """What a launch asks a run directory for: a script, what it is given, its text and code, threads a worker."""

    script: str = ""
    arguments: tuple[str, ...] = ()
    script_sha256: str = ""
    script_code: str = ""
    threads: int = 1


@dataclass(frozen=True)
class RunDescription:
    """What stays the same over all attempts of a run.

    Args:
        script: the script's file name, or "" for a run begun from Python.
        arguments: what it was given, without the secrets among them.
        virtual_workers, seed, threads: what the bits of the result depend on.
        root: the attempt that began the run; `--restart` begins another one in the same place.
        script_sha256: content of the script; a change is told, not refused.
        script_code: the same without comments and layout, see `code_of`.
        versions: of what computes.
    """

    script: str
    arguments: tuple[str, ...]
    virtual_workers: int
    seed: int
    threads: int
    root: int
    script_sha256: str = ""
    script_code: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_record(cls, body: dict[str, Any], source: str, remedy: str) -> RunDescription:
        """What run.json says; `source` names it.

        Raises:
            CheckpointCorrupt: other fields than these, or of other types.
        """
        types: dict[str, type] = {"script": str, "arguments": list, "script_sha256": str, "script_code": str, "versions": dict}
        wrong = sorted(set(body) ^ {field.name for field in fields(cls)})
        wrong += [name for name, value in body.items() if name not in wrong and type(value) is not types.get(name, int)]
        if wrong:
            raise CheckpointCorrupt(
                explain(
                    f"{source} describes no run.",
                    expected="the fields of a run",
                    found=f"{wrong[0]!r} is not as it should be",
                    remedy=remedy,
                )
            )
        return cls(**{**body, "arguments": hidden_arguments(body["arguments"])})


def check_same_run(
    known: RunDescription, *, script: str, virtual_workers: int | None, workers: int, seed: int | None, run_dir: str
) -> None:
    """Raise RunMismatch where a run directory holds another script's run, or one with another number of virtual workers or seed."""
    if known.script != script:
        raise RunMismatch(
            f"{run_dir} holds a run of {known.script or 'a Python session'}, not of {script or 'a Python session'}.\n"
            "  try       another --run-dir, or --restart to begin anew"
        )
    if virtual_workers is not None and virtual_workers != known.virtual_workers:
        raise RunMismatch(
            f"{run_dir} holds a run with {known.virtual_workers} virtual workers, --virtual-workers {virtual_workers} was given:\n"
            "  results depend on their number\n"
            f"  try       --virtual-workers {known.virtual_workers}, another --run-dir, or --restart to begin anew"
        )
    if workers > known.virtual_workers:
        raise RunMismatch(
            f"{run_dir} holds a run with {known.virtual_workers} virtual workers: {workers} workers are too many, each hosts one or more.\n"
            f"  try       --workers {known.virtual_workers} or fewer, or --restart to begin anew"
        )
    if seed is not None and seed != known.seed:
        raise RunMismatch(
            f"{run_dir} holds a run with seed {known.seed}, --seed {seed} was given.\n"
            "  try       leave --seed out, another --run-dir, or --restart to begin anew"
        )


def changes(known: RunDescription, asked: Asked) -> list[str]:
    """What of a run is not as it was when it began, though it may go on: a line each."""
    found = []
    if known.script_sha256 != asked.script_sha256 and known.script_sha256 and asked.script_sha256:
        only_layout = known.script_code == asked.script_code and asked.script_code
        found.append(f"{asked.script} is not the text that began this run{': comments or layout changed, no code' if only_layout else ''}")
    if known.arguments != asked.arguments:
        found.append(f"its arguments were {' '.join(known.arguments) or 'none'}, and are now {' '.join(asked.arguments) or 'none'}")
    if known.threads != asked.threads:
        found.append(f"its workers keep the {known.threads} threads it began with, not {asked.threads}: bits depend on them")
    return found


def code_of(text: bytes) -> str:
    """Python code without comments, blank lines and line ends: the same text for the same code, laid out in whichever way.

    Raises:
        SyntaxError, tokenize.TokenError: it is no Python.
    """
    parts = []
    for token in tokenize.tokenize(io.BytesIO(text).readline):
        if token.type in (tokenize.INDENT, tokenize.DEDENT):
            parts.append("{" if token.type == tokenize.INDENT else "}")
        elif token.type == tokenize.NEWLINE:
            parts.append(";")
        elif token.type not in _SKIPPED:
            parts.append(token.string)
    return " ".join(parts)


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


def refuse_other_call(refused: list[str], *, call: int, kind: str, run_dir: str, held: str, renumbered: bool = False) -> None:
    """Raise RunMismatch if there are differences.

    Args:
        held: what of the call the run has: a checkpoint, or its result.
        renumbered: nothing but numbers in names differ.
    """
    if not refused:
        return
    more = f"\n  and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    again = "dt.clear_session() before the model is made: names that nobody gave are counted on in one process,\n            or "
    raise RunMismatch(
        f"{run_dir} holds {held} of call {call} of the script, a {kind}() that differs from this one:\n  "
        + "\n  ".join(refused[:_SHOWN])
        + more
        + f"\n  try       {again if renumbered else ''}the script as it was, or another --run-dir, or --restart to begin anew"
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
