"""The activation viewer: `server.launch(model)`, then a browser shows what each layer makes of an input."""

from __future__ import annotations

import builtins
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

from disttrain.errors import UsageError


class Viewer:
    """A viewer that runs. `with` stops it at the end of the block; in a notebook it shows itself.

    Attributes:
        url: where the page is.
    """

    def __init__(self, server: Any, url: str) -> None:
        self.url = url
        self._server = server
        self._stopped = False
        self._lock = threading.Lock()
        # daemon: a notebook that ends does not wait for its viewer
        self._thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="activation-viewer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, and free the port. A second time does nothing."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait(self) -> None:
        """Return when it is stopped, or at Ctrl-C, which stops it."""
        with self._until_ctrl_c():
            while self._thread.is_alive():
                self._thread.join(0.5)  # in parts, so that Ctrl-C comes through everywhere

    @contextlib.contextmanager
    def _until_ctrl_c(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            print("\nactivation viewer: stopped", flush=True)
        finally:
            self.stop()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Viewer {self.url}{' (stopped)' if self._stopped else ''}>"

    def _repr_html_(self) -> str:
        if self._stopped:
            return "<p>The activation viewer is stopped.</p>"
        return f'<iframe src="{self.url}" title="Activation viewer" width="100%" height="800" style="border:0"></iframe>'


def launch(
    model: Any,
    classes: Sequence[Any] | None = None,
    top: int = 5,
    input_folder: str | os.PathLike[str] = "./",
    port: int = 5000,
    *,
    host: str = "127.0.0.1",
    run: str | os.PathLike[str] | None = None,
    preprocess: Callable[[Any], Any] | None = None,
    rescale: float | None = None,
    mean: Any = None,
    std: Any = None,
    centre_drawings: bool | None = None,
    block: bool | None = None,
    open_browser: bool = False,
) -> Viewer:
    """Show a model in the browser. Nothing is written to disk, and no other machine can look unless `host` says so.

    Args:
        model: a model, the path of a `.keras` file, or the run directory of a launch, any fsspec URL: then the newest committed
            checkpoint is followed, and older ones can be chosen.
        classes: names of the classes; None takes those that the run has.
        top: how many predictions are shown.
        input_folder: where images and .npy or .npz files are. Only files in it can be seen.
        port: 0 takes any that is free.
        host: the address to listen on; anything but this machine's own lets others see the model and the folder.
        run: a run directory whose weights go into a copy of `model`: for models whose `call` is code.
        preprocess: makes what the model takes from a PIL image, an array or a text.
        rescale: a factor for pictures' values from 0 to 255. None: 1 for a model with a Rescaling or Normalization layer, else what gives
            the range that the run's samples have, or that the model was trained on; where nobody knows, 1. The page says which.
        mean, std: subtracted from, and divided into, pictures after that; a number or one for each channel. Without `rescale`, of
            values from 0 to 1 where none of them is larger than 1.
        centre_drawings: place a drawing in the middle, as MNIST places its digits. None: where the samples lie so.
        block: True returns when the viewer ends, False at once. None: at once in a notebook or a Python prompt, else at its end.
        open_browser: open the page in a browser of this machine.

    Raises:
        UsageError: an argument is wrong, the port is in use, there is no such model, run or folder.

    Example:
        with server.launch(model, input_folder="digits", block=False) as viewer:
            print(viewer.url)
    """
    from disttrain.viewers.app import create_app  # late: the server loads where it is launched
    from disttrain.viewers.door import Door, listen
    from disttrain.viewers.folder import Folder

    if not isinstance(host, str):
        raise UsageError(f"host={host!r}: expected an address or a name of this machine, such as '127.0.0.1'.")
    folder = Folder(input_folder)
    with contextlib.ExitStack() as undo:
        opened = undo.enter_context(listen(host, port))  # before a large model is read: a port in use is told at once
        from disttrain.viewers.answers import Answers  # late: bring torch; a port in use is told before
        from disttrain.viewers.sources import open_source

        answers = Answers(
            open_source(model, run),
            folder,
            classes=classes,
            top=top,
            preprocess=preprocess,
            rescale=rescale,
            mean=mean,
            std=std,
            centre_drawings=centre_drawings,
        )
        door = Door(host, int(opened.getsockname()[1]))
        viewer = Viewer(_served(opened, door, create_app(answers, door)), door.url)
    if not door.is_local:
        print(f"warning: host={host!r} lets everybody who reaches it see the model and {folder.path}", file=sys.stderr)
    blocks = not _is_interactive() if block is None else block
    with viewer._until_ctrl_c() if blocks else contextlib.nullcontext():  # from the line on that promises it
        print(f"activation viewer: {viewer.url}{'  (Ctrl-C stops it)' if blocks else ''}", flush=True)
        if open_browser:
            import webbrowser  # late: only where it is asked for

            with contextlib.suppress(Exception):  # no browser is no reason to stop
                webbrowser.open(viewer.url)
        if blocks:
            viewer.wait()
    return viewer


def _served(opened: Any, door: Any, app: Any) -> Any:
    """A server of threads on a socket that listens."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        timeout = 30  # seconds, for a client that says nothing

        def version_string(self) -> str:
            return "disttrain"

        def log(self, type: str, message: str, *args: Any) -> None:
            """Nothing: a page asks often, and answers say themselves what was wrong."""

    return make_server(door.host, door.port, app, threaded=True, request_handler=Handler, fd=opened.fileno())


def _is_interactive() -> bool:
    """A notebook or a Python prompt, where a call that never returns would be in the way."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive) or hasattr(builtins, "__IPYTHON__")
