"""Which checkpoints and data folders may go. Pure: names in, names out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from disttrain.checkpoint.layout import CommitName, parse_save_folder


@dataclass(frozen=True, slots=True)
class Deletions:
    """What to delete: the commits first, so that no commit is ever without its data; then the data folders. Each oldest first."""

    commits: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


def plan_deletions(
    history: Sequence[str],
    commits: Collection[str],
    folders: Collection[str],
    *,
    attempt: int,
    keep: int,
    pinned: Collection[str] = (),
    verified: Collection[str] = (),
    bad: Collection[str] = (),
    in_flight: Collection[str] = (),
    refers: Mapping[str, Collection[str]] | None = None,
) -> Deletions:
    """What the newest attempt may delete after a commit.

    Kept are: the newest `keep` sound checkpoints of the valid history; the pinned ones; what is newer than all of that history; and, where
    some are verified, the newest verified one and everything newer. Until the valid history has `keep` sound ones nothing else goes either,
    so a fresh start or a takeover deletes nothing old before it has as much of its own. Data folders go with their commit, unless a
    checkpoint that stays needs them. A folder without a commit is left over from a save that was cut short: it goes if its attempt is over,
    or if this attempt has committed a later save since.

    Args:
        history: the valid history, newest first (`history.valid_history`).
        commits: every commit name in the store.
        folders: every name in the data folder.
        attempt: the number of the attempt that asks.
        keep: sound checkpoints to keep, 1 or more.
        pinned: names to keep in any case, such as the best by a metric and the one resumed from.
        verified: names whose every byte was read back.
        bad: names that a reader refused: never counted, and deleted like old ones.
        in_flight: data folders being written.
        refers: of commits, the data folders of earlier saves that they need; these stay as long as such a commit does.

    Raises:
        ValueError: `keep` is below 1.
    """
    if keep < 1:
        raise ValueError(f"keep={keep}: expected 1 or more checkpoints to keep.")
    parsed = {text: name for text in commits if (name := CommitName.parse(text)) is not None}
    saves = {folder: name for folder in folders if (name := parse_save_folder(folder)) is not None}
    if any(name.attempt > attempt for name in (*parsed.values(), *saves.values())):
        return Deletions()  # a newer attempt is at work: this one is the zombie
    sound = [name for name in history if name in parsed and name not in bad]
    if len(sound) < keep:
        kept = set(parsed)
    else:
        kept = {*sound[:keep], *pinned}
        newest_verified = next((index for index, name in enumerate(sound) if name in verified), None)
        if newest_verified is not None:
            kept.update(sound[: newest_verified + 1])
    known = [name for name in map(CommitName.parse, history) if name is not None]
    if known:  # a listing may lag behind another: what is newer than all that the history knows was not there yet when that was read
        newest = max((name.attempt, name.sequence) for name in known)
        kept |= {text for text, name in parsed.items() if (name.attempt, name.sequence) > newest}
    needed = {folder for text, folders in (refers or {}).items() if text in kept for folder in folders}
    going = {text: name for text, name in parsed.items() if text not in kept}
    committed, gone = set(parsed.values()), set(going.values())
    latest = max((name.sequence for name in committed if name.attempt == attempt), default=0)
    loose = {
        folder: name
        for folder, name in saves.items()
        if folder not in in_flight
        and folder not in needed
        and (name in gone or (name not in committed and (name.attempt < attempt or name.sequence < latest)))
    }
    return Deletions(tuple(sorted(going, key=lambda text: going[text])), tuple(sorted(loose, key=lambda folder: (loose[folder], folder))))
