"""The audit of a step of the script's own: the audited slice takes part in every round of sums, and is compared in each."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from disttrain.training.step.audit import Audit, AuditDiffers
from disttrain.training.step.audited import agreed, note, write_digests
from disttrain.training.step.gradient_buffers import Contribution
from disttrain.training.step.slice_work import digest_of
from disttrain.training.step.workspace import Workspace


class RoundsAudit:
    """One attempt at one step; a step that audits nothing compares a piece of the states all the same.

    What is told of an attempt is the digest of the round in which the first attempt differed: rounds before it had agreed.

    Args:
        audit: what is computed twice; None for nothing.
        leaves: so many slices have samples.
    """

    def __init__(self, workspace: Workspace, tick: int, audit: Audit | None, leaves: int) -> None:
        self._workspace, self._tick, self.audit, self._leaves = workspace, tick, audit, leaves
        self._digests: list[bytes] = []  # of this worker, by round
        self._rounds = 0

    def computed(self, contributions: Mapping[int, Contribution]) -> None:
        """A round's contributions, by virtual rank, before any is folded into another."""
        if self.audit is not None and self.audit.slice in contributions:
            self._digests.append(digest_of(contributions[self.audit.slice]))

    def write(self, side_channel: Tensor) -> None:
        """This worker's digests into the sum of the round."""
        mine = self._digests[-1] if self._digests else b""
        write_digests(self._workspace, side_channel, self.audit, mine, self._leaves, states=self._rounds == 0)

    def summed(self, side_channel: Tensor) -> None:
        """Look at the sum of the round.

        Raises:
            AuditDiffers: two workers got other bits for the slice.
            StatesDiffer: the states before the step are not the same.
        """
        same = agreed(self._workspace, side_channel, self._tick)
        if self.audit is not None and not same:
            self._workspace.by_products.audit_round = self._rounds
            self._note(agreed=False)
            raise AuditDiffers
        self._rounds += 1

    def passed(self) -> None:
        """All rounds agreed."""
        if self.audit is not None:
            self._note(agreed=True)
            self._workspace.by_products.audits_passed += 1

    def broke(self) -> None:
        """The group broke in a round: what this worker got counts where it was the step once more, since the other may have left."""
        if self.audit is not None and self.audit.attempt and len(self._digests) > self._workspace.by_products.audit_round:
            self._note(agreed=False)

    def _note(self, *, agreed: bool) -> None:
        assert self.audit is not None
        number = self._workspace.by_products.audit_round if self.audit.attempt else self._rounds
        if self._digests:
            mine = self._digests[min(number, len(self._digests) - 1)]
            note(self._workspace, self._tick, self.audit, mine, agreed=agreed)
