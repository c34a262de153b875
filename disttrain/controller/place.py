"""The run directory as the driver sees it, and whether a worker sees the same."""

from __future__ import annotations

import contextlib

from disttrain.checkpoint import Store
from disttrain.checkpoint.same_disk import FOLDER, Proof, check_shown, leave_proof
from disttrain.elastic import messages as m
from disttrain.errors import RunUnwritable


class Place:
    """What the driver left in a local run directory for workers on other hosts to find; of an object store, nothing is left."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.proof: Proof | None = leave_proof(store)

    def refused(self, ready: m.Ready) -> m.Failed | None:
        """A worker that has left its word on another disk, as one that failed; None for all others."""
        if self.proof is None or not ready.left_word:
            return None
        error = check_shown(self._store, self.proof, ready.worker, ready.host)
        return None if error is None else m.Failed(ready.worker, ready.call, -1, -1, error, f"{type(error).__name__}: {error}")

    def tidy(self) -> None:
        """Take the words away, since nobody comes any more. What cannot be deleted is left: the next driver does that."""
        if self.proof is None:
            return
        with contextlib.suppress(OSError, RunUnwritable):
            self._store.delete_folder(f"{FOLDER}/{self.proof.nonce}")
            if not self._store.list(FOLDER):
                self._store.delete_folder(FOLDER)
