"""How a person names a run directory, or one of its checkpoints: RUN, RUN/NAME, RUN/checkpoints/commits/NAME.json."""

from __future__ import annotations

from disttrain.checkpoint.layout import CommitName


def split_address(address: str) -> tuple[str, str | None]:
    """(the run directory, the name of a checkpoint in it, or None where none is named)."""
    trimmed = address.rstrip("/") or address
    head, _, last = trimmed.rpartition("/")
    name = last.removesuffix(".json")
    if CommitName.parse(name) is None:
        return trimmed, None
    return head.removesuffix("/checkpoints/commits").removesuffix("/checkpoints") or ".", name
