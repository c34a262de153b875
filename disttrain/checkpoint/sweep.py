"""Carrying out what retention planned: commits first, then data."""

from __future__ import annotations

from disttrain.checkpoint.attempts import refuse_if_superseded
from disttrain.checkpoint.history import Attempt
from disttrain.checkpoint.layout import DATA, commit_path
from disttrain.checkpoint.retention import Deletions
from disttrain.checkpoint.store import Store


def sweep(store: Store, attempt: Attempt, deletions: Deletions) -> None:
    """Delete. Cut short anywhere, it leaves only data that no commit names, which the next plan finds again.

    Raises:
        Superseded: a newer attempt took over; nothing more is deleted.
        RunUnwritable, OSError: the store failed; the rest stays for the next time.
    """
    if not deletions.commits and not deletions.folders:
        return
    refuse_if_superseded(store, attempt)
    for name in deletions.commits:
        store.delete(commit_path(name))
    refuse_if_superseded(store, attempt)
    for folder in deletions.folders:
        store.delete_folder(f"{DATA}/{folder}")
