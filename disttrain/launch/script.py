"""Running a person's script under a session, as `python script.py` would: `__main__`, `sys.argv`, imports beside it."""

from __future__ import annotations

import difflib
import hashlib
import runpy
import shlex
import sys
import tokenize
import traceback
import warnings
from bdb import BdbQuit
from pathlib import Path

from disttrain.awaited import awaiting
from disttrain.checkpoint.access import told
from disttrain.determinism import set_determinism
from disttrain.errors import Interrupted, UsageError
from disttrain.launch.cluster_start import ClusterStart
from disttrain.launch.config import RunConfig
from disttrain.launch.door import enter
from disttrain.launch.kernels import settle
from disttrain.launch.possible import compute_of
from disttrain.launch.stopping import end_process
from disttrain.launch.timings import Timings
from disttrain.overheard import overhearing
from disttrain.redaction import HIDDEN, hidden, hidden_arguments, remember
from disttrain.rundir.identity import code_of

_NEAR = 5  # scripts that are named beside one that is not there


def launch(config: RunConfig, script: str, arguments: tuple[str, ...] = (), *, show_timings: bool = False, command: str = "") -> None:
    """Train `script` as `config` says; returns when it is done, or at once when it was done before.

    Raises:
        UsageError, InfrastructureError, Interrupted, or whatever the script raises.
    """
    path = checked_script(script)
    settle(config.kernels)
    set_determinism(config.determinism)
    timings = Timings()
    timings.mark("command line parsed")
    given, arguments = arguments, hidden_arguments(arguments)  # only the script is given its secrets
    remember([*given, *shlex.split(command), *config.secrets])
    text = path.read_bytes()
    with warnings.catch_warnings(action="ignore"):  # they come once more when it runs
        compile(text, str(path), "exec", dont_inherit=True)  # a script that is no Python must not begin a run
    sha256, code = hashlib.sha256(text).hexdigest(), _code_digest(text)
    with told(config.run_dir, config.storage_options):
        _train(config, script, given, arguments, sha256, code, timings, show_timings, command)


def _train(
    config: RunConfig, script: str, given: tuple[str, ...], arguments: tuple[str, ...], sha256: str, code: str, timings: Timings,
    show_timings: bool, command: str,
) -> None:  # fmt: skip
    path = Path(script)
    with awaiting("looking at the run directory"):
        entry = enter(config, script=path.name, arguments=arguments, script_sha256=sha256, script_code=code)
    for note in entry.notes:
        print(f"[disttrain] {hidden(note)}", flush=True)
    if entry.finished:
        print(f"[disttrain] {hidden(entry.directory.run_dir)}: this run is finished; nothing was changed (--restart trains anew)")
        return

    def tell_interrupted() -> None:
        line = resume_command(command, entry.directory.run_dir)
        again = f"\n  with the secrets put in that are hidden here as {HIDDEN}" if HIDDEN in line else ""
        print(f"[disttrain] interrupted. Go on with:\n  {line}{again}", file=sys.stderr)

    def leave_at_once() -> None:
        tell_interrupted()
        end_process(Interrupted.exit_code)

    start = ClusterStart(config, timings, compute=compute_of(config, entry))
    start.begin()
    try:
        with timings.span("importing disttrain and torch"), awaiting("loading torch"):
            from disttrain.callbacks.prompt import to_say  # late: brings torch, while Ray starts
            from disttrain.launch.awaiting import awaited_in
            from disttrain.launch.endings import tell_end
            from disttrain.launch.session import Session

        session = Session(
            config, entry, start, timings, script=path.name, arguments=arguments, script_folder=path.resolve().parent,
            script_sha256=sha256, script_code=code, leave_at_once=leave_at_once,
        )  # fmt: skip
    except BaseException as error:
        start.end(at_once=True)
        if isinstance(error, KeyboardInterrupt):
            tell_interrupted()
        raise
    before = sys.argv, sys.path[:]
    sys.argv = [script, *given]
    sys.path[0:1] = [str(path.resolve().parent)]
    try:
        heard, awaited = overhearing(session.console.prints.overhear), awaiting(lambda: awaited_in(session, path.name))
        with session, heard, timings.span("script"), awaited:
            runpy.run_path(str(path), run_name="__main__")
        tell_end(session, path.name)
    except SystemExit as ended:
        if not ended.code:  # sys.exit() at the end of a main() is an end like any other
            tell_end(session, path.name)
        raise
    except KeyboardInterrupt:
        tell_interrupted()
        raise
    except BdbQuit as error:
        if not sys.stdin or not sys.stdin.isatty():
            print(f"[disttrain] {_breakpoint_of(error)}: breakpoint() asked at a standard input that is no terminal", file=sys.stderr)
        raise
    finally:
        for line in to_say():
            print(line, flush=True)
        sys.argv, sys.path[:] = before
        if show_timings:
            print(timings.table())


def checked_script(script: str) -> Path:
    """The path of a script that may be run.

    Raises:
        UsageError: there is no such file, or it is a folder or a notebook.
    """
    path = Path(script)
    if path.suffix == ".ipynb":
        raise UsageError(
            f"{script} is a notebook.\n  expected  a Python file\n"
            "  try       with disttrain.distribute(workers=2): in one of its cells; or jupyter nbconvert --to script, and launch that"
        )
    if path.is_file():
        return path
    folder = path if path.is_dir() else path.parent
    beside = sorted(folder.glob("*.py")) if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, [other.name for other in beside], n=_NEAR) or [other.name for other in beside[:_NEAR]]
    such = f", such as {', '.join(str(folder / name) for name in near)}" if near else ""
    raise UsageError(f"{f'{script} is a folder' if path.is_dir() else f'there is no script {script!r}'}.\n  expected  a Python file{such}")


def _breakpoint_of(error: BdbQuit) -> str:
    """FILE:LINE at which the debugger stood."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).name not in ("bdb.py", "pdb.py")]
    return f"{frames[-1].filename}:{frames[-1].lineno}"


def _code_digest(text: bytes) -> str:
    try:
        return hashlib.sha256(code_of(text).encode()).hexdigest()
    except (SyntaxError, tokenize.TokenError):  # Python accepts it, so it is ours that does not
        return ""


def resume_command(command: str, run_dir: str) -> str:
    """What goes on with the run that `command` began, for a shell: it begins nothing anew, drives nobody out, and names the directory.

    Secrets in it are hidden.

    Example:
        >>> resume_command("disttrain launch train.py --workers 2 --restart -- --restart 'a b'", "runs/train-3")
        "disttrain launch train.py --workers 2 --run-dir runs/train-3 -- --restart 'a b'"
    """
    if not command:
        return "the same command"
    words = list(hidden_arguments(shlex.split(command)))
    end = words.index("--") if "--" in words else len(words)
    own = [word for word in words[:end] if word not in ("--restart", "--take-over") and not word.startswith("--step=")]
    if "--step" in own:  # it went back there once; what came after is to be kept
        place = own.index("--step")
        del own[place : place + 2]
    if not any(word == "--run-dir" or word.startswith("--run-dir=") for word in own):
        own += ["--run-dir", hidden(run_dir)]
    return shlex.join(own + words[end:])
