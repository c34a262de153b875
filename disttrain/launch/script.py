"""Running a person's script under a session, as `python script.py` would: `__main__`, `sys.argv`, imports beside it."""

from __future__ import annotations

import hashlib
import runpy
import sys
from pathlib import Path

from disttrain.errors import UsageError
from disttrain.launch.cluster_start import ClusterStart
from disttrain.launch.config import RunConfig
from disttrain.launch.door import enter
from disttrain.launch.timings import Timings


def launch(config: RunConfig, script: str, arguments: tuple[str, ...] = (), *, show_timings: bool = False, command: str = "") -> None:
    """Train `script` as `config` says; returns when it is done, or at once when it was done before.

    Raises:
        UsageError, InfrastructureError, Interrupted, or whatever the script raises.
    """
    path = Path(script)
    if not path.is_file():
        near = sorted(str(other) for other in path.parent.glob("*.py"))[:5] if path.parent.is_dir() else []
        raise UsageError(f"there is no script {script!r}.\n  expected  a Python file{', such as ' + ', '.join(near) if near else ''}")
    timings = Timings()
    timings.mark("command line parsed")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = enter(config, script=path.name, arguments=arguments, script_sha256=sha256)
    if entry.finished:
        print(f"[disttrain] {entry.directory.url}: this run is finished; nothing was changed (--restart begins anew beside it)")
        return
    start = ClusterStart(config, timings)
    start.begin()
    with timings.span("importing disttrain and torch"):
        from disttrain.launch.session import Session  # late: brings torch, while Ray starts

    folder = path.resolve().parent
    session = Session(
        config, entry, start, timings, script=path.name, arguments=arguments, script_folder=folder, script_sha256=sha256
    )  # fmt: skip
    before = sys.argv, sys.path[:]
    sys.argv = [script, *arguments]
    sys.path[0:1] = [str(folder)]
    try:
        with session, timings.span("script"):
            runpy.run_path(str(path), run_name="__main__")
    except KeyboardInterrupt:
        print(f"[disttrain] interrupted. Go on with:\n  {_resume_command(command, config, entry.directory.url)}", file=sys.stderr)
        raise
    finally:
        sys.argv, sys.path[:] = before
        if show_timings:
            print(timings.table())


def _resume_command(command: str, config: RunConfig, url: str) -> str:
    if not command or config.run_dir is not None:
        return command or "the same command"
    head, _, tail = command.partition(" -- ")
    return f"{head} --run-dir {url}" + (f" -- {tail}" if tail else "")
