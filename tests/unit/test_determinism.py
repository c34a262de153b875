"""The switch: what it sets on GPUs, that it leaves CPUs and the script's own code alone, and that a run keeps to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import disttrain as dt
from disttrain import determinism, layers
from disttrain.determinism import Numerics, chosen, kept, numerics, settle, told
from disttrain.errors import UsageError
from disttrain.models.call_differences import differences
from disttrain.models.call_identity import call_identity
from disttrain.training.local import runner
from disttrain.training.step.custom_step import generator_states, set_generator_states


def settings() -> tuple[Any, ...]:
    backends: Any = torch.backends
    return (
        torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(), backends.cudnn.deterministic,
        backends.cudnn.benchmark, torch.utils.deterministic.fill_uninitialized_memory, numerics(),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in determinism.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    before = settings()
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[2], before[3]
    torch.utils.deterministic.fill_uninitialized_memory = before[4]
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True
    dt.set_determinism(True)
    for name in determinism.ENVIRONMENT:
        os.environ.pop(name, None)


def test_on_gpus_everything_that_bits_hang_on_is_set():
    torch.backends.cudnn.benchmark = True
    settle("cuda", Numerics())
    assert settings()[:5] == (True, False, True, False, False)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8" and int(os.environ["CUDNN_CONV_WSCAP_DBG"]) > 0


def test_a_workspace_that_the_environment_names_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    settle("cuda", Numerics())
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_switched_off_torch_is_as_it_is_without_it():
    settle("cuda", Numerics())
    settle("cuda", Numerics(deterministic=False))
    assert settings()[0] is False and settings()[2] is False


def test_on_cpus_nothing_is_set():
    before, environment = settings(), dict(os.environ)
    with kept():
        settle("cpu", Numerics(matmul="tf32"))
    assert settings() == before and dict(os.environ) == environment


def test_the_settings_of_the_script_come_back_after_a_call(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    before = settings()
    with kept():
        settle("cuda", numerics())
        assert settings() != before
    assert settings() == before


SETTINGS = [Numerics(), Numerics(matmul="tf32"), Numerics(convolution="ieee", recurrent="ieee")]
if hasattr(torch.backends.cudnn, "conv"):  # torch 2.9 tells them apart
    SETTINGS.append(Numerics(recurrent="ieee"))


@pytest.mark.parametrize("wanted", SETTINGS)
def test_a_worker_multiplies_as_the_script_does(wanted: Numerics):
    settle("cuda", wanted)
    assert numerics() == wanted


def test_the_switch_and_the_precision_of_the_script_are_found():
    assert numerics() == Numerics(True, "ieee", "tf32", "tf32")
    dt.set_determinism(False)
    torch.set_float32_matmul_precision("high")
    assert numerics() == Numerics(False, "tf32", "tf32", "tf32")


def test_a_launch_switches_it_off_for_as_long_as_it_lasts():
    with chosen(False):
        assert not numerics().deterministic
    assert numerics().deterministic
    dt.set_determinism(False)
    with chosen(True):
        assert not numerics().deterministic  # the script has said so


@pytest.mark.parametrize("enabled", [1, None, "off"])
def test_something_else_than_true_or_false_is_refused(enabled: Any):
    with pytest.raises(ValueError, match="expected True or False"):
        dt.set_determinism(enabled)


def taken_job() -> Any:
    taken: list[Any] = []

    class Taker(runner.LocalRunner):
        def fit(self, job: Any, callbacks: Any) -> None:
            taken.append(job)

    model = dt.Sequential([dt.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    with runner.installed(Taker(runner._InProcess())):
        model.fit(np.zeros((8, 3), np.float32), np.zeros((8, 1), np.float32), batch_size=4, verbose=0)
    return taken[0]


def test_a_run_is_gone_on_with_in_the_way_it_began_or_refused_by_name():
    job = taken_job()
    then = call_identity(job)
    assert differences(then, call_identity(job)) == ([], [])
    off = replace(job, numerics=replace(job.numerics, deterministic=False))
    assert differences(then, call_identity(off))[0] == ["determinism: on then, off now"]
    tf32 = replace(job, numerics=replace(job.numerics, matmul="tf32"))
    (refused,) = differences(then, call_identity(tf32))[0]
    assert refused.startswith("TF32: ") and "products of matrices" in refused


def test_a_run_that_began_before_there_was_a_switch_goes_on():
    now = call_identity(taken_job())
    then = {name: value for name, value in now.items() if name not in ("determinism", "TF32")}
    assert differences(then, now) == ([], [])


def test_what_torch_refuses_is_told_with_the_ways_out():
    refused = RuntimeError("nll_loss2d_forward_out_cuda_template does not have a deterministic implementation, but you set ...")
    found = told(refused)
    assert isinstance(found, UsageError) and "nll_loss2d_forward" in str(found) and "--no-determinism" in str(found)
    other = RuntimeError("shapes differ")
    assert told(other) is other


def test_a_step_that_torch_refuses_ends_with_those_words():
    class Refused(layers.Layer):
        def call(self, x: torch.Tensor, training: bool = False) -> torch.Tensor:
            if training:
                raise RuntimeError("median CUDA with indices output does not have a deterministic implementation, but you set ...")
            return x

    model = dt.Sequential([dt.Input((3,)), Refused(), layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(UsageError, match=r"set_determinism\(False\)"):
        model.fit(np.zeros((8, 3), np.float32), np.zeros((8, 1), np.float32), batch_size=4, verbose=0)


def test_the_generator_of_a_gpu_is_kept_and_brought_back_with_the_others(monkeypatch: pytest.MonkeyPatch):
    states = [torch.tensor([1], dtype=torch.uint8)]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: states[-1])
    monkeypatch.setattr(torch.cuda, "set_rng_state", states.append)
    before = generator_states()
    states.append(torch.tensor([2], dtype=torch.uint8))
    set_generator_states(before)
    assert states[-1].item() == 1
