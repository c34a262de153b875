"""The GPUs of this machine, as their driver knows them: no torch is loaded and no context is made, so it costs no GPU memory.

The driver's library (NVML) is asked where there is one, `nvidia-smi` else. What CUDA_VISIBLE_DEVICES hides does not count.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
# What each kind of GPU listens to. Read when a process first uses a GPU, so it may be set once torch is loaded.
_HIDDEN_BY = (VISIBLE, "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_SMI_S = 20.0  # a driver without persistence wakes each GPU first, which takes seconds
_QUERY = ("--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One of them: its number in the driver, what never changes of it, what it is called, and its memory, 0 where that is not known."""

    index: int
    uuid: str
    name: str
    memory_mib: int = 0


Read = Callable[[], Sequence[Gpu]]


def gpus_here(read: Read | None = None, environment: Mapping[str, str] | None = None) -> tuple[Gpu, ...]:
    """Those that a process with this environment may use, in the order in which CUDA numbers them.

    Args:
        read: gives all that the driver knows; the default asks it.
        environment: this process's unless told.
    """
    environment = os.environ if environment is None else environment
    shown = environment.get(VISIBLE)
    if shown is not None and not _wanted(shown):
        return ()
    found = tuple((read or read_driver)())
    return found if shown is None else _visible(found, _wanted(shown))


def gpu_uuid(read: Read | None = None) -> str:
    """The UUID of the GPU that this process uses first, "" where it sees none. Asked of the driver: no context is made for it."""
    shown = gpus_here(read)
    return shown[0].uuid if shown else ""


def hide_gpus(environment: MutableMapping[str, str] | None = None) -> None:
    """Let this process, which computes on CPUs, see no GPU: the script's own code, and libraries, would take memory of one each."""
    environment = os.environ if environment is None else environment
    for name in _HIDDEN_BY:
        environment[name] = ""


def read_driver() -> Sequence[Gpu]:
    """All GPUs that the driver knows; none where there is no driver."""
    try:
        return _nvml()
    except OSError:  # no such library, or it gives no answer
        return _nvidia_smi()


def torch_cuda() -> str | None:
    """The CUDA (or "HIP ...") that the installed torch is built for, None where for none; read from its files, for torch loads slowly."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    with suppress(OSError):
        text = (Path(spec.origin).parent / "version.py").read_text()
        for name in ("cuda", "hip"):
            found = re.search(rf"^{name}\b[^=]*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
            if found:
                return found[1] if name == "cuda" else f"HIP {found[1]}"
    return None


def torch_version() -> str:
    """Of the installed torch."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return "(of an unknown version)"


def _wanted(shown: str) -> list[str]:
    """The entries of CUDA_VISIBLE_DEVICES up to the first that is none, where CUDA stops too."""
    wanted: list[str] = []
    for entry in (part.strip() for part in shown.split(",")):
        if not entry or entry in wanted or (not entry.isdecimal() and not entry.startswith(("GPU-", "MIG-"))):
            break
        wanted.append(entry)
    return wanted


def _visible(found: Sequence[Gpu], wanted: Sequence[str]) -> tuple[Gpu, ...]:
    """Those that were named, by number, by UUID or by the beginning of one; a part of a GPU (MIG) stands for one of its own."""
    shown: list[Gpu] = []
    for entry in wanted:
        if entry.startswith("MIG-"):
            shown.append(Gpu(len(shown), entry, "MIG device"))
            continue
        named = [gpu for gpu in found if (str(gpu.index) == entry if entry.isdecimal() else gpu.uuid.startswith(entry))]
        if len(named) != 1:
            break
        shown.append(named[0])
    return tuple(shown)


def _nvml() -> list[Gpu]:
    """Through the driver's library.

    Raises:
        OSError: there is none, or it does not answer.
    """
    library = ctypes.CDLL("libnvidia-ml.so.1")

    def ask(name: str, *arguments: object) -> None:
        try:
            code = getattr(library, name)(*arguments)
        except AttributeError as error:
            raise OSError(f"{name} is not in this NVML") from error
        if code:
            raise OSError(f"{name} answers {code}")

    ask("nvmlInit_v2")
    try:
        count = ctypes.c_uint()
        ask("nvmlDeviceGetCount_v2", ctypes.byref(count))
        found = []
        for index in range(count.value):
            device = ctypes.c_void_p()
            ask("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(device))
            words = {}
            for what in ("UUID", "Name"):
                text = ctypes.create_string_buffer(96)
                ask(f"nvmlDeviceGet{what}", device, text, ctypes.c_uint(len(text)))
                words[what] = text.value.decode(errors="replace")
            memory = (ctypes.c_ulonglong * 3)()  # total, free, used
            ask("nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
            found.append(Gpu(index, words["UUID"], words["Name"], memory[0] >> 20))
        return found
    finally:
        with suppress(OSError):
            ask("nvmlShutdown")


def _nvidia_smi() -> list[Gpu]:
    """Through the command that comes with the driver; nothing where it is not there or fails."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        told = subprocess.run([command, *_QUERY], capture_output=True, text=True, timeout=_SMI_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if told.returncode:
        return []
    found = []
    for line in told.stdout.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) >= 4 and parts[0].isdecimal():
            memory = parts[-1].split()[0] if parts[-1] else ""
            found.append(Gpu(int(parts[0]), parts[1], ", ".join(parts[2:-1]), int(memory) if memory.isdecimal() else 0))
    return found
