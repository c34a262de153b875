"""Where a launch computes is settled at the door: what it asks for, what the driver knows, what the run began on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import thread_runs as t
import torch

import disttrain as dt
from disttrain.devices import drivers
from disttrain.devices.asked import Asked, Choice
from disttrain.devices.drivers import Gpu
from disttrain.elastic.devices import device_of
from disttrain.errors import InfrastructureError, RunMismatch, UsageError
from disttrain.launch.config import RunConfig
from disttrain.launch.door import Entry, enter
from disttrain.launch.possible import compute_of
from disttrain.rundir.directory import RunDirectory
from disttrain.rundir.identity import RunDescription
from disttrain.training.local import device as local


def entry(tmp_path, **versions):
    about = RunDescription("train.py", (), 2, 0, 1, 1, versions=versions) if versions else None
    return Entry(RunDirectory(str(tmp_path / "run")), about, finished=False, fresh=about is None)


def gpus(count):
    return lambda: [Gpu(number, f"GPU-{number}", "NVIDIA H200") for number in range(count)]


@pytest.fixture(autouse=True)
def torch_with_cuda(monkeypatch):
    monkeypatch.setattr(drivers, "torch_cuda", lambda: "13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_launch_uses_the_gpus_that_the_driver_knows(tmp_path):
    _, choice = compute_of(RunConfig(workers=2, spares=1), entry(tmp_path), gpus(4))
    assert choice == Choice("cuda", 1.0, 4, ("training on 2 x NVIDIA H200",))
    assert choice.fields == {"device": "cuda", "gpu_share": 1.0}


def test_the_largest_number_of_workers_counts(tmp_path):
    with pytest.raises(UsageError, match="3 workers and 1 spare with a GPU each need 4 GPUs, this machine has 2"):
        compute_of(RunConfig(workers=1, max_workers=3, spares=1), entry(tmp_path), gpus(2))


def test_on_cpus_nobody_asks_the_driver(tmp_path):
    def never():
        raise AssertionError("the driver was asked")

    asked, choice = compute_of(RunConfig(device="cpu"), entry(tmp_path), never)
    assert choice == Choice() and asked.kind == "cpu"
    assert compute_of(RunConfig(), entry(tmp_path, torch="2.13.0"), never)[1] == Choice()  # begun before there was a choice


def test_nccl_that_no_worker_could_use_is_refused_before_anything_starts(tmp_path):
    for config, there, why in (
        (RunConfig(device="cpu", transport="nccl", workers=2), 2, "this launch trains on CPUs"),
        (RunConfig(transport="nccl"), 0, "this launch trains on CPUs"),
        (RunConfig(transport="nccl", workers=2, gpus_per_worker=0.5), 1, "2 workers share the one GPU here"),
    ):
        with pytest.raises(UsageError, match=f"--transport nccl: {why}(.|\n)*--transport auto"):
            compute_of(config, entry(tmp_path), gpus(there))
    assert compute_of(RunConfig(transport="nccl", workers=2), entry(tmp_path), gpus(2))[1].device == "cuda"
    assert compute_of(RunConfig(transport="nccl", gpus_per_worker=0.5), entry(tmp_path), gpus(1))[1].device == "cuda"  # nobody to connect


def test_a_cluster_says_what_it_has_once_it_is_joined(tmp_path):
    assert compute_of(RunConfig(workers=2, address="auto"), entry(tmp_path), gpus(0)) == (Asked(workers=2), None)


def test_a_run_on_gpus_goes_on_on_gpus_or_is_refused_by_name(tmp_path):
    known = entry(tmp_path, device="cuda")
    assert compute_of(RunConfig(), known, gpus(1))[1].device == "cuda"
    with pytest.raises(UsageError, match="this run began on GPUs: 1 worker with a GPU each need 1 GPU, this machine has none"):
        compute_of(RunConfig(), known, gpus(0))
    with pytest.raises(RunMismatch, match="began on GPUs, --device cpu was given"):
        compute_of(RunConfig(device="cpu"), known, gpus(1))
    assert compute_of(RunConfig(device="cpu", restart=True), replace(known, fresh=True), gpus(1))[1] == Choice()


def test_a_folder_made_for_a_run_that_cannot_be_goes_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = RunConfig(device="cuda")
    claimed = enter(config, script="train.py", arguments=(), script_sha256="")
    with pytest.raises(UsageError, match="this machine has none"):
        compute_of(config, claimed, gpus(0))
    assert not list((tmp_path / "runs").iterdir())


def test_a_run_writes_down_what_it_computes_on(tmp_path):
    with t.driven(1, url=str(tmp_path / "run")):
        t.train(epochs=1)
    directory = RunDirectory(str(tmp_path / "run"))
    assert directory.description(directory.attempts()).versions["device"] == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_worker_whose_torch_finds_no_gpu_says_so_in_words():
    with pytest.raises(InfrastructureError, match="finds no GPU on"):
        device_of("cuda")
    assert device_of("cpu") == torch.device("cpu")


def test_a_script_that_asks_for_another_device_than_its_launch_is_refused(monkeypatch):
    monkeypatch.setattr(local, "_asked", "cuda")
    with t.driven(1), pytest.raises(UsageError, match="the script asks for 'cuda' by set_device, and this launch computes on cpu"):
        t.train()


# -- a script in its own process --------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked_anew(monkeypatch):
    monkeypatch.setattr(local, "_asked", "auto")
    monkeypatch.setattr(local, "_found", None)


CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")


def test_a_script_computes_on_cuda_where_torch_has_it_and_else_on_the_cpu(asked_anew, monkeypatch):
    assert local.home(CPU) == (CUDA if torch.cuda.is_available() else CPU)
    monkeypatch.setattr(local, "_found", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert local.home(CPU) == local.home(None) == CUDA


def test_where_a_script_has_put_its_model_it_stays_unless_it_asks_for_the_cpu(asked_anew):
    other = torch.device("cuda", 3)
    assert local.home(other) == other
    dt.set_device("cpu")
    assert local.home(other) == CPU
    dt.set_device("auto")
    assert local.home(other) == other


def test_apples_gpu_is_refused_with_the_way_out(asked_anew):
    with pytest.raises(UsageError, match=r"set_device\('mps'\): Apple's MPS has no float64"):
        dt.set_device("mps")
    with pytest.raises(UsageError, match=r"the model lies on mps:0(.|\n)*model.to\('cpu'\)"):
        local.home(torch.device("mps", 0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_that_is_not_there_is_refused_where_it_is_asked_for(asked_anew):
    dt.set_device("cuda")
    with pytest.raises(UsageError, match=r"set_device\('cuda'\): torch"):
        dt.Sequential([dt.layers.Dense(1)]).predict(torch.ones(2, 2), verbose=0)
    with pytest.raises(UsageError, match=r"set_device\('gpu'\): expected 'auto', 'cpu', 'cuda' or 'mps'"):
        dt.set_device("gpu")


def test_a_model_that_was_moved_takes_inputs_of_a_script_that_stayed(monkeypatch):
    dense = dt.layers.Dense(2)
    dense(torch.ones(1, 3))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    dense.to("meta")
    assert dense(torch.ones(1, 3)).device.type == "meta"
