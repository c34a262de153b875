import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import disttrain as dt
from disttrain import callbacks

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "keras" / "callbacks.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_callback_has_its_row():
    named = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `"))))
    assert set(callbacks.__all__) - named == {"MonitorCallback"}  # a base, which Keras does not export either


@pytest.fixture
def clients(monkeypatch):
    """Stand-ins for the clients of W&B and MLflow, which note what they are told."""
    told = []

    def noting(name):
        return lambda *arguments, **named: told.append((name, *arguments, *named.values()))

    run = SimpleNamespace(log=noting("log"), finish=noting("finish"))
    names = ("start_run", "log_metrics", "end_run")
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **_: run))
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(**{name: noting(name) for name in names}))
    return told


def test_the_examples_on_the_page_run_and_tell_their_clients_of_each_epoch(clients):
    names = {"dt": dt}
    for block in BLOCKS:
        exec(block, names)
    listed = callbacks.CallbackList([names["to_wandb"], names["to_mlflow"], names["LossHistory"](), names["Patience"]()])
    listed.on_train_begin()
    listed.on_train_batch_end(0, {"loss": 0.75})
    listed.on_epoch_end(0, {"loss": 0.5, "f1": [0.5, 1.0]})
    listed.on_train_end()
    assert listed.callbacks[2].losses == [0.75] and listed.state_dict() == {"Patience": {"waited": 0}}
    assert clients == [
        ("start_run",),
        ("log", {"epoch": 0, "loss": 0.5, "f1": [0.5, 1.0]}),
        ("log_metrics", {"loss": 0.5}, 0),
        ("finish",),
        ("end_run",),
    ]
