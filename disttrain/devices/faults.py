"""What an error says of the device: is the place at fault, the memory, an assertion in a kernel, or the script? Pure, by type and text.

| kind     | such as                                                     | what follows                                               |
|----------|-------------------------------------------------------------|------------------------------------------------------------|
| `PLACE`  | no device, busy, ECC, Xid, NVLink, NCCL's own failures      | the worker ends and is replaced, no sample is blamed       |
| `MEMORY` | out of memory, of torch, CUDA or cuBLAS                     | told with the numbers, if nobody else holds the memory     |
| `ASSERT` | a device-side assertion: an index outside its range         | told; the process, which can use the GPU no more, ends     |
| `CRASH`  | an illegal access, a failed launch: of a kernel or the GPU  | the process ends, a loss; three at one step are a poison   |
| `SCRIPT` | all else                                                    | the script's own error, as on a CPU                        |

A peer's death, seen through NCCL, is none of these: the group broke, and its members go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from disttrain.errors import DisttrainError


class Fault(Enum):
    """Whose it is."""

    PLACE = "place"
    MEMORY = "memory"
    ASSERT = "assert"
    CRASH = "crash"
    SCRIPT = "script"


# The first that is found counts. An assertion makes every later call fail in ways of its own, so it comes first; the memory of the host is
# no device's; and what NCCL says of a peer is said of the group.
_TEXTS: tuple[tuple[Fault, tuple[str, ...]], ...] = (
    (Fault.ASSERT, ("device-side assert triggered", r"cudaErrorAssert\b", "HIP error: .*assert")),
    (
        Fault.PLACE,
        (
            "uncorrectable (ECC|NVLink) error", "cudaErrorECCUncorrectable", r"\bNVRM\b", r"\bXid\b", "hardware stack error", "GPU is lost",
            "has fallen off the bus", "Invalid access of peer GPU memory over nvlink or a hardware error", "MPS (server|client)",
        ),
    ),
    (
        Fault.MEMORY,
        ("(CUDA|HIP)( error:)? out of memory", "Cuda failure( 2)? '?out of memory", "(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"),
    ),
    (
        Fault.PLACE,
        (
            "no (CUDA|ROCm)-capable device", "no (CUDA|HIP) GPUs are available", "Found no NVIDIA driver", r"device\(s\) is/are busy",
            "devices are busy", "driver (version is insufficient|initialization failed|shutting down)", "CUDA unknown error",
            "(CUDA|HIP) error: (unknown error|initialization error|invalid device ordinal|driver shutting down|forward compatibility)",
            "(CUDA|HIP) error: system (not yet initialized|has unsupported)", "CUBLAS_STATUS_NOT_INITIALIZED",
            "CUDNN_STATUS_NOT_INITIALIZED", "finds no GPU on",
        ),
    ),
    (
        Fault.CRASH,
        (
            "illegal memory access", "misaligned address", "illegal instruction", "invalid (program counter|address space)",
            "on global/shared address space", "unspecified launch failure", "launch timed out", "(CUDA|HIP) error: launch failure",
            "CUBLAS_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR)", "CUDNN_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR)",
            "CUFFT_(EXEC_FAILED|INTERNAL_ERROR)",
        ),
    ),
)  # fmt: skip
_PATTERNS = tuple((fault, re.compile("|".join(texts), re.IGNORECASE)) for fault, texts in _TEXTS)

# CUDA's numbers, which torch.AcceleratorError brings with it (`error_code`).
_CODES: dict[int, Fault] = {
    2: Fault.MEMORY, 3: Fault.PLACE, 4: Fault.PLACE, 35: Fault.PLACE, 46: Fault.PLACE, 100: Fault.PLACE, 101: Fault.PLACE, 214: Fault.PLACE,
    220: Fault.PLACE, 226: Fault.PLACE, 700: Fault.CRASH, 702: Fault.CRASH, 710: Fault.ASSERT, 714: Fault.PLACE, 715: Fault.CRASH,
    716: Fault.CRASH, 717: Fault.CRASH, 718: Fault.CRASH, 719: Fault.CRASH, 802: Fault.PLACE, 803: Fault.PLACE, 804: Fault.PLACE,
    999: Fault.PLACE,
}  # fmt: skip

_NCCL = re.compile(r"\bNCCL\b|\bnccl[A-Z]\w+Error\b")
_PEER = re.compile(
    "remote process exited|ncclRemoteError|remote error|connection closed by (remote )?peer|socketProgress|Broken pipe|was aborted", re.I
)
_OF_CUDA = ("AcceleratorError", "OutOfMemoryError", "DistBackendError", "_DistBackendError")
_ABOUT_A_DEVICE = re.compile(
    r"\b(CUDA|CUBLAS|CUDNN|CUFFT|NCCL|NVIDIA|NVRM|Xid|HIP|ROCm|nvlink)|cudaError|finds no GPU|device-side|GPU is lost", re.I
)


def fault_of(error: BaseException) -> Fault:
    """Whose fault an error is. What it was raised from counts too: a library may put words of its own around it."""
    for one, meant in _chain(error):
        fault = _fault_of_one(one)
        if fault is not Fault.SCRIPT and (meant or fault in (Fault.ASSERT, Fault.CRASH)):
            return fault
    return Fault.SCRIPT


def _fault_of_one(error: BaseException) -> Fault:
    kind, text = type(error).__name__, str(error)
    if isinstance(error, DisttrainError) and "finds no GPU on" not in text:
        return Fault.SCRIPT  # our own words, which may quote those of a device
    if kind == "OutOfMemoryError" and type(error).__module__.startswith("torch"):
        return Fault.MEMORY
    code = getattr(error, "error_code", None)
    if kind == "AcceleratorError" and isinstance(code, int) and code in _CODES and not _PATTERNS[0][1].search(text):
        return _CODES[code]
    if not (kind in _OF_CUDA or isinstance(error, RuntimeError | AssertionError) or _is_torch(error)):
        return Fault.SCRIPT
    if not _ABOUT_A_DEVICE.search(text):
        return Fault.SCRIPT
    for fault, pattern in _PATTERNS:
        if pattern.search(text):
            return fault
    if _NCCL.search(text) and not _PEER.search(text):
        return Fault.PLACE
    return Fault.SCRIPT


def _is_torch(error: BaseException) -> bool:
    return type(error).__module__.split(".")[0] in ("torch", "disttrain")


def _chain(error: BaseException) -> Iterator[tuple[BaseException, bool]]:
    """An error and what it came from, each once; False from one on that was only being handled, so that the script may have mended it."""
    seen: set[int] = set()
    current: BaseException | None = error
    meant = True
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current, meant
        if current.__cause__ is not None:
            current = current.__cause__
        else:
            meant = False
            current = None if current.__suppress_context__ else current.__context__
