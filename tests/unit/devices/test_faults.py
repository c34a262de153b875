"""Texts as torch, CUDA and NCCL write them, and whose fault each is."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from disttrain.collectives import GroupBroken
from disttrain.devices.faults import Fault, fault_of
from disttrain.errors import DataError, InfrastructureError, OutOfDeviceMemory

BEHIND = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect."
    "\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
NCCL = "NCCL error in: /pytorch/torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:3699, {}, NCCL version 2.27.3\n{}"


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        # out of memory
        (
            torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 22.00 MiB. GPU 0 has a total capacity of 23.65 GiB of which 11.06 MiB is free. "
                "Including non-PyTorch memory, this process has 23.60 GiB memory in use."
            ),
            Fault.MEMORY,
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 264.00 MiB (GPU 0; 2.00 GiB total capacity)"), Fault.MEMORY),
        (torch.AcceleratorError("CUDA error: out of memory" + BEHIND), Fault.MEMORY),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), Fault.MEMORY),
        (dist.DistBackendError(NCCL.format("unhandled cuda error", "Last error:\nCuda failure 2 'out of memory'")), Fault.MEMORY),
        # the place
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered" + BEHIND), Fault.PLACE),
        (RuntimeError("CUDA error: no CUDA-capable device is detected" + BEHIND), Fault.PLACE),
        (RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable" + BEHIND), Fault.PLACE),
        (RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable" + BEHIND), Fault.PLACE),
        (RuntimeError("No CUDA GPUs are available"), Fault.PLACE),
        (RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"), Fault.PLACE),
        (RuntimeError("CUDA driver initialization failed, you might not have a CUDA gpu."), Fault.PLACE),
        (RuntimeError("CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env"), Fault.PLACE),
        (RuntimeError("CUDA error: unknown error" + BEHIND), Fault.PLACE),
        (RuntimeError("CUDA error: initialization error" + BEHIND), Fault.PLACE),
        (RuntimeError("CUDA error: invalid device ordinal" + BEHIND), Fault.PLACE),
        (RuntimeError("CUDA error: system not yet initialized" + BEHIND), Fault.PLACE),
        (RuntimeError("CUDA error: hardware stack error" + BEHIND), Fault.PLACE),
        (RuntimeError("CUDA error: uncorrectable NVLink error detected during the execution" + BEHIND), Fault.PLACE),
        (RuntimeError("Unable to determine the device handle for GPU 0000:3B:00.0: GPU is lost.  Reboot the system"), Fault.PLACE),
        (RuntimeError("NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus."), Fault.PLACE),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"), Fault.PLACE),
        (InfrastructureError("--device cuda: torch 2.13.0 finds no GPU on node-3, where Ray has placed a worker."), Fault.PLACE),
        (dist.DistBackendError(NCCL.format("unhandled cuda error", "Last error:\nCuda failure 999 'unknown error'")), Fault.PLACE),
        (dist.DistBackendError(NCCL.format("unhandled system error", "ncclSystemError: System call failed")), Fault.PLACE),
        (dist.DistBackendError(NCCL.format("internal error", "ncclInternalError: Internal check failed.")), Fault.PLACE),
        # a kernel, or the GPU: nobody can tell
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered" + BEHIND), Fault.CRASH),
        (RuntimeError("CUDA error: misaligned address" + BEHIND), Fault.CRASH),
        (RuntimeError("CUDA error: unspecified launch failure" + BEHIND), Fault.CRASH),
        (RuntimeError("CUDA error: the launch timed out and was terminated" + BEHIND), Fault.CRASH),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), Fault.CRASH),
        # an assertion
        (
            torch.AcceleratorError("CUDA error: device-side assert triggered\nSearch for `cudaErrorAssert' in" + BEHIND),
            Fault.ASSERT,
        ),
        (RuntimeError("CUDA error: device-side assert triggered" + BEHIND), Fault.ASSERT),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED\nCUDA error: device-side assert triggered"),
            Fault.ASSERT,  # every call fails after one, in ways of its own
        ),
        # the script, or the group
        (ValueError("could not broadcast"), Fault.SCRIPT),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), Fault.SCRIPT),
        (RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"), Fault.SCRIPT),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1000000000000 bytes."), Fault.SCRIPT),
        (MemoryError("CUDA out of memory"), Fault.SCRIPT),
        (KeyError("CUDA error: unknown error"), Fault.SCRIPT),
        (RuntimeError("CUDA error: no kernel image is available for execution on the device" + BEHIND), Fault.SCRIPT),
        (DataError("Embedding 'e': got indices from 3 to 12; else CUDA error: device-side assert triggered"), Fault.SCRIPT),
        (OutOfDeviceMemory("GPU 0 ran out of memory: CUDA out of memory."), Fault.SCRIPT),
        (GroupBroken("told to"), Fault.SCRIPT),
        (GroupBroken("NCCL error: remote process exited or there was a network error"), Fault.SCRIPT),
        (dist.DistBackendError(NCCL.format("remote process exited or there was a network error", "ncclRemoteError")), Fault.SCRIPT),
        (dist.DistBackendError("NCCL communicator was aborted on rank 1."), Fault.SCRIPT),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else f"{type(value).__name__}: {value}"[:70],
)  # fmt: skip
def test_whose_fault_an_error_is(error, fault):
    assert fault_of(error) is fault


@pytest.mark.parametrize(
    ("code", "fault"), [(2, Fault.MEMORY), (100, Fault.PLACE), (214, Fault.PLACE), (700, Fault.CRASH), (710, Fault.ASSERT)]
)
def test_the_number_of_an_error_counts_where_torch_brings_it(code, fault):
    error = torch.AcceleratorError("CUDA error: in words of a language that nobody here speaks")
    error.error_code = code
    assert fault_of(error) is fault


def raised(outer, inner, *, cause):
    try:
        try:
            raise inner
        except Exception as caught:
            if cause:
                raise outer from caught
            raise outer  # noqa: B904  a script that forgets where it came from
    except Exception as error:
        return error


def test_what_an_error_was_raised_from_counts():
    ecc = RuntimeError("CUDA error: uncorrectable ECC error encountered")
    assert fault_of(raised(GroupBroken("the group is over"), ecc, cause=True)) is Fault.PLACE
    assert fault_of(raised(ValueError("the layer failed"), RuntimeError("CUDA out of memory."), cause=True)) is Fault.MEMORY


def test_what_a_script_handled_counts_only_where_it_cannot_be_mended():
    assert fault_of(raised(ValueError("no batch fits"), torch.OutOfMemoryError("CUDA out of memory."), cause=False)) is Fault.SCRIPT
    dead = RuntimeError("CUDA error: device-side assert triggered")
    assert fault_of(raised(ValueError("retry failed"), dead, cause=False)) is Fault.ASSERT
