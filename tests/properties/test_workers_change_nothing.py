"""The result depends on the slices into which batches are cut, never on the workers that compute them: bit for bit.

A run is compared by the bytes of weights, row states, slots and sums, by its counters, by the logs of each epoch with validation, and by
what it predicts in the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import batch_cases
import numpy as np
import pytest
import slice_cases
import slice_models
import state_cases
import torch_cases
from engine_runs import bits, step
from hypothesis import given, settings
from hypothesis import strategies as st
from place_bits import OtherBitsByPlace
from slice_runs import Outcome, Task, assert_same, different, engine_of, jobs_of, on_threads, outcomes, train

from disttrain import losses, metrics, optimizers
from disttrain.collectives import GroupBroken
from disttrain.collectives.threads import ThreadGroup, thread_groups
from disttrain.orchestrator import place
from disttrain.training.program import Kind
from disttrain.training.step.engine import Engine

# Losses and metrics of a batch as a whole are among the cases; that they are told of has tests of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.* is no mean over samples")


def assert_workers_do_not_matter(
    task: Task, virtual_workers: int = 4, workers: tuple[int, ...] = (1, 2, 3), within: Callable[[], Any] = nullcontext
) -> None:
    one, *others = outcomes(task, virtual_workers, workers, within)
    for other in others:
        assert_same(other, one)


# -- any number of workers ----------------------------------------------------------------------------------------------------------------


def test_every_class_with_something_to_go_wrong_has_a_case():
    assert {name.split(",")[0] for name in slice_cases.LOSSES} == set(losses.CLASSES)
    assert {name.split(",")[0] for name in slice_cases.METRICS} == set(metrics.CLASSES)
    assert slice_models.classes_with_row_states() <= set(slice_models.STATEFUL)


@pytest.mark.parametrize("name", slice_cases.LOSSES)
def test_a_loss_gives_the_same_bits(name: str):
    assert_workers_do_not_matter(slice_cases.loss_task(name))


@pytest.mark.parametrize("name", slice_cases.METRICS)
def test_a_metric_gives_the_same_bits(name: str):
    assert_workers_do_not_matter(slice_cases.metric_task(name), workers=(1, 3))


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss by both")  # torch's, of KLDivLoss
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", torch_cases.LOSSES)
def test_a_loss_of_torch_gives_the_same_bits(name: str, weighted: bool):
    assert_workers_do_not_matter(torch_cases.loss_task(name, weighted=weighted), workers=(1, 3))


@pytest.mark.parametrize("name", torch_cases.METRICS)
def test_a_metric_of_torchmetrics_gives_the_same_bits(name: str):
    assert_workers_do_not_matter(torch_cases.metric_task(name))


@pytest.mark.parametrize("name", torch_cases.IDIOMS)
def test_what_people_bring_from_torch_gives_the_same_bits(name: str):
    assert_workers_do_not_matter(torch_cases.idiom_task(name))


@pytest.mark.parametrize("name", state_cases.STEPS)
def test_a_step_that_changes_more_than_its_optimizer_does_gives_the_same_bits(name: str):
    assert_workers_do_not_matter(state_cases.step_task(name))


@pytest.mark.parametrize("name", state_cases.OPTIMIZERS)
def test_an_optimizer_of_torch_gives_the_same_bits(name: str):
    assert_workers_do_not_matter(state_cases.optimizer_task(name), workers=(1, 3))


@pytest.mark.parametrize("name", batch_cases.CASES)
def test_batches_and_modules_as_torch_has_them_give_the_same_bits(name: str):
    assert_workers_do_not_matter(batch_cases.batch_task(name))


@pytest.mark.parametrize("name", slice_models.layer_names())
def test_a_layer_gives_the_same_bits(name: str):
    assert_workers_do_not_matter(slice_models.layer_task(name), workers=(1, 2, 3) if slice_models.draws(name) else (1, 3))


@pytest.mark.parametrize("name", slice_models.STATEFUL)
def test_a_layer_with_a_state_for_each_row_gives_the_same_bits(name: str):
    assert_workers_do_not_matter(slice_models.stateful_task(name), 3)


@pytest.mark.parametrize(
    "model_of",
    [slice_models.not_built, slice_models.sequential_of_known_rows, slice_models.functional_of_known_rows],
)
def test_any_kind_of_model_takes_layers_with_a_state_for_each_row(model_of: Any):
    assert_workers_do_not_matter(slice_models.stateful_task("LSTM", model_of), 3)


@pytest.mark.parametrize("variant", slice_models.VARIANTS)
@pytest.mark.parametrize("name", [*optimizers.CLASSES, "MultiOptimizer"])
def test_an_optimizer_gives_the_same_bits(name: str, variant: str):
    assert_workers_do_not_matter(slice_models.optimizer_task(name, variant), 3, (1, 3))


@pytest.mark.parametrize("name", [*slice_models.PARTS, *slice_models.MODELS])
def test_what_else_takes_part_in_a_step_gives_the_same_bits(name: str):
    assert_workers_do_not_matter(slice_models.feature_task(name))


@pytest.mark.parametrize("padded", [True, False])
def test_text_gives_the_same_bits(padded: bool):
    assert_workers_do_not_matter(slice_models.text_task(padded), workers=(1, 3))


@pytest.mark.parametrize("name", optimizers.CLASSES)
def test_an_optimizer_gives_the_same_bits_on_a_processor_where_the_place_of_a_number_decides_its_last(name: str):
    assert_workers_do_not_matter(slice_models.optimizer_task(name, "plain"), 3, (1, 3), OtherBitsByPlace)


@pytest.mark.parametrize("name", [*slice_models.STATEFUL, *slice_models.PARTS, *slice_models.MODELS])
def test_what_else_takes_part_in_a_step_gives_the_same_bits_on_such_a_processor(name: str):
    stateful = name in slice_models.STATEFUL
    task = slice_models.stateful_task(name) if stateful else slice_models.feature_task(name)
    assert_workers_do_not_matter(task, 3 if stateful else 4, (1, 3), OtherBitsByPlace)


@settings(max_examples=15)
@given(data=st.data(), samples=st.integers(1, 13), virtual_workers=st.integers(2, 5), weighted=st.booleans(), masked=st.booleans())
def test_any_batches_in_any_slices_give_the_same_bits(data: Any, samples: int, virtual_workers: int, weighted: bool, masked: bool):
    batch_size = data.draw(st.integers(virtual_workers, 9), "batch_size")
    workers = data.draw(st.integers(2, min(virtual_workers, 4)), "workers")
    by_class, seed = data.draw(st.booleans(), "by_class"), data.draw(st.integers(0, 2**20), "seed")
    task = slice_models.rich_task(samples, batch_size, weighted=weighted, masked=masked, by_class=by_class, seed=seed)
    assert_workers_do_not_matter(task, virtual_workers, (1, workers))


@pytest.mark.parametrize("weighted", [False, True])
def test_slices_that_wait_for_a_count_of_the_batch_keep_their_statistics_and_the_losses_of_their_outputs(weighted: bool):
    task = slice_models.rich_task(13, 9, weighted=weighted, masked=True, by_class=False, seed=0)
    assert_workers_do_not_matter(task, 5, (1, 3))


# -- a worker lost in the middle of a step ------------------------------------------------------------------------------------------------

# What trains, and how often slices are summed in a training step before the worker goes.
LOSING: dict[str, tuple[Callable[[], Task], int]] = {
    "states of rows": (lambda: slice_models.stateful_task("LSTM, dropout"), 0),
    "accumulated and averaged": (lambda: slice_models.optimizer_task("Adam", "average, accumulation, decay, clipnorm"), 0),
    "a metric of several variables": (lambda: slice_cases.metric_task("AUC"), 0),
    "buffers and counters": (lambda: slice_models.feature_task("added losses and metrics, counters"), 0),
    "counts over the whole batch": (lambda: torch_cases.idiom_task("a lambda around torch's cross-entropy"), 0),
    "torchmetrics that keep values": (lambda: torch_cases.metric_task("SpearmanCorrCoef"), 0),
    "an optimizer of torch, before its first update": (lambda: state_cases.optimizer_task("NAdam"), 0),
    "a target network, before the update": (lambda: state_cases.step_task("target networks"), 0),
    "a target network, after the update": (lambda: state_cases.step_task("target networks"), 1),
    "between two optimizers of torch": (lambda: state_cases.step_task("a GAN, clamped"), 1),
    "between an update and two schedulers": (lambda: state_cases.step_task("schedulers in a step"), 2),
    "between an update and its schedule in compile": (lambda: batch_cases.batch_task("a schedule in compile"), 0),
    "between two optimizers with schedules": (lambda: batch_cases.batch_task("an encoding's attributes in a step"), 3),
    "a rate set by hand, before the update": (lambda: state_cases.step_task("rates set by hand"), 0),
    "a rate set by hand, after the update": (lambda: state_cases.step_task("rates set by hand"), 1),
    "between two updates of one step": (lambda: slice_models.feature_task("steps of the script's own"), 1),
}


@pytest.mark.parametrize("name", LOSING)
def test_a_worker_lost_between_forward_and_update_of_any_step_changes_no_bit(name: str):
    make, sums = LOSING[name]
    fit, _ = jobs_of(make(), 4)
    expected, logs = on_threads(fit, 1, lambda job, group: _ended(engine_of(job, group)))[0]
    steps = [tick for tick in range(fit.program.ticks) if fit.program.at(tick).kind is not Kind.EPOCH_BOUNDARY]
    assert len(steps) >= 4
    for tick in steps:
        loss = Loss(tick, sums if fit.program.at(tick).kind is Kind.TRAIN else 0)
        ends = on_threads(fit, 3, loss)
        assert loss.fired
        for state, later_logs in ends[:2]:
            assert different(state, expected) == [], f"after the third worker was lost in tick {tick}"
            assert later_logs == logs[len(logs) - len(later_logs) :]


class Loss:
    """Two of three workers lose the third in a tick, once it has run its slices; they go on together from where they stood."""

    def __init__(self, tick: int, sums: int) -> None:
        self.tick, self.sums, self.fired = tick, sums, False
        self.together = threading.Barrier(3, timeout=300)  # the tick before is over for all: a loss is seen in one tick
        self.next_generation = thread_groups(2)

    def __call__(self, job: Any, group: ThreadGroup) -> Any:
        engine = engine_of(job, group)
        while engine.tick < self.tick:
            step(engine)
        before = bits(engine)
        self.together.wait()
        if group.rank == 2:
            self.vanish_from(engine)
        with pytest.raises(GroupBroken):
            step(engine)
        assert different(bits(engine), before) == []
        if group.rank == 2:
            return None
        engine.attach(self.next_generation[group.rank], place(job.virtual_workers, 2))
        return _ended(engine)

    def vanish_from(self, engine: Engine) -> None:
        reduce, sums = engine.workspace.reduce, iter(range(self.sums))

        def vanishing(*args: Any, **kwargs: Any) -> Any:
            if next(sums, None) is None:
                self.fired = True
                engine.workspace.group.abort()
            return reduce(*args, **kwargs)

        engine.workspace.reduce = vanishing  # type: ignore[method-assign]


def _ended(engine: Engine) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    logs = train(engine)
    return bits(engine), logs


def test_a_first_step_that_breaks_leaves_the_sums():
    fit, _ = jobs_of(slice_cases.metric_task("AUC"), 4)
    (engine,) = on_threads(fit, 1, engine_of)
    while engine.position.kind is not Kind.VALIDATE:
        step(engine)
    before = bits(engine)
    engine.workspace.reduce = Mock(side_effect=GroupBroken("gone"))
    with pytest.raises(GroupBroken):
        step(engine)
    assert different(bits(engine), before) == []


# -- any number of slices, where the documentation says so --------------------------------------------------------------------------------


def distance(task: Task) -> float:
    """How far three slices end from one: the largest difference of weights, logs and predictions, which are in float64."""
    one, three = (_numbers(outcomes(task, virtual_workers, [1])[0]) for virtual_workers in (1, 3))
    assert one.shape == three.shape and len(one) > 10
    return float(np.abs(one - three).max())


def _numbers(outcome: Outcome) -> np.ndarray:
    _, dtype, predictions = outcome.predictions
    weights = [np.frombuffer(value) for name, value in sorted(outcome.state.items()) if name.startswith("model/")]
    logs = [np.ravel(value) for epoch in outcome.logs for _, value in sorted(epoch.items())]
    assert dtype == "float64"
    return np.concatenate([*weights, *logs, np.frombuffer(predictions)])


@pytest.mark.parametrize("name", slice_cases.LOSSES)
def test_a_loss_does_not_depend_on_the_slices_unless_it_says_so(name: str):
    far = distance(slice_cases.loss_task(name, "float64"))
    assert (far < 1e-12) == (slice_cases.LOSSES[name].by_slice is None), far


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss by both")  # torch's, of KLDivLoss
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", torch_cases.LOSSES)
def test_no_loss_of_torch_depends_on_the_slices(name: str, weighted: bool):
    assert distance(torch_cases.loss_task(name, "float64", weighted)) < 1e-12


@pytest.mark.parametrize("name", torch_cases.IDIOMS)
def test_what_people_bring_from_torch_does_not_depend_on_the_slices(name: str):
    assert distance(torch_cases.idiom_task(name, "float64")) < (1e-6 if "torchmetrics" in name else 1e-12)


@pytest.mark.parametrize("name", [name for name in torch_cases.METRICS if name != "mean and least"])  # a mean of slices' means
def test_no_metric_of_torchmetrics_depends_on_the_slices(name: str):
    assert distance(torch_cases.metric_task(name, "float64")) < 1e-6  # torchmetrics computes in float32


@pytest.mark.parametrize("name", slice_cases.METRICS)
def test_no_metric_depends_on_the_slices(name: str):
    assert slice_cases.METRICS[name].by_slice is None
    assert distance(slice_cases.metric_task(name, "float64")) < 1e-12


@pytest.mark.parametrize("name", [name for name in slice_models.STATEFUL if "dropout" not in name])
def test_states_of_rows_do_not_depend_on_the_slices(name: str):
    assert distance(slice_models.stateful_task(name, dtype="float64")) < 1e-12


@settings(max_examples=15)
@given(samples=st.integers(1, 13), batch_size=st.integers(5, 9), virtual_workers=st.integers(2, 5), seed=st.integers(0, 2**20))
def test_masked_and_weighted_metrics_do_not_depend_on_the_slices(samples: int, batch_size: int, virtual_workers: int, seed: int):
    task = slice_cases.masked_task(samples, batch_size, seed)
    one, several = (outcomes(task, number, [1])[0].logs[0] for number in (1, virtual_workers))
    assert len(one) == 2 * len(slice_cases.MASKED) + 2
    for measured in one:
        assert one[measured] == pytest.approx(several[measured], rel=1e-12, abs=1e-12), measured
