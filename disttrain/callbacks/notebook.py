"""One piece of a notebook's output that changes in place. Nothing of Jupyter is loaded: in a notebook it is there."""

from __future__ import annotations

import html
import sys
import uuid
from typing import Any, TextIO


def shell_of(stream: TextIO) -> Any | None:
    """The shell of the notebook that shows what is printed to `stream`; None where that goes elsewhere, such as to a test."""
    if not type(stream).__module__.startswith("ipykernel."):
        return None
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell if hasattr(shell, "display_pub") else None


class Output:
    """A display of the cell that runs. A saved notebook holds what it showed last, not every state on the way.

    Args:
        shell: the notebook's.
    """

    def __init__(self, shell: Any) -> None:
        self._shell, self._id = shell, uuid.uuid4().hex
        self._shown: str | None = None

    def show(self, text: str) -> None:
        """Show `text` in place of what was there."""
        if text == self._shown:
            return
        data = {"text/plain": text, "text/html": f'<pre style="margin: 0">{html.escape(text)}</pre>'}
        self._shell.display_pub.publish(data, {}, transient={"display_id": self._id}, update=self._shown is not None)
        self._shown = text
