"""A command as it was meant: an argument of the script that was given to `launch`, a script without `launch`, another tool's word."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from typing import Any

# What other tools call a command; theirs of a flag as well.
_MEANT = {
    "help": "--help", "version": "--version", "train": "launch", "run": "launch", "start": "launch", "resume": "launch", "ps": "runs",
    "ls": "runs", "list": "runs", "kill": "stop", "watch": "status RUN --watch", "tail": "logs RUN --follow", "dashboard": "view",
}  # fmt: skip
_LIKE = 0.75  # of 1: --wrokers is like --workers, --lr and --epochs are like nothing


def with_advice(error: BaseException, words: Sequence[str]) -> BaseException:
    """`error`, which says how the command was meant where that can be told."""
    context, option = getattr(error, "ctx", None), getattr(error, "option_name", None)
    if context is None:
        return error
    told: Any = error
    if option is None:
        if context.parent is None and words and str(getattr(error, "message", "")).startswith("No such command"):
            told.message = _other_command(words, context.command) or told.message
        return error
    if getattr(context.command, "name", None) != "launch":
        return error
    own = _own_options(context.command)
    if option == "-m" and words[-1] != "-m":
        module = words[list(words).index("-m") + 1] if "-m" in words else "package.module"
        told.message = f"launch has no option -m: it takes the file of a script, such as {module.replace('.', '/')}.py"
        return error
    meant = meant_command(words, own)
    if meant is not None and not difflib.get_close_matches(option, own, n=1, cutoff=_LIKE):  # else it is a slip of the pen
        told.possibilities = None
        told.message = f"launch has no option {option}. Options of the script stand after --:\n{meant}"
    return error


def _other_command(words: Sequence[str], group: Any) -> str | None:
    """What to write in the place of a command that there is none of; None where nobody can tell."""
    first = words[0]
    if first.endswith((".py", ".ipynb")):
        return f"There is no command {first!r}. A script is trained by\n{shlex.join(['disttrain', 'launch', *words])}"
    if first in _MEANT:
        meant = _MEANT[first]
        rest = f" {shlex.join(words[1:])}" if meant == "launch" and len(words) > 1 else ""
        return f"No such command {first!r}. Here it is\ndisttrain {meant}{rest}"
    if not difflib.get_close_matches(first, group.commands, n=1):
        return f"No such command {first!r}. There are {', '.join(sorted(group.commands))}"
    return None


def meant_command(words: Sequence[str], own: dict[str, bool]) -> str | None:
    """The command with what is not launch's own behind `--`; None where no script is named before the first such option.

    Args:
        words: of the command line, from `launch` on.
        own: launch's own options, and whether each takes a value.

    Example:
        >>> meant_command(["launch", "train.py", "--lr", "0.5", "--workers", "2"], {"--workers": True})
        'disttrain launch train.py --workers 2 -- --lr 0.5'
    """
    end = list(words).index("--") if "--" in words else len(words)
    ours: list[str] = []
    theirs: list[str] = []
    script = False
    rest = list(words[1:end])
    while rest:
        word = rest.pop(0)
        name = word.partition("=")[0]
        if name in own:
            ours += [word, *([rest.pop(0)] if own[name] and "=" not in word and rest else [])]
        elif not word.startswith("-") and not script:
            script = True
            ours.append(word)
        elif not script:
            return None
        else:
            theirs.append(word)
    return shlex.join(["disttrain", words[0], *ours, "--", *theirs, *words[end + 1 :]])


def _own_options(command: Any) -> dict[str, bool]:
    return {
        name: not getattr(parameter, "is_flag", False)
        for parameter in command.params
        for name in [*parameter.opts, *parameter.secondary_opts]
        if name.startswith("-")
    } | {"-h": False, "--help": False}
