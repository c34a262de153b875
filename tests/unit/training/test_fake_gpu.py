"""Steps of training on a GPU that computes nothing: what is left on the CPU, what makes the host wait, what torch would refuse."""

from __future__ import annotations

from typing import Any

import pytest
from fake_gpu_runs import outcomes_of

LOSS_BEFORE_THE_UPDATE = "_local_scalar_dense at training/step/direct.py:_train"
LOSS_AND_REQUESTS = "_local_scalar_dense at training/step/side_channel.py:read"
# beside the one copy of each step
KNOWN = {
    "scaled": ["_local_scalar_dense at optimizers/loss_scale_optimizer.py:apply_to"]
}  # is a gradient infinite? then there is no update


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    """What became of every case."""
    return outcomes_of("steps")


def test_all_of_it_runs_on_the_gpu(outcomes: dict[str, dict[str, Any]]):
    errors = {name: found["error"] for name, found in outcomes.items() if found["error"]}
    assert not errors and len(outcomes) > 80


def test_nothing_is_used_that_torch_refuses_while_training_is_deterministic(outcomes: dict[str, dict[str, Any]]):
    assert not {name: found["refused"] for name, found in outcomes.items() if found["refused"]}


def test_the_host_waits_once_a_step_for_the_loss_and_what_workers_ask_for(outcomes: dict[str, dict[str, Any]]):
    for name, found in outcomes.items():
        once = [LOSS_BEFORE_THE_UPDATE], [LOSS_AND_REQUESTS]
        assert [wait for wait in found["waits"] if wait not in KNOWN.get(name, [])] in once, name


@pytest.mark.parametrize(("case", "most"), [("direct", 70), ("two slices", 145), ("four slices", 275)])
def test_a_small_step_launches_no_more_kernels_than_it_did(outcomes: dict[str, dict[str, Any]], case: str, most: int):
    """66, 138 and 264 when this was written; a launch is what a small step takes its time with."""
    assert 0 < outcomes[case]["launches"] <= most
