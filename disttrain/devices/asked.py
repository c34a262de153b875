"""What a run computes on: what was asked for, what there is, what it began on. Pure: values in, a choice or words out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from disttrain.devices.drivers import Gpu
from disttrain.errors import RunMismatch, UsageError

DEVICES = ("auto", "cpu", "cuda", "mps")
TRANSPORTS = ("auto", "host", "nccl")  # what may carry tensors between workers
_WORDS = {"cpu": "CPUs", "cuda": "GPUs"}
NO_MPS = (
    "Apple's MPS has no float64, in which losses and metrics are summed, so that no number of workers changes a bit of them.\n"
    "  expected  cpu, which is what auto takes on a Mac, or cuda\n"
    "  try       --device cpu, or disttrain.set_device('cpu') in a script; model.to('cpu') for a model that lies there"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Where workers compute.

    Args:
        device: "cpu" or "cuda".
        gpus_per_worker: 0 on CPUs, at most 1.
        offered: GPUs that a Ray started here shall offer: all, so that one that fails can be left out where another lies idle.
        notes: lines for people.
    """

    device: str = "cpu"
    gpus_per_worker: float = 0.0
    offered: int = 0
    notes: tuple[str, ...] = ()

    @property
    def fields(self) -> dict[str, Any]:
        """What a call's environment is told: the device, and a worker's share of it."""
        return {"device": self.device, "gpu_share": self.gpus_per_worker or 1.0}


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for.

    Args:
        device: see `DEVICES`.
        gpus_per_worker: None for 1 on GPUs.
        workers, spares: so many processes at most.
        least: fewer workers than that do not train.
        resumes: the run began on this device, which nobody named this time.
    """

    device: str = "auto"
    gpus_per_worker: float | None = None
    workers: int = 1
    spares: int = 0
    least: int = 1
    resumes: bool = False

    @property
    def kind(self) -> str | None:
        """The device as far as the options alone say."""
        if self.device != "auto":
            return self.device
        return None if self.gpus_per_worker is None else "cuda" if self.gpus_per_worker else "cpu"


def check_options(device: str, gpus_per_worker: float | None, workers: int = 1) -> None:
    """Raise UsageError for options that no machine could meet."""
    if device not in DEVICES:
        raise UsageError(f"--device {device}: expected {', '.join(DEVICES[:-1])} or {DEVICES[-1]}.")
    if device == "mps":
        raise UsageError(f"--device mps: {NO_MPS}")
    share = gpus_per_worker
    if share is None:
        return
    if isinstance(share, bool) or not isinstance(share, int | float) or not share >= 0:
        raise UsageError(f"--gpus-per-worker {share}: expected 1, or a share of one such as 0.5; 0 trains on CPUs.")
    if share > 1:
        raise UsageError(
            f"--gpus-per-worker {share:g}: a worker computes on one GPU, and more would lie idle.\n"
            "  expected  1, or a share of one such as 0.5 or 0.25, with which workers share a GPU; 0 trains on CPUs\n"
            f"  try       --gpus-per-worker 1 with more --workers, such as --workers {max(2, round(share * workers))}"
        )
    if device == "cpu" and share:
        raise UsageError(f"--device cpu --gpus-per-worker {share:g}: expected one of them; workers on CPUs hold no GPU.")
    if device == "cuda" and not share:
        raise UsageError("--device cuda --gpus-per-worker 0: expected one of them; without a GPU a worker computes on CPUs.")


def needed(processes: int, share: float) -> int:
    """GPUs that so many processes take: a share lies on one GPU, so 0.4 lets two onto each and not two and a half."""
    if share <= 0:
        return 0
    fit = max(1, int(1 / share + 1e-9))
    return -(-processes // fit)


def choose_here(asked: Asked, gpus: Sequence[Gpu], built_for: str | None, torch_version: str) -> Choice:
    """On this machine, whose driver knows `gpus`; the installed torch is built for the CUDA `built_for`.

    Raises:
        UsageError: what was asked for cannot be had here.
    """
    kind = asked.kind
    if kind == "cpu" or (kind is None and not gpus):
        return Choice()
    if kind is None and built_for is None:
        return Choice(notes=(f"{counted(gpus)} here, but torch {torch_version} is built without CUDA: training on CPUs",))
    share = 1.0 if asked.gpus_per_worker is None else float(asked.gpus_per_worker)
    processes = asked.workers + asked.spares
    if gpus and built_for is None:
        raise UsageError(
            f"{_given(asked)}: the driver knows {counted(gpus)} here, but torch {torch_version} is built without CUDA.\n"
            "  expected  a build of torch for these GPUs\n"
            "  try       pip install torch as https://pytorch.org says for this machine"
            + (", or --restart --device cpu to begin anew on CPUs" if asked.resumes else ", or --device cpu")
        )
    if len(gpus) < needed(processes, share):
        elsewhere = "" if gpus else "--address of a cluster with GPUs, or "
        raise _too_few(asked, share, asked.workers, len(gpus), "this machine", elsewhere)
    words = f"training on {counted(gpus[: needed(asked.workers, share)])}"
    words += f", {share:g} of one for each worker" if share < 1 else ""
    return Choice("cuda", share, len(gpus), (words,))


def choose_on_cluster(asked: Asked, now: float, limit: float, built_for: str | None, torch_version: str) -> Choice:
    """On a cluster that holds `now` GPUs, and can grow to `limit`. As on CPUs, workers that find no place wait, if enough others do.

    Args:
        built_for: of the torch here; that of the workers is the same, unless somebody asks for CUDA by name.

    Raises:
        UsageError: it can never hold as many as the fewest workers need.
    """
    kind = asked.kind or ("cuda" if now or limit else "cpu")
    if kind == "cpu":
        return Choice()
    if asked.kind is None and built_for is None:
        return Choice(notes=(f"the cluster has {now:g} GPUs, but torch {torch_version} here is built without CUDA: training on CPUs",))
    share = 1.0 if asked.gpus_per_worker is None else float(asked.gpus_per_worker)
    if limit < needed(asked.least, share):
        raise _too_few(asked, share, asked.least, int(limit), "the cluster", "a cluster with GPUs, or " if not limit else "")
    count = needed(asked.workers + asked.spares, share)
    words = f"training on GPUs of the cluster, which has {now:g}"
    if now < count:
        words += f"; all workers and spares take {count}: those that find none wait"
    return Choice("cuda", share, 0, (words,))


def check_transport(transport: str, choice: Choice, workers: int) -> None:
    """Raise UsageError where so many workers can never be connected by the transport that was asked for."""
    why = ""
    if choice.device != "cuda":
        why = "this launch trains on CPUs"
    elif choice.offered == 1 and workers > 1:
        why = f"{workers} workers share the one GPU here"
    if transport == "nccl" and why:
        raise UsageError(
            f"--transport nccl: {why}.\n"
            "  expected  workers on NVIDIA GPUs, each with one of its own, which is what NCCL connects\n"
            "  try       --transport auto, which sends over the memory of the hosts there"
        )


def same_device(began: str | None, asked: Asked, run_dir: str) -> Asked:
    """What is asked of a run that began on the device `began`: that device, to which its bits belong.

    Raises:
        RunMismatch: another was asked for.
    """
    if began is None:
        return asked
    if asked.kind not in (None, began):
        raise RunMismatch(
            f"{run_dir} holds a run that began on {_WORDS[began]}, {_given(asked)} was given: another device computes other bits.\n"
            f"  expected  {began}, on which it goes on\n"
            f"  try       --device {began}, another --run-dir, or --restart to begin anew"
        )
    return replace(asked, device=began, resumes=asked.kind is None)


def _too_few(asked: Asked, share: float, workers: int, there: int, where: str, elsewhere: str) -> UsageError:
    """The error for more GPUs than there can ever be."""
    spares = asked.spares if workers == asked.workers else 0
    processes, count = workers + spares, needed(workers + spares, share)
    who = f"{workers} worker{'s' * (workers != 1)}" + (f" and {spares} spare{'s' * (spares != 1)}" if spares else "")
    each = "a GPU each" if share == 1 else f"{share:g} of a GPU each"
    hints = [f"fewer --workers{' or --spares' * bool(spares)}"] * bool(there and processes > 1)
    smaller = int(100 / -(-processes // max(1, there))) / 100
    hints += [f"--gpus-per-worker {smaller:g} to share GPUs"] * bool(there and 0 < smaller < share)
    hints += ["--restart --device cpu to begin anew on CPUs" if asked.resumes else "--device cpu"]
    return UsageError(
        f"{_given(asked)}: {who} with {each} need {count} GPU{'s' * (count != 1)}, {where} has {there or 'none'}.\n"
        f"  expected  at most as many as there can ever be: a worker that finds none waits for ever\n"
        f"  try       {elsewhere}{', or '.join([', '.join(hints[:-1]), hints[-1]]) if len(hints) > 1 else hints[0]}"
    )


def counted(gpus: Sequence[Gpu]) -> str:
    """ "2 x NVIDIA H200"; several kinds one after the other."""
    names = [gpu.name for gpu in gpus]
    return " and ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)) or "no GPU"


def _given(asked: Asked) -> str:
    if asked.resumes:
        return f"this run began on {_WORDS[asked.device]}"
    given = [] if asked.device == "auto" else [f"--device {asked.device}"]
    given += [] if asked.gpus_per_worker is None else [f"--gpus-per-worker {asked.gpus_per_worker:g}"]
    return " ".join(given) or "--device auto"
