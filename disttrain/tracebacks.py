"""The traceback as the script's author needs it: the frames of their code, without the machinery that led there."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

_HERE, _LIBRARY = str(Path(__file__).parent), os.path.dirname(os.__file__)
# By where they are installed: a script may lie in a folder of such a name.
_MACHINERY = (
    f"{_HERE}/", "-packages/torch/nn/modules/module.py", "-packages/typer/", "-packages/click/", "<frozen runpy>", f"{_LIBRARY}/runpy.py",
    f"{_LIBRARY}/contextlib.py",
)  # fmt: skip


def own_traceback(error: BaseException) -> str:
    """The text of `error` with its causes. Frames of this package and of what calls it are left out, unless there are no others."""
    described = traceback.TracebackException.from_exception(error)
    link: traceback.TracebackException | None = described
    while link is not None:
        own = [frame for frame in link.stack if not any(part in frame.filename for part in _MACHINERY)]
        if own or hasattr(link, "filename"):  # a SyntaxError, which names its own place
            link.stack = traceback.StackSummary.from_list(own)
        link = link.__cause__ or link.__context__
    return "".join(described.format())


def own_place(error: BaseException) -> str:
    """`FILE:LINE` of the innermost of the script's own frames, "" where there is none."""
    installed = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((f"{_HERE}/", "<frozen", *installed)) and "/typer/" not in frame.filename
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
