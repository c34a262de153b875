"""torch's optimizers and schedulers, and weights that steps move themselves, on workers and in callbacks: as in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import state_cases
import torch
from thread_runs import EPOCH_TICKS, AtEpoch, V, driven, make_model, train
from torch.optim import lr_scheduler

import disttrain as dt
from disttrain.testing.fake_cluster import FaultPlan
from disttrain.training.local import runner


def alone(work: Callable[[], Any]) -> Any:
    """What it gives in one process."""
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        return work()


class Steps(dt.Callback):
    """A scheduler stepped at the end of each epoch."""

    def __init__(self, scheduler: Any) -> None:
        super().__init__()
        self.scheduler = scheduler

    def on_epoch_end(self, epoch, logs=None):
        self.scheduler.step()


class Looks(dt.Callback):
    """What the driver's optimizer shows at each epoch's end."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def on_epoch_end(self, epoch, logs=None):
        optimizer = self.model.optimizer
        slots = {name: [tensor.sum().item() for tensor in tensors] for name, tensors in optimizer.slots.items()}
        self.seen.append((optimizer.iterations, [group["lr"] for group in optimizer.torch_optimizer.param_groups], slots))


class Stops(dt.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def scheduled(*callbacks: Any, model: Any = None) -> Any:
    """A fit by torch's Adam, whose groups a scheduler moves."""
    model = model or make_model()
    first, *others = model.parameters()
    optimizer = torch.optim.Adam([{"params": [first], "lr": 0.05}, {"params": others}], lr=0.02, amsgrad=True)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    looks = Looks()
    result = train([Steps(lr_scheduler.CosineAnnealingLR(optimizer, 5)), looks, *callbacks], epochs=4, model=model)
    return result, looks.seen, optimizer.state_dict()["state"][0]["step"].item()


@pytest.mark.parametrize(("workers", "kill"), [(1, None), (3, EPOCH_TICKS + 1)])
def test_an_optimizer_and_a_scheduler_of_torch_are_the_same_on_workers(workers, kill):
    expected = alone(scheduled)
    assert expected[2] == 12 and len({tuple(rates) for _, rates, _ in expected[1]}) == 4
    faults = FaultPlan() if kill is None else FaultPlan().kill("w1", kill, "before")
    with driven(workers, faults):
        assert scheduled() == expected
        assert faults.all_fired


def test_a_second_driver_goes_on_with_the_optimizer_and_the_scheduler(tmp_path):
    expected = alone(scheduled)
    with driven(2, url=str(tmp_path), every="1steps"), pytest.raises(KeyboardInterrupt):
        scheduled(Stops())
    with driven(3, url=str(tmp_path)):
        result, seen, steps = scheduled()
    assert result == expected[0] and steps == expected[2] and seen[-1] == expected[1][-1]


def fitted(name: str, *callbacks: Any) -> Any:
    """A fit with a step of the script's own, and another after it."""
    task = state_cases.step_task(name)
    arguments = {"batch_size": 7, "verbose": 0}
    logs = [task.model.fit(task.x, task.y, epochs=epochs, callbacks=list(callbacks), **arguments).history for epochs in (2, 1)]
    return task.model.digest(), logs


@pytest.mark.parametrize("name", ["schedulers in a step", "a GAN, clamped", "target networks"])
def test_a_step_that_changes_more_than_its_optimizer_does_goes_on_after_a_loss_and_in_the_next_fit(name):
    expected = alone(lambda: fitted(name))
    for workers, faults in [(1, FaultPlan()), (3, FaultPlan().kill("w2", 1, "before"))]:
        with driven(workers, faults):
            assert fitted(name) == expected
            assert faults.all_fired


@pytest.mark.parametrize("name", ["schedulers in a step", "a GAN, clamped"])
def test_such_a_step_goes_on_from_a_checkpoint(name, tmp_path):
    expected = alone(lambda: fitted(name))
    with driven(2, url=str(tmp_path), every="1steps") as driver:

        def everybody() -> None:
            for worker in list(driver.cluster.workers):
                driver.cluster.kill(worker)

        assert fitted(name, AtEpoch(0, everybody)) == expected
        assert driver.events("restart")


def warmed_up() -> Any:
    """A fit with a schedule beside its optimizer, and what torch's own objects hold in the script's process after it."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    schedule = lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 8))
    model.compile(dt.optimizers.TorchOptimizer(optimizer, scheduler=schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    result = train([], epochs=2, model=model)
    states = optimizer.state_dict()["state"].values()
    return result, schedule.last_epoch, optimizer.param_groups[0]["lr"], [tensor.tolist() for one in states for tensor in one.values()]


@pytest.mark.parametrize(("workers", "kill"), [(1, None), (3, 2)])
def test_a_schedule_in_compile_is_the_same_on_workers_and_torchs_own_objects_have_its_state_afterwards(workers, kill):
    expected = alone(warmed_up)
    assert expected[1] == 6 and len(expected[3]) > 6
    faults = FaultPlan() if kill is None else FaultPlan().kill("w1", kill, "before")
    with driven(workers, faults):
        assert warmed_up() == expected
        assert faults.all_fired
