"""At the door of a run: which directory, whether somebody drives it, whether it is this run at all. Starts nothing."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from disttrain.checkpoint.trouble import answering, refusal
from disttrain.errors import CheckpointError, RunInUse, RunUnwritable
from disttrain.launch.config import RunConfig
from disttrain.rundir.directory import FINISHED, RunDirectory
from disttrain.rundir.identity import Asked, RunDescription, changes, check_same_run

RUNS = "runs"
SESSION = "session"  # what runs begun from Python are called


@dataclass(frozen=True)
class Entry:
    """What the door decided.

    Args:
        finished: the run is done: there is nothing to do.
        fresh: begin from nothing.
        after: the newest attempt that was seen; if another has begun since, this decision is void.
        claimed: the directory was made here, for this run; it goes again if nothing comes of it.
        notes: what is not as it was when the run began, though it may go on; or where it went, and why.
    """

    directory: RunDirectory
    description: RunDescription | None
    finished: bool
    fresh: bool
    after: int = 0
    claimed: bool = False
    notes: tuple[str, ...] = ()


_OVERWRITES = (
    "does not refuse to create a file that exists: of two drivers that start in the same instant, neither is refused. "
    "One driver at a time is safe there."
)


def enter(config: RunConfig, *, script: str, arguments: tuple[str, ...], script_sha256: str, script_code: str = "") -> Entry:
    """Open the run directory of a launch.

    Without `run_dir` it is the newest `runs/<script>`, `runs/<script>-2` ... that holds this script with these arguments, to which the same
    rules apply; the next one where there is none, where it is told to begin anew, or where another driver is at work in it. From Python,
    where nothing says that two sessions are the same, it is always the next one.

    Raises:
        RunInUse, RunMismatch, RunUnwritable, StorageUnavailable: see the errors; nothing was changed.
        CheckpointError: what the directory says of the run is damaged.
    """
    asked = Asked(script, arguments, script_sha256, script_code, config.cpus_per_worker)
    if config.run_dir is not None:
        directory = RunDirectory(config.run_dir)
        refuses = directory.store.probe()
        with answering(directory.run_dir):
            entry = _opened(config, directory, asked)
        return entry if refuses else replace(entry, notes=(*entry.notes, f"{directory.run_dir} {_OVERWRITES}"))
    notes: tuple[str, ...] = ()
    if script and not config.restart:
        found = _newest_of(script, arguments)
        if found is not None:
            try:
                return _opened(config, found, asked)
            except RunInUse as error:
                notes = (str(error).splitlines()[0] + " This run goes beside it.",)
    directory = RunDirectory(_claimed(Path(script).stem or SESSION))
    return Entry(directory, None, finished=False, fresh=True, claimed=True, notes=notes)


def _opened(config: RunConfig, directory: RunDirectory, asked: Asked) -> Entry:
    after = directory.newest_number()
    if config.restart:
        if not config.take_over:
            with suppress(CheckpointError):  # damaged: to begin anew is the way out
                directory.refuse_if_live(directory.attempts())
        return Entry(directory, None, finished=False, fresh=True, after=after)
    attempts = directory.attempts()
    if not config.take_over:
        directory.refuse_if_live(attempts)
    if not attempts:
        return Entry(directory, None, finished=False, fresh=True, after=after)
    description = directory.description(attempts)
    notes: list[str] = []
    if description is not None:
        check_same_run(
            description,
            script=asked.script,
            virtual_workers=config.virtual_workers,
            workers=config.workers,
            seed=config.seed,
            run_dir=directory.run_dir,
        )
        notes = changes(description, asked)
    finished = attempts[-1].outcome == FINISHED and config.step is None
    return Entry(
        directory, description, finished=finished, fresh=description is None and not finished, after=after, notes=tuple(notes)
    )  # fmt: skip


def _newest_of(script: str, arguments: tuple[str, ...]) -> RunDirectory | None:
    """The newest directory of a run of this script with these arguments; one that got to no call is of nobody."""
    stem = Path(script).stem
    numbered = re.compile(rf"{re.escape(stem)}(?:-(\d+))?")
    try:
        names = [name for name in os.listdir(RUNS) if os.path.isdir(os.path.join(RUNS, name))]
    except OSError:
        return None
    numbers = sorted((int(match[1] or 1) for match in map(numbered.fullmatch, names) if match), reverse=True)
    for number in numbers:
        directory = RunDirectory(_numbered(stem, number))
        description = directory.description(directory.attempts())
        if description is not None and (description.script, description.arguments) == (script, arguments):
            return directory
    return None


def _claimed(stem: str) -> str:
    """Make the next directory: of two launches in the same instant, each gets its own."""
    try:
        os.makedirs(RUNS, exist_ok=True)
        number = 1
        while True:
            try:
                os.mkdir(_numbered(stem, number))
                return _numbered(stem, number)
            except FileExistsError:
                number += 1
    except OSError as error:
        raise refusal(os.path.abspath(RUNS), error, is_local=True) or RunUnwritable(
            f"{os.path.abspath(RUNS)} cannot be written: {error.strerror or error}.\n"
            "  expected  a folder that this user may write to, with room\n"
            "  try       --run-dir with another place"
        ) from error


def _numbered(stem: str, number: int) -> str:
    return os.path.join(RUNS, stem if number == 1 else f"{stem}-{number}")
