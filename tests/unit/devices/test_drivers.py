"""What a machine has is what its driver knows, less what the environment hides; nobody loads torch for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from disttrain.devices import drivers
from disttrain.devices.drivers import Gpu, gpu_uuid, gpus_here, hide_gpus, read_driver

FOUR = [Gpu(number, f"GPU-{number}a{number}", "NVIDIA H200", 143_771) for number in range(4)]


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A command of that name, first on PATH, that prints what it is told to; and no library of a driver."""
    monkeypatch.setattr(drivers, "_nvml", lambda: (_ for _ in ()).throw(OSError("no libnvidia-ml.so.1")))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def says(text, code=0):
        command = tmp_path / "nvidia-smi"
        command.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
        command.chmod(0o755)

    return says


def test_nvidia_smi_is_asked_where_the_driver_has_no_library_here(nvidia_smi):
    nvidia_smi("0, GPU-aa, NVIDIA H200, 143771\n1, GPU-bb, NVIDIA A100, PCIe, 40960\n")
    assert gpus_here() == (Gpu(0, "GPU-aa", "NVIDIA H200", 143_771), Gpu(1, "GPU-bb", "NVIDIA A100, PCIe", 40_960))


def test_what_is_no_line_of_a_gpu_counts_for_nothing(nvidia_smi):
    nvidia_smi("Unable to determine the device handle for GPU1: Unknown Error\n0, GPU-aa, Tesla T4, [N/A]")
    assert read_driver() == [Gpu(0, "GPU-aa", "Tesla T4", 0)]


def test_a_driver_that_answers_with_an_error_has_no_gpu(nvidia_smi):
    nvidia_smi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", code=9)
    assert gpus_here() == ()


def test_without_a_library_and_without_the_command_there_is_none(nvidia_smi, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert gpus_here() == ()


@pytest.mark.parametrize(
    ("shown", "uuids"),
    [
        (None, ["GPU-0a0", "GPU-1a1", "GPU-2a2", "GPU-3a3"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2", ["GPU-2a2"]),
        ("3,1", ["GPU-3a3", "GPU-1a1"]),
        (" 1 , 0 ", ["GPU-1a1", "GPU-0a0"]),
        ("0,-1,2", ["GPU-0a0"]),
        ("0,9,1", ["GPU-0a0"]),
        ("1,1", ["GPU-1a1"]),
        ("GPU-2a", ["GPU-2a2"]),
        ("GPU-3a3,GPU-0a0", ["GPU-3a3", "GPU-0a0"]),
        ("GPU-", []),
        ("MIG-7,MIG-8", ["MIG-7", "MIG-8"]),
    ],
)
def test_only_what_cuda_shows_a_process_counts(shown, uuids):
    environment = {} if shown is None else {"CUDA_VISIBLE_DEVICES": shown}
    assert [gpu.uuid for gpu in gpus_here(lambda: FOUR, environment)] == uuids


def test_a_process_that_sees_none_does_not_ask_the_driver():
    def never():
        raise AssertionError("the driver was asked")

    assert gpus_here(never, {"CUDA_VISIBLE_DEVICES": ""}) == ()


def test_the_gpu_of_a_process_is_the_first_that_it_sees(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert gpu_uuid(lambda: FOUR) == "GPU-2a2"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_uuid(lambda: FOUR) == ""


def test_a_process_on_cpus_is_shown_no_gpu_of_any_make():
    environment = {"CUDA_VISIBLE_DEVICES": "0,1"}
    hide_gpus(environment)
    assert environment == {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": ""}
    assert gpus_here(lambda: FOUR, environment) == ()


def test_counting_loads_no_torch():
    code = "import sys; from disttrain.devices import asked, drivers, faults, memory; drivers.gpus_here(); drivers.torch_cuda()"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)


def test_what_the_installed_torch_is_built_for_is_what_torch_says():
    import torch

    assert drivers.torch_cuda() == (torch.version.cuda or (f"HIP {torch.version.hip}" if torch.version.hip else None))
