"""The audits of a step in its own exchange: what a worker adds to the sum, what the sum says, and the step once more where two differ."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from disttrain.training.program import Kind, Position
from disttrain.training.step.audit import (
    ATTEMPTS,
    WORDS,
    Audit,
    AuditDiffers,
    AuditNote,
    AuditUnsettled,
    StatePieces,
    StatesDiffer,
    audit_of,
    taking_part,
    words_of,
)
from disttrain.training.step.workspace import Workspace

Requests = tuple[bool, ...]


def until_two_agree(workspace: Workspace, position: Position, step: Callable[[Audit | None], Requests]) -> Requests:
    """Carry a training step out, and once more with another auditor where two workers got other bits for one slice.

    Raises:
        AuditUnsettled: they do so each time.
    """
    if not workspace.audit_share:
        return step(None)
    leaves = leaves_of(workspace, position)
    audit = audit_of(workspace.job.seed, workspace.replica.optimizer.calls, workspace.audit_share, leaves, workspace.placement)
    for _ in range(ATTEMPTS):
        try:
            return step(audit)
        except AuditDiffers:  # all workers see it, so all do the step once more
            assert audit is not None
            audit = audit.again(taking_part(workspace.placement, leaves))
    raise AuditUnsettled(f"two workers get other bits for one slice of tick {position.tick} each time")


def leaves_of(workspace: Workspace, position: Position) -> int:
    """How many slices of a step have samples."""
    count = workspace.program.plan(position.kind).batch_count(position.epoch, position.step)
    return min(workspace.job.virtual_workers, count)


def audits(workspace: Workspace, audit: Audit | None) -> bool:
    """Is this worker the one that computes the audited slice a second time?"""
    return audit is not None and workspace.group.rank == audit.auditor


def write_digests(
    workspace: Workspace, side_channel: Tensor, audit: Audit | None, mine: bytes, leaves: int, *, states: bool = True
) -> None:
    """Add this worker's digests to the sum, so that it is 0 where all agree.

    Args:
        mine: of the audited slice; of nobody else's.
        states: compare a piece of the states, too.
    """
    rank, words = workspace.group.rank, workspace.layouts[Kind.TRAIN].audits_of(side_channel)
    sign = 0 if audit is None else audit.sign(rank)
    slice_words = [sign * word for word in words_of(mine)] if sign else [0.0] * WORDS
    piece_words = [0.0] * WORDS
    if states:
        pieces = workspace.pieces = workspace.pieces or StatePieces(workspace.state)
        piece = pieces.digest(workspace.job.seed, workspace.replica.optimizer.calls)
        times = taking_part(workspace.placement, leaves) - 1 if rank == 0 else -1
        piece_words = [times * word for word in words_of(piece)]
    words.copy_(torch.tensor([*slice_words, *piece_words], dtype=torch.float64))


def agreed(workspace: Workspace, side_channel: Tensor, tick: int) -> bool:
    """Did all agree? The sum is the same on every worker, and so is the answer.

    Raises:
        StatesDiffer: not on the state before the step.
    """
    sums = workspace.layouts[Kind.TRAIN].audits_of(side_channel).tolist()
    if any(sums[WORDS:]):
        raise StatesDiffer(f"the states of the workers differ before tick {tick}")
    return not any(sums[:WORDS])


def note(workspace: Workspace, tick: int, audit: Audit, mine: bytes, *, agreed: bool) -> None:
    """Remember what this worker got for the audited slice, if it had a part in it."""
    if mine:
        workspace.by_products.audits.append(AuditNote(tick, audit.slice, audit.attempt, mine, agreed))
