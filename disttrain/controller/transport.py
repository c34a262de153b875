"""What carries the tensors of a generation: a function of what was asked for and of what its members compute on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from disttrain.elastic.messages import Ready
from disttrain.errors import UsageError
from disttrain.rundir.timeline import Console


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a worker computes on.

    Args:
        worker: its name. host: its machine.
        device: "cpu", "cuda" or "mps".
        uuid: of the GPU; None for none, or where it is not known.
        address: where the GPU sits in its machine; "" where that is not known.
    """

    worker: str
    host: str = ""
    device: str = "cpu"
    uuid: str | None = None
    address: str = ""


@dataclass(frozen=True, slots=True)
class Transport:
    """The choice: "host" sends from the memory of the host, over gloo; "nccl" from GPU to GPU. `because` is for people."""

    name: str
    because: str


def choose_transport(wanted: str, members: Sequence[Gpu]) -> Transport:
    """What carries the tensors of a generation with these members.

    Args:
        wanted: "auto", "host" or "nccl".

    Raises:
        UsageError: nccl was asked for, and cannot be had with these members.
    """
    cannot = _why_not_nccl(members)
    if wanted == "host":
        return Transport("host", "asked for with --transport host")
    if cannot is None:
        return Transport("nccl", "asked for with --transport nccl" if wanted == "nccl" else "each worker has a GPU of its own")
    if wanted == "nccl":
        raise UsageError(
            f"--transport nccl: {cannot}.\n"
            "  expected  workers on NVIDIA GPUs, each with one of its own, which is what NCCL connects\n"
            "  try       --transport auto, which sends over the memory of the hosts there; or as many GPUs as workers, --gpus-per-worker 1"
        )
    return Transport("host", cannot)


def _why_not_nccl(members: Sequence[Gpu]) -> str | None:
    others = sorted({member.device for member in members if member.device != "cuda"})
    if others:
        return f"{_first(members, others[0]).worker} trains on {'a CPU' if others[0] == 'cpu' else others[0].upper()}"
    owners: dict[object, Gpu] = {}
    for member in members:
        if member.uuid is None:
            return f"the GPU of worker {member.worker} tells no UUID, so nobody knows whether another has it too"
        names: list[object] = [member.uuid, *([(member.host, member.address)] if member.address else [])]
        for name in names:
            owner = owners.setdefault(name, member)
            if owner is not member:
                return f"workers {owner.worker} and {member.worker} share the GPU {member.uuid} of {member.host}"
    return None


def _first(members: Sequence[Gpu], device: str) -> Gpu:
    return next(member for member in members if member.device == device)


class Transports:
    """The choice for each generation of a call, told where it changes.

    Args:
        wanted: "auto", "host" or "nccl".
        console: where it is told.
    """

    def __init__(self, wanted: str, console: Console) -> None:
        self._wanted, self._console = wanted, console
        self._gpus: dict[str, Gpu] = {}
        self._told: Transport | None = None

    def heard(self, report: Ready) -> None:
        """What a worker computes on."""
        gpu = Gpu(report.worker, report.host, report.device, report.gpu_uuid or None, report.gpu_address)
        self._gpus[report.worker] = gpu

    def of(self, members: Sequence[str]) -> str:
        """What carries the tensors of these.

        Raises:
            UsageError: what was asked for cannot be had with them.
        """
        if len(members) < 2:
            return "host"
        gpus = [self._gpus.get(worker, Gpu(worker)) for worker in members]
        chosen = choose_transport(self._wanted, gpus)
        if chosen != self._told and any(gpu.device != "cpu" for gpu in gpus):
            self._told = chosen
            way = "from GPU to GPU, over NCCL" if chosen.name == "nccl" else "over the memory of the hosts"
            self._console.event("transport", f"tensors go {way}: {chosen.because}", transport=chosen.name, because=chosen.because)
        return chosen.name
