"""A notebook, cell by cell, in a real kernel: bars that move, training on workers, a cell that is interrupted and run again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from documented import DOCS, blocks

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

pytestmark = [
    pytest.mark.ray,
    pytest.mark.leaves_behind("processes", "threads"),  # the shared Ray keeps idle processes, and Jupyter a thread
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of zmq and tornado
]

PAGE = DOCS / "tutorials" / "notebook.md"  # its cells run after those below
MODEL = """
import time, threading
import numpy as np
import psutil
import disttrain as dt
from disttrain import layers
from disttrain.callbacks.progress_bar import active_bar

rng = np.random.default_rng(0)
x = rng.normal(size=(320, 8)).astype("float32")
y = (x.sum(1) > 0).astype("int64")

class Slowly(dt.callbacks.Callback):
    "A step takes a while: a bar has something to show."
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.05)

def make():
    model = dt.Sequential([dt.Input((8,)), layers.Dense(4, activation="relu"), layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

threads, children = set(threading.enumerate()), set(psutil.Process().children(recursive=True))
"""
CLEAN = """
late = [thread.name for thread in threading.enumerate() if thread not in threads and not thread.daemon]
print("bar", active_bar(), "threads", late, "children", set(psutil.Process().children(recursive=True)) - children)
"""


class Notebook(nbclient.NotebookClient):
    """Runs cells and keeps every message, in their order; `reacts` is told each."""

    def __init__(self, cells: list[str], folder: Path, reacts: Callable[[Notebook, int, dict[str, Any]], None]) -> None:
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        super().__init__(made, timeout=600, allow_errors=True, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
        self._reacts = reacts
        self.messages: list[tuple[int, dict[str, Any]]] = []

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        self.messages.append((cell_index, msg))
        self._reacts(self, cell_index, msg)
        return super().process_message(msg, cell, cell_index)

    def interrupt(self) -> None:
        """What the button does."""
        os.kill(self.km.provisioner.pid, signal.SIGINT)

    def shown(self, cell: int) -> list[str]:
        """The states of the bars of a cell, one after the other."""
        kinds = ("display_data", "update_display_data")
        return [msg["content"]["data"]["text/plain"] for at, msg in self.messages if at == cell and msg["msg_type"] in kinds]

    def printed(self, cell: int) -> str:
        return "".join(msg["content"]["text"] for at, msg in self.messages if at == cell and msg["msg_type"] == "stream")

    def error(self, cell: int) -> str | None:
        return next((msg["content"]["ename"] for at, msg in self.messages if at == cell and msg["msg_type"] == "error"), None)


@pytest.fixture
def jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of its own for what Jupyter keeps."""
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def counts(states: list[str]) -> list[str]:
    """`12/60` of each state that shows a bar."""
    return [state.splitlines()[-1].split("/")[0].strip() for state in states]


def test_a_notebook_fits_distributes_is_interrupted_and_runs_again(jupyter: Path, ray_address: str):
    on_workers = f"""
dt.clear_session()  # so that the layers have the names again that they had
model = make()
with dt.distribute(workers=2, address={ray_address!r}, run_dir="run"):
    history = model.fit(x, y, batch_size=32, epochs=3, callbacks=[Slowly()])
print("epochs", history.epoch, int(model.optimizer.iterations))
"""
    cells = [
        MODEL,
        "make().fit(x, y, batch_size=32, epochs=2, callbacks=[Slowly()]);",
        "make().fit(x, y, batch_size=32, epochs=1000, callbacks=[Slowly()])",  # interrupted
        CLEAN + "make().fit(x, y, batch_size=32, verbose=2);",
        on_workers,  # interrupted in its second epoch
        CLEAN,
        on_workers,  # goes on
    ]
    cells += [block.text.replace("workers=2)", f"workers=2, address={ray_address!r})") for block in blocks(PAGE)]
    interrupted = set()

    def interrupts(notebook: Notebook, cell: int, msg: dict[str, Any]) -> None:
        seen = notebook.shown(cell)
        if cell not in interrupted and ((cell == 2 and len(seen) > 2) or (cell == 4 and any("Epoch 2/3" in state for state in seen))):
            interrupted.add(cell)
            notebook.interrupt()

    notebook = Notebook(cells, jupyter, interrupts)
    notebook.execute(cleanup_kc=True)
    said = [(notebook.error(cell), notebook.printed(cell)) for cell in range(len(cells))]

    bars = notebook.shown(1)
    assert counts(bars)[0] == "0" and counts(bars)[-1] == "10" and len(set(counts(bars))) > 3, bars  # it was seen to move
    outputs = [output["data"]["text/plain"] for output in notebook.nb.cells[1].outputs if output["output_type"] == "display_data"]
    assert [output.splitlines()[0] for output in outputs] == ["Epoch 1/2", "Epoch 2/2"]  # a saved notebook holds the ends alone
    assert all("10/10" in output and "accuracy" in output for output in outputs)

    assert notebook.error(2) == "KeyboardInterrupt", said
    assert "bar None threads [] children set()" in notebook.printed(3) and "10/10 - " in notebook.printed(3), said

    assert notebook.error(4) in ("Interrupted", "KeyboardInterrupt"), said
    assert "waiting for workers" in notebook.printed(4) or "the first step of fit()" in notebook.printed(4), said
    assert "bar None threads [] children set()" in notebook.printed(5), said
    assert notebook.error(6) is None and "epochs [0, 1, 2] 30" in notebook.printed(6), said
    assert [notebook.error(cell) for cell in range(7, len(cells))] == [None] * (len(cells) - 7), said
    assert "this run is kept in" in notebook.printed(9) and "http://" in notebook.printed(10)
    assert "from     checkpoint" in notebook.printed(6) and counts(notebook.shown(6))[-1] == "10", said
