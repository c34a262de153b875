"""At the door of a run: which directory, whether somebody drives it, whether it is this run at all. Starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from disttrain.errors import RunInUse, RunMismatch
from disttrain.launch.config import RunConfig
from disttrain.rundir.directory import FINISHED, RunDescription, RunDirectory, check_same_run


@dataclass(frozen=True)
class Entry:
    """What the door decided.

    Args:
        finished: the run is done: there is nothing to do.
        fresh: begin from nothing.
    """

    directory: RunDirectory
    description: RunDescription | None
    finished: bool
    fresh: bool


def enter(config: RunConfig, *, script: str, arguments: tuple[str, ...], script_sha256: str) -> Entry:
    """Open the run directory of a launch.

    Raises:
        RunInUse, RunMismatch, RunUnwritable: see the errors; nothing was changed.
    """
    if config.run_dir is None:
        return _enter_default(config, script=script, arguments=arguments, script_sha256=script_sha256)
    directory = RunDirectory(config.run_dir)
    directory.store.probe()
    attempts = directory.attempts()
    if not config.take_over:
        directory.refuse_if_live(attempts)
    if not attempts:
        return Entry(directory, None, finished=False, fresh=True)
    if config.restart:
        return Entry(directory, None, finished=False, fresh=True)
    description = directory.description(attempts)
    if description is not None:
        check_same_run(description, script=script, virtual_workers=config.virtual_workers, workers=config.workers, run_dir=config.run_dir)
        if config.seed is not None and config.seed != description.seed:
            raise RunMismatch(
                f"{config.run_dir} holds a run with seed {description.seed}, --seed {config.seed} was given.\n"
                "  try       leave --seed out, another --run-dir, or --restart to begin anew beside it"
            )
    finished = attempts[-1].outcome == FINISHED
    return Entry(directory, description, finished=finished, fresh=description is None and not finished)


def _enter_default(config: RunConfig, *, script: str, arguments: tuple[str, ...], script_sha256: str) -> Entry:
    """`runs/<script>`: go on with the newest of this script's runs if it is unfinished and the same, else begin the next beside it."""
    stem = Path(script).stem or "session"
    number = 1
    while Path(_numbered(stem, number)).exists():
        number += 1
    directory = RunDirectory(_numbered(stem, number - 1)) if number > 1 else None
    if directory is not None and not config.restart:
        attempts = directory.attempts()
        description = directory.description(attempts)
        same = (
            description is not None
            and (description.script, description.arguments, description.script_sha256) == (script, arguments, script_sha256)
            and config.virtual_workers in (None, description.virtual_workers)
            and config.workers <= description.virtual_workers
            and config.seed in (None, description.seed)
        )
        if same and attempts[-1].outcome != FINISHED and not _in_use(directory):
            return Entry(directory, description, finished=False, fresh=False)
    directory = RunDirectory(_numbered(stem, number))
    directory.store.probe()
    return Entry(directory, None, finished=False, fresh=True)


def _in_use(directory: RunDirectory) -> bool:
    try:
        directory.refuse_if_live(directory.attempts())
    except RunInUse:
        return True
    return False


def _numbered(stem: str, number: int) -> str:
    return f"runs/{stem}" if number == 1 else f"runs/{stem}-{number}"
