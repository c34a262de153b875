"""What an error of a GPU makes of a worker: the CPU stands for the GPU, and fakes for what torch says of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from thread_runs import AtEpoch, EveryBatch, V, driven, make_model, train, wait_until

import disttrain as dt
from disttrain.collectives import GroupBroken
from disttrain.devices.memory import DeviceMemory
from disttrain.elastic import devices, failing, opening, room
from disttrain.elastic import messages as m
from disttrain.elastic.failing import Failure, Scene, failure_of
from disttrain.elastic.room import with_room
from disttrain.errors import DeviceAssert, InfrastructureError, OutOfDeviceMemory
from disttrain.launch.cluster_start import ClusterStart
from disttrain.layers.context import current
from disttrain.testing.fake_clock import FakeClock
from disttrain.training.local import runner

GIB = 1 << 30
SCENE = Scene("w1", 0, 3, "node-2", "GPU-7", 2)
ECC = RuntimeError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be asynchronously reported")


def settings(**changes):
    return m.CallSettings(None, 1, 0, None, 1, "nccl", **{"device": "cuda", **changes})


def memory(free, reserved=0):
    return DeviceMemory("GPU 0", "NVIDIA H200", 140 * GIB, free * GIB, reserved * GIB, 100 * GIB)


# -- one error --------------------------------------------------------------------------------------------------------------------------


def test_a_place_that_fails_is_reported_with_its_gpu_and_ends_the_worker():
    report = m.PlaceFailed("w1", 0, 3, -1, "RuntimeError: CUDA error: uncorrectable ECC error encountered", "node-2", "GPU-7")
    assert failure_of(ECC, SCENE, None, settings()) == Failure(report, report.reason)


def test_a_group_that_broke_since_the_place_failed_ends_the_worker_and_any_other_does_not():
    broken = GroupBroken("the group is over")
    broken.__cause__ = ECC
    assert isinstance(failure_of(broken, SCENE, None, settings()).report, m.PlaceFailed)
    assert failure_of(GroupBroken("told to"), SCENE, None, settings()) is None
    assert failure_of(GroupBroken("NCCL error: remote process exited"), SCENE, None, settings()) is None


def test_on_cpus_such_an_error_is_the_scripts_own():
    failure = failure_of(ECC, SCENE, None, settings(device="cpu"))
    assert isinstance(failure.report, m.Failed) and failure.ends is None


def test_what_may_be_the_kernels_fault_or_the_gpus_ends_the_process_like_any_crash():
    failure = failure_of(RuntimeError("CUDA error: an illegal memory access was encountered"), SCENE, None, settings())
    assert failure == Failure(None, "RuntimeError: CUDA error: an illegal memory access was encountered")


# -- room -------------------------------------------------------------------------------------------------------------------------------


class Full:
    """A job that does not fit until somebody has let go."""

    def __init__(self, *free):
        self.free, self.times, self.clock = list(free), 0, FakeClock()

    def read(self, device):
        return memory(self.free.pop(0) if len(self.free) > 1 else self.free[0])

    def work(self):
        self.times += 1
        if self.free[0] < 50:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 40.00 GiB.")
        return "opened"

    def open(self, device="cuda"):
        return with_room(self.work, device, self.clock, limit_s=60, pause=self.clock.advance, read=self.read)


def test_a_predecessors_memory_is_waited_for():
    full = Full(10, 10, 10, 60)
    assert full.open() == "opened" and full.times == 2


def test_memory_that_nobody_lets_go_of_is_waited_for_so_long_and_no_longer():
    full = Full(10)
    with pytest.raises(torch.OutOfMemoryError):
        full.open()
    assert full.times == 1 and 60 <= full.clock.monotonic_s() <= 62


def test_where_nobody_else_holds_memory_nothing_is_waited_for():
    full = Full(10)
    full.read = lambda device: memory(free=10, reserved=128)
    with pytest.raises(torch.OutOfMemoryError):
        full.open()
    assert full.clock.monotonic_s() == 0


def test_another_error_and_a_cpu_are_not_waited_for():
    full = Full(10)
    with pytest.raises(torch.OutOfMemoryError):
        full.open("cpu")
    full.work = lambda: (_ for _ in ()).throw(ECC)
    with pytest.raises(RuntimeError, match="ECC"):
        full.open()
    assert full.clock.monotonic_s() == 0


# -- runs -------------------------------------------------------------------------------------------------------------------------------


class Gpu(dt.layers.Layer):
    """Raises what a GPU raises; `faults` says when: by (worker, step) or GPU."""

    def call(self, x):
        if current().rows is not None and current().training:
            trouble()
        return x


def trouble():
    FAULTS[0]()


FAULTS: list = [lambda: None]


@pytest.fixture
def on_gpus(monkeypatch):
    """Workers that take the CPU for a GPU, and fail as `FAULTS` say; memory as `Memory` says."""
    monkeypatch.setattr(devices, "device_of", lambda device: torch.device("cpu"))
    monkeypatch.setattr(ClusterStart, "compute", property(lambda self: Fields()))
    told = {"memory": memory(free=10, reserved=128)}
    for module in (failing, opening):
        monkeypatch.setattr(module, "read_memory", lambda device: told["memory"])
    monkeypatch.setattr(room.device_memory, "read_memory", lambda device: told["memory"])
    yield told
    FAULTS[0] = lambda: None


class Fields:
    device = "cuda"
    fields = {"device": "cuda", "gpu_share": 1.0}  # noqa: RUF012


def worker_here():
    """Its name: each worker of the fake cluster is a thread."""
    import threading

    return threading.current_thread().name.removeprefix("fake-")


class On:
    """Raise `error` on a GPU, in a step of a group, at most so many times."""

    def __init__(self, run, gpu, error, times=99):
        self.run, self.gpu, self.error, self.times = run, gpu, error, times

    def __call__(self):
        worker = self.run.cluster.workers.get(worker_here())
        if worker is not None and worker.gpu == self.gpu and self.times and worker.member._formed:
            self.times -= 1
            raise self.error


@pytest.fixture(scope="module")
def alone():
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        return train(model=make_model(Gpu()))


def test_a_gpu_that_fails_twice_is_left_out_and_no_bit_is_lost(alone, on_gpus):
    with driven(2, gpus=("GPU-a", "GPU-b", "GPU-c"), start_backoff_s=0.01, admission=False) as run:
        FAULTS[0] = On(run, "GPU-a", ECC)
        there = AtEpoch(0, lambda: wait_until(lambda: "w2" in run.cluster.workers and m.Ready in run.cluster.workers["w2"].reported))
        twice = AtEpoch(1, lambda: wait_until(lambda: "w4" in run.cluster.workers))
        assert train([there, twice, EveryBatch()], model=make_model(Gpu())) == alone
        failed = run.events("place failed")
        assert [event["gpu"] for event in failed] == ["GPU-a", "GPU-a"]
        assert [event["gpus"] for event in run.events("gpu left out")] == [["GPU-a"]]
        assert run.cluster.avoided_gpus == {"GPU-a"} and run.cluster.holders == {"w3": "GPU-a"}
        assert run.cluster.workers["w4"].gpu == "GPU-c"
    assert any("no sample is blamed" in note for note in run.notes)


def test_one_fault_of_a_gpu_costs_a_worker_and_no_bit(alone, on_gpus):
    with driven(2, gpus=("GPU-a", "GPU-b", "GPU-c"), start_backoff_s=0.01, admission=False) as run:
        FAULTS[0] = On(run, "GPU-b", ECC, times=1)
        assert train(model=make_model(Gpu())) == alone
        assert [event["gpu"] for event in run.events("place failed")] == ["GPU-b"] and not run.events("gpu left out")


def test_the_only_gpu_is_tried_again_and_again_and_a_call_that_gets_nowhere_ends_with_words(on_gpus):
    with driven(1, gpus=("GPU-a",), start_backoff_s=0.001, break_limit=4, admission=False) as run:
        FAULTS[0] = On(run, "GPU-a", ECC)
        with pytest.raises(InfrastructureError):
            train(model=make_model(Gpu()))
        assert len(run.events("place failed")) > 2 and not run.events("gpu left out")


def test_a_step_that_does_not_fit_is_told_and_ends_no_worker(on_gpus):
    with driven(2, gpus=("GPU-a", "GPU-b"), admission=False) as run:
        FAULTS[0] = On(run, "GPU-b", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB."))
        with pytest.raises(OutOfDeviceMemory, match=r"a batch of 8 in 4 slices of 2, one at a time on each of 2 workers"):
            train(model=make_model(Gpu()))
        assert not run.events("worker lost")


def test_memory_that_another_process_holds_is_the_places_fault(alone, on_gpus):
    with driven(2, gpus=("GPU-a", "GPU-b", "GPU-c"), start_backoff_s=0.01, admission=False) as run:
        on_gpus["memory"] = memory(free=10, reserved=20)
        FAULTS[0] = On(run, "GPU-b", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB."), times=1)
        assert train(model=make_model(Gpu())) == alone
        (event,) = run.events("place failed")
        assert "112,640 MiB held by another process" in event["reason"]


def test_a_job_that_does_not_fit_at_all_is_told_before_the_first_step(on_gpus):
    def full():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 200.00 GiB.")

    with driven(2, gpus=("GPU-a", "GPU-b")):
        FAULTS[0] = full
        with pytest.raises(OutOfDeviceMemory, match=r"GPU 0 .NVIDIA H200, 140.0 GiB. ran out of memory"):
            train(model=make_model(Gpu()))


def test_an_assertion_in_a_kernel_is_told_as_that_and_takes_its_worker_with_it(on_gpus):
    with driven(2, gpus=("GPU-a", "GPU-b"), admission=False) as run:
        FAULTS[0] = On(run, "GPU-b", torch.AcceleratorError("CUDA error: device-side assert triggered"))
        with pytest.raises(DeviceAssert, match=r"indices and labels within their range(.|\n)*--device cpu and another --run-dir"):
            train(model=make_model(Gpu()))
        (ended,) = [worker for worker in run.cluster.workers.values() if worker.gpu == "GPU-b"]
        ended.thread.join(300)
        assert not ended.thread.is_alive()  # deaf for ever, and not left as if it lived


def test_a_crash_of_a_kernel_is_an_ordinary_loss(alone, on_gpus):
    with driven(2, gpus=("GPU-a", "GPU-b", "GPU-c"), admission=False) as run:
        FAULTS[0] = On(run, "GPU-b", RuntimeError("CUDA error: an illegal memory access was encountered"), times=1)
        assert train(model=make_model(Gpu())) == alone
        (lost,) = run.events("worker lost")
        assert "illegal memory access" in lost["reason"] and not run.events("place failed")


def test_nothing_of_this_is_asked_on_cpus():
    with driven(2) as run:
        assert np.isfinite(train(model=make_model(Gpu()))[1]["loss"]).all()
        assert {facts.gpu_uuid for facts in run._facts.values()} == {""}
