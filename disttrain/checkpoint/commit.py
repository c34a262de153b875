"""The commit: check what the writers report, then create one small file. Before it the checkpoint does not exist; after it, it does."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from disttrain.checkpoint.arrays import TensorSpec
from disttrain.checkpoint.attempts import Superseded, refuse_if_superseded
from disttrain.checkpoint.history import Attempt
from disttrain.checkpoint.layout import CommitName, commit_path
from disttrain.checkpoint.manifest import MAX_MANIFEST_BYTES, Manifest
from disttrain.checkpoint.messages import explain
from disttrain.checkpoint.sealed import Json
from disttrain.checkpoint.shards import ShardReport
from disttrain.checkpoint.store import Store
from disttrain.errors import CheckpointCorrupt, CheckpointError, CheckpointIncomplete

__all__ = ["CommittedCheckpoint", "Superseded", "check_sizes", "commit", "new_save_nonce"]


@dataclass(frozen=True, slots=True)
class CommittedCheckpoint:
    """A checkpoint that outlives every process. `name` loads it; `nbytes` is what its files take."""

    name: str
    step: int
    nbytes: int


def new_save_nonce() -> str:
    """16 random hex digits for `layout.save_folder`: each try to save gets a folder that nothing was ever written to."""
    return secrets.token_hex(8)


def commit(
    store: Store,
    attempt: Attempt,
    sequence: int,
    step: int,
    reports: Iterable[ShardReport],
    specs: Iterable[TensorSpec],
    extra: dict[str, Json],
) -> CommittedCheckpoint:
    """Make a checkpoint of files that writers reported durable.

    Args:
        store: the run directory.
        attempt: who commits; it has recorded what it resumed from.
        sequence: how many saves this attempt began, this one included; new for each try.
        step: optimizer updates done.
        reports: one of each writer.
        specs: every tensor of the state.
        extra: JSON that comes back with it.

    Raises:
        CheckpointIncomplete: a report or a file is missing.
        CheckpointCorrupt: reports overlap or contradict `specs`, or a file has another size than reported.
        Superseded: a newer attempt took over; stop.
        CheckpointError: the name is taken by another commit, or the attempt recorded no resume.
        RunUnwritable, OSError: the store failed. Where the reply alone was lost the checkpoint may exist: it is valid if it does.
        ValueError: `extra` is no JSON, or names and shapes are out of bounds.
    """
    name = CommitName(attempt.number, sequence, step)
    if not attempt.resumed:
        raise CheckpointError(
            f"{name} cannot be committed: attempt {attempt.number} has not recorded what it resumed from; call record_resume."
        )
    files = tuple(sorted(reports, key=lambda report: report.path))
    tensors = tuple(sorted(specs, key=lambda spec: spec.name))
    manifest = Manifest(name, tensors, files, extra, nonce=_nonce(attempt, name))
    data = manifest.to_bytes()
    if len(data) > MAX_MANIFEST_BYTES:
        raise ValueError(f"the manifest of {name} takes {len(data)} bytes: expected at most {MAX_MANIFEST_BYTES}; make extra smaller.")
    check_sizes(store, manifest)
    refuse_if_superseded(store, attempt)
    # the nonce in `data` makes it ours alone, so "exists with the same bytes" is our own lost reply
    if not store.create(commit_path(str(name)), data):
        raise CheckpointError(
            explain(
                f"{store.locate(commit_path(str(name)))} cannot be committed: the name is taken.",
                expected=f"sequence={sequence} to be new in attempt {attempt.number}",
                found="another commit of that name",
                remedy="save again with the next sequence",
            )
        )
    return CommittedCheckpoint(str(name), step, sum(file.nbytes for file in files))


def _nonce(attempt: Attempt, name: CommitName) -> str:
    """The attempt's own is random; the same for each try, so that one whose reply was lost is known for one's own."""
    return blake2b(f"{attempt.nonce}.{name}".encode(), digest_size=16).hexdigest()


def check_sizes(store: Store, manifest: Manifest) -> None:
    """Compare the size of each file with the manifest, those of earlier saves too that it refers to; no data is read.

    Raises:
        CheckpointIncomplete: a file is missing.
        CheckpointCorrupt: one has another size.
    """
    sizes = {file.path: file.nbytes for own in manifest.files for file in own.all_files()}
    for path, nbytes in sizes.items():
        try:
            found = store.size(path)
        except FileNotFoundError:
            raise CheckpointIncomplete(
                explain(
                    f"{store.url}/{manifest.name} is incomplete: {path} is missing.",
                    expected=f"{len(sizes)} files, this one of {nbytes} bytes",
                    found="no such file",
                    remedy="an older checkpoint",
                )
            ) from None
        if found != nbytes:
            raise CheckpointCorrupt(
                explain(
                    f"{store.locate(path)} is damaged.",
                    expected=f"{nbytes} bytes",
                    found=f"{found} bytes",
                    remedy="an older checkpoint",
                )
            )
