"""What a worker says of its GPU, and that groups of different ones do not form."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from disttrain.controller.admission import Admission, ThirdOpinion
from disttrain.elastic import messages as m
from disttrain.elastic import processor as words
from disttrain.elastic.processor import driver_version, gpu_kind, processor

H200 = "NVIDIA H200, CUDA 13.0, cuDNN 9.15.1, NCCL 2.28.9, driver 580.95.05; AMD EPYC 9654, AVX512"
NEWER_DRIVER = H200.replace("580.95.05", "590.44.01").replace("NCCL 2.28.9", "NCCL 2.29.1").replace("9654", "7R13")
OTHER_CUDNN = H200.replace("9.15.1", "9.16.0")
A100 = H200.replace("H200", "A100-SXM4-80GB")
CPU = "AMD EPYC 9654, AVX512"


def test_a_gpu_is_told_with_all_that_computes_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91501)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 28, 9))
    monkeypatch.setattr(
        words, "_text_of", lambda path: "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23\nGCC version:  gcc 13\n"
    )
    monkeypatch.setattr(words, "_model", lambda: "AMD EPYC 9654")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert processor(torch.device("cuda", 0)) == H200
    assert processor(torch.device("cpu")) == CPU


def test_the_driver_is_read_whatever_kind_of_module_it_is():
    open_module = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build\n"
    assert driver_version(open_module) == "570.124.06" and driver_version("") == "unknown"


def test_driver_nccl_and_host_may_differ_model_cuda_and_cudnn_may_not():
    assert gpu_kind(H200) == gpu_kind(NEWER_DRIVER) == "NVIDIA H200, CUDA 13.0, cuDNN 9.15.1"
    assert len({gpu_kind(one) for one in (H200, OTHER_CUDNN, A100, CPU)}) == 4 and gpu_kind(CPU) == ""


class Door:
    """An admission, and what it does."""

    def __init__(self, admission: bool = True) -> None:
        self.joined: list[str] = []
        self.decided: list[Any] = []
        self.events: list[str] = []
        self.avoided: list[str] = []
        console = SimpleNamespace(note=self.events.append, event=lambda kind, text, **about: self.events.append(text))
        cluster = SimpleNamespace(avoid=self.avoided.extend, wake=lambda: None)
        around: Any = SimpleNamespace(console=console, clock=None, cluster=cluster, admission=admission)
        self.admission = Admission(
            around, {}, lambda: ThirdOpinion(None, None), lambda report, now: self.joined.append(report.worker), self.decided.append
        )

    def ready(self, worker: str, host: str, on: str) -> None:
        self.admission.ready(m.Ready(worker, 0, 1, host, processor=on), 0.0)


@pytest.mark.parametrize("other", [A100, OTHER_CUDNN, CPU])
def test_a_worker_on_another_kind_of_gpu_is_refused_by_name(other: str):
    door = Door()
    door.ready("w0", "a", H200)
    door.ready("w1", "b", other)
    door.ready("w2", "c", NEWER_DRIVER)
    assert door.joined == ["w0", "w2"] and [event.worker for event in door.decided] == ["w1"]
    assert door.avoided == ["b"]
    (text,) = door.events
    assert "w1 on b" in text and (gpu_kind(other) or other) in text and gpu_kind(H200) in text and "--no-admission" in text


def test_a_host_that_has_both_kinds_is_not_avoided():
    door = Door()
    door.ready("w0", "a", H200)
    door.ready("w1", "a", A100)
    assert door.joined == ["w0"] and door.avoided == []


def test_without_the_door_kinds_mix():
    door = Door(admission=False)
    door.ready("w0", "a", H200)
    door.ready("w1", "b", A100)
    assert door.joined == ["w0", "w1"]
