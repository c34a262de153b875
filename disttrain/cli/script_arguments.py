"""An argument of the script that was given to `launch`: the command as it was meant."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from typing import Any

_LIKE = 0.75  # of 1: --wrokers is like --workers, --lr and --epochs are like nothing


def with_advice(error: BaseException, words: Sequence[str]) -> BaseException:
    """`error`, which says how the command was meant where `launch SCRIPT` met an option that is none of its own."""
    context, option = getattr(error, "ctx", None), getattr(error, "option_name", None)
    if option is None or context is None or getattr(context.command, "name", None) != "launch":
        return error
    own = _own_options(context.command)
    meant = meant_command(words, own)
    if meant is not None and not difflib.get_close_matches(option, own, n=1, cutoff=_LIKE):  # else it is a slip of the pen
        told: Any = error
        told.possibilities = None
        told.message = f"launch has no option {option}. Options of the script stand after --:\n{meant}"
    return error


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
