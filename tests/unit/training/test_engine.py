"""The step over slices: plain torch's numbers with one slice, and the same bits on any number of workers with several."""

from __future__ import annotations

import functools
import threading

import numpy as np
import pytest
import torch
from engine_runs import alone, bits, copied, job_of, on_workers, run_to_end, step
from torch import nn

import disttrain as dt
from disttrain import layers
from disttrain.collectives import GroupBroken, SoloGroup
from disttrain.collectives import reduction as reduction_module
from disttrain.collectives.reduction import TreeReduction
from disttrain.errors import NonFiniteLoss, RunMismatch
from disttrain.training.boundary_decision import BoundaryDecision
from disttrain.training.compiled.class_weight import class_weights
from disttrain.training.program import Kind
from disttrain.training.step import workspace as workspace_module
from disttrain.training.step.engine import Engine
from disttrain.training.step.replica import StateDict
from disttrain.training.step.side_channel import REQUESTS


class FromTorch(nn.Module):
    """Batch norm with its integer counter, a second dtype, and a parameter that no loss depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(5))
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 3, dtype=torch.float64))
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.movedim(-1, 1)).movedim(1, -1) * self.scale.float()


def rich_model() -> dt.Sequential:
    dt.clear_session()
    dt.set_random_seed(5)
    model = dt.Sequential(
        [
            dt.Input((4, 4, 2)),
            layers.Conv2D(3, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            FromTorch(),
            layers.Flatten(),
            layers.Dense(6, name="frozen"),
            layers.Dropout(0.4),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.get_layer("frozen").trainable = False
    model.compile(optimizer=dt.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def rich_data(samples: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(samples, 4, 4, 2)).astype(np.float32), rng.integers(0, 3, samples)


def test_one_slice_gives_the_numbers_of_a_plain_torch_loop():
    dt.set_random_seed(0)
    model = dt.Sequential([dt.Input((3,)), layers.Dense(4, activation="tanh"), layers.Dense(1)])
    model.compile(optimizer=dt.optimizers.SGD(0.1, momentum=0.0), loss="mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 3)).astype(np.float32), rng.normal(size=(10, 1)).astype(np.float32)
    kernel, bias, kernel2, bias2 = (torch.tensor(weight, requires_grad=True) for weight in model.get_weights())
    losses = []
    for _ in range(2):
        for start in (0, 4, 8):
            batch, target = torch.tensor(x[start : start + 4]), torch.tensor(y[start : start + 4])
            loss = ((torch.tanh(batch @ kernel + bias) @ kernel2 + bias2 - target) ** 2).mean()
            loss.backward()
            losses.append((loss.item(), len(batch)))
            with torch.no_grad():
                for weight in (kernel, bias, kernel2, bias2):
                    weight -= 0.1 * weight.grad
                    weight.grad = None
    engine = run_to_end(Engine(job_of(model, 1, x, y, batch_size=4, epochs=2, shuffle=False)))
    for ours, theirs in zip(model.get_weights(), (kernel, bias, kernel2, bias2), strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert engine.replica.train_logs["loss"] == pytest.approx(sum(value * count for value, count in losses[3:]) / 10, rel=1e-5)


def test_slices_add_up_to_the_mean_over_the_batch():
    """Without layers that look at the slice, four slices are one batch but for rounding."""

    def trained(virtual_workers: int) -> list[np.ndarray]:
        dt.set_random_seed(0)
        model = dt.Sequential([dt.Input((3,)), layers.Dense(4, activation="tanh", kernel_regularizer="l2"), layers.Dense(1)])
        model.compile(optimizer=dt.optimizers.SGD(0.1), loss="mse")
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(11, 3)).astype(np.float32), rng.normal(size=(11, 1)).astype(np.float32)
        run_to_end(Engine(job_of(model, virtual_workers, x, y, batch_size=5, epochs=2)))
        return model.get_weights()

    for one, four in zip(trained(1), trained(4), strict=True):
        np.testing.assert_allclose(one, four, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("workers", [2, 3, 4])
@pytest.mark.parametrize("samples", [16, 18], ids=["full batches", "a last batch with fewer samples than slices"])
def test_any_number_of_workers_gives_the_bits_of_one(samples, workers):
    job = job_of(rich_model(), 4, *rich_data(samples), batch_size=8, epochs=2, validation_split=0.0)
    expected = bits(run_to_end(alone(job)))
    for engine in on_workers(job, workers):
        assert bits(engine) == expected


def test_the_counter_of_a_torch_batch_norm_counts_batches_not_slices():
    job = job_of(rich_model(), 4, *rich_data(18), batch_size=8, epochs=2)
    engine = run_to_end(alone(job))
    counters = [b for name, b in engine.replica.model.named_buffers() if name.endswith("num_batches_tracked")]
    assert [int(counter) for counter in counters] == [6]


def test_frozen_and_unused_weights_stay_as_they_were():
    model = rich_model()
    job = job_of(model, 4, *rich_data(16), batch_size=8)
    before = {name: tensor.clone() for name, tensor in model.named_weights()}
    engine = run_to_end(alone(job))
    same = {name for name, tensor in engine.replica.model.named_weights() if torch.equal(tensor, before[name])}
    kept = [name for name in before if "frozen" in name or "unused" in name]
    assert len(kept) == 3 and same == set(kept)


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("whole_bytes", [0, 256 * 1024], ids=["by all-to-all", "whole"])
def test_buckets_that_leave_during_the_backward_pass_change_no_bit(workers, whole_bytes, monkeypatch):
    job = job_of(rich_model(), 4, *rich_data(18), batch_size=8, epochs=2)
    expected = bits(run_to_end(alone(job)))
    monkeypatch.setattr(workspace_module, "OVERLAP_BYTES", 0)
    monkeypatch.setattr(workspace_module, "TreeReduction", functools.partial(TreeReduction, bucket_bytes=384))
    monkeypatch.setattr(reduction_module, "WHOLE_BYTES", whole_bytes)

    def work(engine: Engine) -> Engine:
        assert engine.workspace.overlaps and len(engine.workspace.pools[Kind.TRAIN].plan.buckets) > 3
        return run_to_end(engine)

    for engine in on_workers(job, workers, work):
        assert bits(engine) == expected


@pytest.mark.parametrize("overlap", [False, True], ids=["after the backward pass", "during it"])
@pytest.mark.parametrize("sending", [False, True], ids=["as it waits", "as it sends"])
def test_a_group_that_breaks_in_the_reduction_leaves_the_state_of_the_tick_before(overlap, sending, monkeypatch):
    job = job_of(rich_model(), 4, *rich_data(24), batch_size=8, epochs=1)
    expected = bits(run_to_end(alone(job)))
    if overlap:
        monkeypatch.setattr(workspace_module, "OVERLAP_BYTES", 0)
        monkeypatch.setattr(workspace_module, "TreeReduction", functools.partial(TreeReduction, bucket_bytes=384))
    seen = {}
    stepped = threading.Event()

    def broken(*arguments):
        raise GroupBroken("a socket is gone")

    def work(engine: Engine) -> Engine:
        step(engine)
        if engine.workspace.group.rank == 1:
            stepped.wait()
            engine.workspace.group.abort()
            return engine
        before = bits(engine)
        stepped.set()
        if sending:
            engine.workspace.group._lay_down = broken
        with pytest.raises(GroupBroken):
            step(engine)
        seen["before"], seen["after"] = before, bits(engine)
        engine.attach(SoloGroup(), [(0, 4)])
        return run_to_end(engine)

    survivor = on_workers(job, 2, work)[0]
    assert seen["after"] == seen["before"]
    assert bits(survivor) == expected


def test_a_loss_that_is_not_finite_is_named_with_its_place_and_updates_nothing():
    model = dt.Sequential([dt.Input((2,)), layers.BatchNormalization(), layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    x = np.ones((12, 2), np.float32)
    x[5] = np.nan
    engine = alone(job_of(model, 2, x, np.ones((12, 1)), batch_size=4, shuffle=False))
    step(engine)
    before = bits(engine)
    with pytest.raises(NonFiniteLoss, match=r"nan at step 2 \(epoch 1, batch 2\)"):
        step(engine)
    assert bits(engine) == before


def test_class_weights_are_sample_weights_by_class():
    x, y = rich_data(16)
    by_class = run_to_end(alone(job_of(rich_model(), 4, x, y, batch_size=8, class_weight={0: 2.0, 2: 0.5})))
    weight = np.array([2.0, 1.0, 0.5], np.float32)[y]
    by_sample = run_to_end(alone(job_of(rich_model(), 4, x, y, batch_size=8, sample_weight=weight)))
    assert bits(by_class) == bits(by_sample)
    assert bits(by_class) != bits(run_to_end(alone(job_of(rich_model(), 4, x, y, batch_size=8))))


def test_class_weights_of_labels_columns_and_one_hot_rows():
    expected = [3.0, 1.0, 0.5]
    for labels in (torch.tensor([2, 0, 1]), torch.tensor([[2], [0], [1]]), torch.eye(3)[[2, 0, 1]]):
        assert class_weights(labels, {2: 3.0, 1: 0.5}).tolist() == expected


def test_sums_of_losses_and_metrics_are_those_over_all_samples():
    dt.set_random_seed(0)
    model = dt.Sequential([dt.Input((2,)), layers.Dense(3, activation="softmax")])
    model.compile(optimizer=dt.optimizers.SGD(0.0), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(11, 2)).astype(np.float32), rng.integers(0, 3, 11)
    probabilities = model.predict(x)
    accuracy = float(np.mean(probabilities.argmax(1) == y))
    loss = float(np.mean(-np.log(probabilities[np.arange(11), y].astype(np.float64))))
    for engine in on_workers(job_of(model, 3, x, y, batch_size=4), 2):
        assert engine.replica.train_logs["accuracy"] == accuracy  # counts: exact
        assert engine.replica.train_logs["loss"] == pytest.approx(loss, rel=1e-6)
    evaluated = dict(zip(("loss", "accuracy"), model.evaluate(x, y, batch_size=4, verbose=0), strict=True))
    assert evaluated == {"loss": pytest.approx(loss, rel=1e-6), "accuracy": accuracy}


def test_a_state_dict_carries_the_whole_state_to_another_engine():
    job = job_of(rich_model(), 4, *rich_data(24), batch_size=8, epochs=2, validation_split=0.25)
    first, second = alone(job), alone(job)
    for _ in range(5):  # two steps, validation, the boundary, and into the second epoch
        step(first)
    second.replica.load_state_dict(copied(first))
    assert bits(second) == bits(first)
    assert bits(run_to_end(second)) == bits(run_to_end(first))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda tensors, meta: tensors.update({"model/nothing": torch.zeros(1)}), KeyError, "holds, unlike this one, 'model/nothing' "),
        (lambda tensors, meta: tensors.pop("totals"), KeyError, "lacks 'totals'"),
        (lambda tensors, meta: tensors.update(totals=torch.zeros(2)), ValueError, r"'totals' has the shape \(2,\), expected"),
        (lambda tensors, meta: tensors.update(totals=tensors["totals"].float()), ValueError, "'totals' has the dtype torch.float32"),
        (lambda tensors, meta: meta.clear(), KeyError, "has no meta"),
        (lambda tensors, meta: meta["call"].update(virtual_workers=3), RunMismatch, "virtual workers: 3 then, 4 now"),
    ],
    ids=["another tensor", "a tensor less", "another shape", "another dtype", "no meta", "another call"],
)
def test_a_state_dict_that_does_not_fit_is_refused_by_name_and_changes_nothing(change, error, says):
    job = job_of(rich_model(), 4, *rich_data(24), batch_size=8)
    first, second = alone(job), alone(job)
    step(first)
    state, before = copied(first), bits(second)
    change(state.tensors, state.meta)
    with pytest.raises(error, match=says):
        second.replica.load_state_dict(state)
    assert bits(second) == before


def test_a_part_of_a_state_leaves_the_rest_as_it_is():
    engine = alone(job_of(rich_model(), 4, *rich_data(24), batch_size=8))
    before = bits(engine)
    engine.replica.load_state_dict(StateDict({"totals": torch.full_like(engine.replica.totals, 2.0)}, {}), strict=False)
    after = bits(engine)
    assert [name for name in after if after[name] != before[name]] == ["totals"] and set(engine.replica.totals.tolist()) == {2.0}


def test_a_wish_of_one_worker_is_granted_to_all_at_the_same_step():
    job, nothing = job_of(rich_model(), 4, *rich_data(24), batch_size=8), (False,) * len(REQUESTS)

    def work(engine: Engine) -> list:
        wishes = (engine.workspace.group.rank == 2, *nothing[1:])
        return [engine.run_tick(engine.position, wishes if tick == 1 else nothing) for tick in range(3)]

    for agreed in on_workers(job, 3, work):
        assert agreed == [nothing, (True, *nothing[1:]), nothing]


def test_orders_set_the_rate_the_weights_and_the_way():
    model = rich_model()
    job = job_of(model, 4, *rich_data(24), batch_size=8, epochs=3, validation_split=0.25, callbacks=[EveryBatch()])
    engine = alone(job)
    step(engine)
    assert engine.position.kind is Kind.BATCH_BOUNDARY
    name, tensor = next(iter(engine.replica.model.named_weights()))
    engine.apply(
        BoundaryDecision(learning_rate=0.5, arrays={f"model/{name}": np.full(tuple(tensor.shape), 7.0, np.float32)}, end_phase=True)
    )
    assert engine.replica.optimizer.learning_rate == 0.5
    assert torch.equal(engine.replica.state_dict().tensors[f"model/{name}"], torch.full(tuple(tensor.shape), 7.0))
    assert engine.position.kind is Kind.VALIDATE  # the rest of the phase is left out
    step(engine)
    assert engine.position.kind is Kind.EPOCH_BOUNDARY
    engine.apply(BoundaryDecision(end_call=True))
    assert engine.position.kind is Kind.END and engine.replica.ended


class EveryBatch(dt.Callback):
    """Makes every step a boundary."""

    def on_train_batch_end(self, batch, logs=None):
        pass
