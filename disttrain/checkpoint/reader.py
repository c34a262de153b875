"""Reading checkpoints back, every byte checked against its digest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import xxhash

from disttrain.checkpoint.arrays import Bytes, NamedArray
from disttrain.checkpoint.attempts import read_attempts
from disttrain.checkpoint.commit import check_sizes
from disttrain.checkpoint.history import valid_history
from disttrain.checkpoint.layout import BAD, COMMITS, CommitName, bad_path, commit_path, parse_commit_file
from disttrain.checkpoint.manifest import MAX_MANIFEST_BYTES, Manifest
from disttrain.checkpoint.messages import explain, nearest_first, some
from disttrain.checkpoint.sealed import seal
from disttrain.checkpoint.shards import Earlier, PieceReport, ShardReport, digest_of
from disttrain.checkpoint.store import Store
from disttrain.errors import CheckpointCorrupt, CheckpointIncomplete

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """A commit file that is there; whether it loads is not known yet."""

    name: str
    step: int
    attempt: int
    sequence: int


class Loaded(NamedTuple):
    """A checkpoint's arrays by name, and its manifest."""

    arrays: dict[str, NamedArray]
    manifest: Manifest


class NewestLoaded(NamedTuple):
    """The newest checkpoint that is whole, and why newer ones were passed over, newest first."""

    arrays: dict[str, NamedArray]
    manifest: Manifest
    skipped: list[str]


class NewestWhole(NamedTuple):
    """The newest checkpoint that is whole, and why newer ones were passed over, by name, newest first."""

    manifest: Manifest
    skipped: dict[str, str]


def list_checkpoints(store: Store) -> list[CheckpointInfo]:
    """Every commit in the store, newest first by attempt and sequence; those outside the valid history too."""
    names = sorted(filter(None, map(parse_commit_file, store.list(COMMITS))), reverse=True)
    return [CheckpointInfo(str(name), name.step, name.attempt, name.sequence) for name in names]


def read_history(store: Store, commits: Iterable[str] | None = None) -> list[str]:
    """The checkpoints that a resume may choose from, newest first; see `history.valid_history`.

    Args:
        commits: all of them, where they have been listed: two listings of one store need not agree.
    """
    # commits first: one that appears in between belongs to an attempt that is listed as well
    names = [info.name for info in list_checkpoints(store)] if commits is None else list(commits)
    return valid_history(read_attempts(store, newest_run=True), names)


def read_manifest(store: Store, name: str) -> Manifest:
    """The manifest of a checkpoint, checked in itself.

    Raises:
        CheckpointIncomplete: there is no such checkpoint, or the manifest leaves holes.
        CheckpointCorrupt: a byte is wrong, or it is the manifest of another checkpoint.
        CheckpointMismatch: a later disttrain wrote it.
    """
    path = commit_path(name)
    try:
        data = store.read(path, stop=MAX_MANIFEST_BYTES + 1) if CommitName.parse(name) else None
    except FileNotFoundError:
        data = None
    if data is None:
        names = [info.name for info in list_checkpoints(store)]
        raise CheckpointIncomplete(
            explain(
                f"{store.url} has no checkpoint {name!r}.",
                expected="a commit file; it is written last, so a save without one was cut short",
                found=some(nearest_first(name, names)) or "no checkpoint at all",
                remedy=nearest_first(name, names)[0] if names else "another run directory",
            )
        )
    manifest = Manifest.from_bytes(data, store.locate(path))
    if str(manifest.name) != name:
        raise CheckpointCorrupt(
            explain(
                f"{store.locate(path)} is damaged.",
                expected=f"the manifest of {name}",
                found=f"that of {manifest.name}",
                remedy="an older one",
            )
        )
    return manifest


def references(store: Store, names: Iterable[str]) -> dict[str, frozenset[str]]:
    """The data folders of earlier saves that each of these checkpoints needs. Of one that is damaged that is not known, and it needs none.

    Raises:
        CheckpointMismatch: a later disttrain wrote one of them.
    """
    found = {}
    for name in names:
        try:
            found[name] = read_manifest(store, name).refers
        except (CheckpointIncomplete, CheckpointCorrupt):
            found[name] = frozenset()
    return found


def load(store: Store, name: str | None = None, *, prefix: str = "", into: Mapping[str, NamedArray] | None = None) -> Loaded:
    """Read a checkpoint.

    Args:
        store: the run directory.
        name: which one; None takes the newest of the valid history that is whole.
        prefix: read only arrays whose name starts with it.
        into: arrays to read into, instead of new ones, where name, dtype and shape agree. After an error they hold no particular values.

    Raises:
        CheckpointIncomplete: there is no such checkpoint, or one of its files is missing.
        CheckpointCorrupt: a byte does not match its digest.
        CheckpointMismatch: a later disttrain wrote it.
        OSError: the store failed; it says nothing about the checkpoint.
    """
    if name is not None:
        return _load(store, name, prefix, into)
    newest = load_newest(store, read_history(store), prefix=prefix, into=into)
    if newest is None:
        raise CheckpointIncomplete(
            explain(
                f"{store.url} holds no checkpoint to resume from.",
                expected=f"a commit file in {store.locate(COMMITS)}",
                found=some(info.name for info in list_checkpoints(store)) or "none",
                remedy="one of those by name, if there are any; they belong to attempts that a fresh start or a takeover cut off",
            )
        )
    return Loaded(newest.arrays, newest.manifest)


def load_newest(
    store: Store, history: Sequence[str], *, prefix: str = "", into: Mapping[str, NamedArray] | None = None
) -> NewestLoaded | None:
    """The first of `history` that is whole; None if `history` is empty.

    A storage fault is no reason to go back in time: it is raised, not skipped; and so is a format newer than this disttrain.

    Raises:
        CheckpointCorrupt: checkpoints exist and none is whole, so starting from nothing must be a person's choice.
    """
    found, skipped = _first_whole(store, history, lambda name: _load(store, name, prefix, into))
    if found is None:
        return None
    return NewestLoaded(found.arrays, found.manifest, [f"{name}: {reason}" for name, reason in skipped.items()])


def newest_whole(store: Store, history: Sequence[str]) -> NewestWhole | None:
    """The first of `history` of which every byte is as it was written, as `verify` reads it; None if `history` is empty.

    Those that `mark_bad` has named come last. Raises what `load_newest` raises.
    """
    bad = bad_checkpoints(store)
    ordered = sorted(history, key=bad.__contains__)  # stable: the newest first in each half
    found, skipped = _first_whole(store, ordered, lambda name: verify(store, name))
    return None if found is None else NewestWhole(found, skipped)


def mark_bad(store: Store, name: str, reason: str) -> None:
    """Leave a word that a checkpoint is damaged: retention does not count it, and no later reader tries it before sound ones."""
    store.create(bad_path(name), seal({"checkpoint": name, "reason": reason}))


def bad_checkpoints(store: Store) -> set[str]:
    """The names that `mark_bad` has named."""
    return {str(name) for name in filter(None, map(parse_commit_file, store.list(BAD)))}


def _first_whole(store: Store, history: Sequence[str], read: Callable[[str], T]) -> tuple[T | None, dict[str, str]]:
    """What `read` made of the first that is sound, and why those before it are not."""
    skipped: dict[str, str] = {}
    for name in history:
        try:
            return read(name), skipped
        except (CheckpointIncomplete, CheckpointCorrupt) as error:
            skipped[name] = str(error)
    if not history:
        return None, skipped
    reasons = "; ".join(f"{name}: {reason}".replace("\n", " ") for name, reason in list(skipped.items())[:3])
    raise CheckpointCorrupt(
        explain(
            f"{store.url} cannot be resumed: none of its {len(history)} checkpoints is whole.",
            expected="at least one with every byte matching its digest",
            found=reasons,
            remedy="restore the files from a copy, or start fresh on purpose with --restart",
        )
    )


def verify(store: Store, name: str) -> Manifest:
    """Read every byte of a checkpoint and keep none; needs the memory of its largest file. Raises what `load` raises."""
    manifest = read_manifest(store, name)
    check_sizes(store, manifest)
    for file in manifest.files:
        scratch = np.empty(file.nbytes, np.uint8)
        _read_file(store, file, [(report, scratch[report.offset : report.offset + report.nbytes]) for report in file.pieces])
        for earlier in file.earlier:
            for report in earlier.pieces:
                _read_pieces(store, earlier, [(report, np.empty(report.nbytes, np.uint8))])
    return manifest


def _load(store: Store, name: str, prefix: str, into: Mapping[str, NamedArray] | None) -> Loaded:
    manifest = read_manifest(store, name)
    check_sizes(store, manifest)  # before memory is allocated: it bounds what a hostile manifest can ask for
    specs = {spec.name: spec for spec in manifest.tensors if spec.name.startswith(prefix)}
    arrays: dict[str, NamedArray] = {}
    for spec in specs.values():
        kept = into.get(spec.name) if into is not None else None
        fits = kept is not None and kept.spec(spec.name) == spec and kept.data.flags.writeable
        arrays[spec.name] = kept if kept is not None and fits else NamedArray.empty(spec)
    for file in manifest.files:
        for source in file.all_files():
            targets: list[tuple[PieceReport, Bytes]] = []
            for report in source.pieces:
                if report.piece.tensor in arrays:
                    start = report.piece.row_start * specs[report.piece.tensor].row_bytes
                    targets.append((report, arrays[report.piece.tensor].data[start : start + report.nbytes]))
            if targets and isinstance(source, ShardReport):
                _read_file(store, source, targets)
            elif targets:
                _read_pieces(store, source, sorted(targets, key=lambda target: target[0].offset))
    return Loaded(arrays, manifest)


def _read_file(store: Store, file: ShardReport, targets: Sequence[tuple[PieceReport, Bytes]]) -> None:
    """Fill the targets from one file and check them, and its header."""
    try:
        head = store.read(file.path, stop=file.header_bytes)
    except FileNotFoundError:
        raise _missing(store, file) from None
    _read_pieces(store, file, targets)
    if digest_of(head) != file.header_digest:
        raise _damaged(store, file, f"a header of digest {file.header_digest}", digest_of(head))


def _read_pieces(store: Store, file: ShardReport | Earlier, targets: Sequence[tuple[PieceReport, Bytes]]) -> None:
    """Fill the targets from one file and check them."""
    hashers = [xxhash.xxh3_128() for _ in targets]

    def on_bytes(index: int, part: Bytes) -> None:
        hashers[index].update(part.data)  # while it is still in the processor's cache

    try:
        store.read_ranges(file.path, [(report.offset, target) for report, target in targets], on_bytes)
    except FileNotFoundError:
        raise _missing(store, file) from None
    except EOFError as error:
        raise _damaged(store, file, f"{file.nbytes} bytes", str(error)) from None
    for (report, _), hasher in zip(targets, hashers, strict=True):
        if hasher.hexdigest() != report.digest:
            rows = f"{report.piece.tensor} rows {report.piece.row_start} to {report.piece.row_stop}"
            raise _damaged(store, file, f"digest {report.digest} of {rows}", hasher.hexdigest())


def _missing(store: Store, file: ShardReport | Earlier) -> CheckpointIncomplete:
    headline = f"{store.locate(file.path)} is missing."
    return CheckpointIncomplete(explain(headline, expected=f"{file.nbytes} bytes", found="no file", remedy="an older checkpoint"))


def _damaged(store: Store, file: ShardReport | Earlier, expected: str, found: str) -> CheckpointCorrupt:
    headline = f"{store.locate(file.path)} is damaged."
    return CheckpointCorrupt(explain(headline, expected=expected, found=found, remedy="an older checkpoint"))
