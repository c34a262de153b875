"""The recipes for trackers, as printed, on fakes that know as much of each tracker as the recipe uses."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import disttrain as dt
from disttrain import layers

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "tutorials" / "trackers.md").read_text(encoding="utf-8")


class Service:
    """What a tracker's server has: runs by name, each with its parameters, numbers and ends."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}

    def open(self, name: str | None) -> dict[str, Any]:
        name = name or f"run-{len(self.runs)}"
        return self.runs.setdefault(name, {"name": name, "params": {}, "logged": [], "ends": []})


def wandb(service: Service) -> ModuleType:
    def init(*, project: str, config: dict[str, Any], id: str | None, resume: str) -> Any:
        run = service.open(id)
        run["params"] = config
        return SimpleNamespace(
            id=run["name"],
            log=lambda logs, step: run["logged"].append((step, logs)),
            finish=lambda exit_code=0: run["ends"].append("failed" if exit_code else "finished"),
        )

    return _module("wandb", init=init)


def mlflow(service: Service) -> ModuleType:
    active: list[dict[str, Any]] = []

    def start_run(run_id: str | None = None) -> Any:
        assert not active, "MLflow: a run is active already"
        active.append(service.open(run_id))
        return SimpleNamespace(info=SimpleNamespace(run_id=active[0]["name"]))

    def end_run(status: str = "FINISHED") -> None:
        active.pop()["ends"].append(status.lower())

    return _module(
        "mlflow",
        start_run=start_run,
        end_run=end_run,
        log_params=lambda params: active[0]["params"].update(params),
        log_metrics=lambda metrics, step: active[0]["logged"].append((step, metrics)),
    )


def aim(service: Service) -> ModuleType:
    class Run:
        def __init__(self, run_hash: str | None = None) -> None:
            self._run = service.open(run_hash)
            self.hash = self._run["name"]

        def __setitem__(self, key: str, value: Any) -> None:
            self._run[key] = value

        def track(self, value: float, name: str, epoch: int) -> None:
            self._run["logged"].append((epoch, {name: value}))

        def close(self) -> None:
            self._run["ends"].append("closed")

    return _module("aim", Run=Run)


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(members)
    return module


class Breaks(dt.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            raise RuntimeError("the script breaks here")


@pytest.mark.parametrize(("make", "recipe", "ends"), [
    (wandb, "WandB", ["failed", "finished"]), (mlflow, "MLflow", ["failed", "finished"]), (aim, "Aim", ["closed", "closed"]),
])  # fmt: skip
def test_a_recipe_logs_each_epoch_closes_after_an_error_and_goes_on_with_the_same_run(make: Any, recipe: str, ends: list[str], monkeypatch):
    service = Service()
    fake = make(service)
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    (code,) = re.findall(rf'^```python title="with_{fake.__name__}.py"\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(code, "recipe.py", "exec"), names)
    tracker = names[recipe](*(["digits"] if recipe == "WandB" else []))

    x, y = np.ones((8, 2), "float32"), np.zeros((8, 1), "float32")
    model = dt.Sequential([dt.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(RuntimeError, match="breaks here"):
        model.fit(x, y, epochs=3, verbose=0, callbacks=[tracker, Breaks()])
    kept = tracker.state_dict()

    fresh = names[recipe](*(["digits"] if recipe == "WandB" else []))  # in another process
    fresh.load_state_dict(kept)
    model.fit(x, y, epochs=3, initial_epoch=2, verbose=0, callbacks=[fresh])
    (run,) = service.runs.values()
    assert [epoch for epoch, logs in run["logged"] if "loss" in logs] == [0, 1, 2] and run["params"]["epochs"] == 3
    assert run["ends"] == ends
