"""What a run wrote of the model of each of its fits: `model/000002.json`, sealed, since a model is made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from disttrain.checkpoint import Store
from disttrain.checkpoint.messages import explain
from disttrain.checkpoint.records import read_record
from disttrain.errors import CheckpointCorrupt
from disttrain.models.trained_pictures import checked

FOLDER = "model"
FORM = "model"
_FILE = re.compile(r"(\d{6,})\.json", re.ASCII)
_REMEDY = "restore this file from a copy, or load_weights(RUN) into the model of the script"
_TYPES: dict[str, Any] = {
    "model": str | None,
    "code": str | None,
    "beside": list,
    "class_names": list | None,
    "steps_per_epoch": int,
    "pictures": dict | None,
}


@dataclass(frozen=True)
class Described:
    """The model of a fit.

    Args:
        call: the number of the fit among the script's calls.
        model_json: as `to_json` gives it; None where the model is code.
        code: then, why it cannot be written down.
        beside: layers that keep more than their weights, which no checkpoint holds.
        classes: what the labels are called, where the data say so.
        pictures: see `trained_pictures`.
    """

    call: int
    model_json: str | None
    code: str | None
    beside: list[str]
    classes: list[str] | None
    steps_per_epoch: int | None
    pictures: dict[str, Any] | None = None


def description_path(call: int) -> str:
    """Where the model of a fit is described."""
    return f"{FOLDER}/{call:06d}.json"


def described_calls(store: Store) -> list[int]:
    """The calls whose models are described, by number."""
    return sorted(int(match[1]) for match in map(_FILE.fullmatch, store.list(FOLDER)) if match)


def read_description(store: Store, call: int) -> Described | None:
    """The model of a call; None where there is no description.

    Raises:
        CheckpointCorrupt: it is damaged.
        CheckpointMismatch: a later disttrain wrote it.
    """
    path = description_path(call)
    body = read_record(store, path, FORM, _REMEDY)
    if body is None:
        return None
    wrong = [name for name, kind in _TYPES.items() if not isinstance(body.get(name), kind)]
    if wrong or body.get("call") != call:
        raise CheckpointCorrupt(
            explain(
                f"{store.locate(path)} describes no model.",
                expected=f"the fields of the model of call {call}",
                found=f"{(wrong or ['call'])[0]!r} is not as it should be",
                remedy=_REMEDY,
            )
        )
    classes, steps = body.get("class_names"), body["steps_per_epoch"]
    return Described(
        call, body.get("model"), body.get("code"), [str(name) for name in body["beside"]],
        None if classes is None else [str(name) for name in classes], steps if steps > 0 else None, checked(body.get("pictures")),
    )  # fmt: skip
