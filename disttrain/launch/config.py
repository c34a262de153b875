"""What a launch was asked for; the one source for Python and the command line."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from disttrain import quantities
from disttrain.controller.checkpoint_interval import CheckpointInterval
from disttrain.devices.asked import TRANSPORTS, Asked, check_options
from disttrain.errors import UsageError
from disttrain.launch.kernels import KERNELS

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):\d{1,5}")  # a name, an IPv4 or, in brackets, an IPv6 address

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "True or False"), "float": ((int, float), "a number"), "int": ((int,), "an integer"), "str": ((str,), "text"),
}  # fmt: skip
_SUCH = {"audit": "'1%'", "checkpoint_every": "'100steps', '30s', '5min' or 'epoch'", "run_dir": "'runs/a' or 's3://bucket/run'"}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """A launch.

    Args:
        workers: processes to train with, 1 or more.
        virtual_workers: V, the fixed slices of each batch; None for what the run, the script or `workers` says. Results depend on it.
        min_workers: fewer than that, and training waits for more.
        max_workers: never more than that; None for `workers`.
        spares: warm workers kept beside, to step in without an import.
        cpus_per_worker: what each holds, and its intra-op threads: bits depend on it.
        device: "cpu", "cuda", or "auto": CUDA where it is there; a run goes on where it began.
        gpus_per_worker: 1, or a share of one such as 0.5, with which workers share a GPU; 0 is on CPUs. None for 1 on CUDA.
        transport: what carries tensors between workers on GPUs: "nccl", "host" (over the memory of their machines), or "auto".
        run_dir: where the run is kept, any fsspec URL; None for `runs/<script>`.
        storage_options: for fsspec, such as `endpoint_url`, to reach the kind of storage of `run_dir` from here and from every worker. Kept
            in no file, and shown nowhere.
        checkpoint_every: when to save, see `CheckpointInterval.parse`.
        on_checkpoint_failure: "continue" trains on where storage does not take a checkpoint, and tries again later; "stop" ends the run.
        keep: committed checkpoints kept beside those that finished calls need.
        seed: None for what the run or the script says, else 0.
        address: None starts Ray here; "auto" or "host:port" joins a cluster.
        restart: begin anew: in `run_dir`, where the older checkpoints stay until there are newer ones, or in the next `runs/<script>`.
        step: go on from the checkpoint of so many optimizer updates, not from the newest; what came after it is done again.
        take_over: go on although another driver seems to hold the run.
        hang_timeout_s: a worker without progress for so many seconds hangs and is replaced; None follows the measured steps.
        digest_every: compare the digests of the workers' states after so many optimizer steps, beside at every save; None for only there.
        admission: let only workers in that get the same bits as the others of one slice of the first step.
        kernels: "common" ones give the same bits on processors of different makes, at the price of speed; "own" are each processor's best.
        determinism: False lets GPUs compute what may differ in its last bits, see `disttrain.set_determinism`; a script's word is last.
        audit: of the time of a training, so much goes into computing slices a second time on another worker, such as "1%"; None for none.
        samples: so many samples of the validation data, at most, are kept in the run directory for `disttrain view`.
    """

    workers: int = 1
    virtual_workers: int | None = None
    min_workers: int = 1
    max_workers: int | None = None
    spares: int = 0
    cpus_per_worker: int = 1
    device: str = "auto"
    gpus_per_worker: float | None = None
    run_dir: str | None = None
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)
    checkpoint_every: str = "epoch"
    on_checkpoint_failure: str = "continue"
    keep: int = 3
    seed: int | None = None
    address: str | None = None
    restart: bool = False
    step: int | None = None
    take_over: bool = False
    samples: int = 16
    hang_timeout_s: float | None = None
    digest_every: int | None = None
    admission: bool = True
    audit: str | None = None
    kernels: str = "own"
    transport: str = "auto"
    determinism: bool = True

    def __post_init__(self) -> None:
        for name in ("workers", "min_workers", "max_workers", "virtual_workers", "cpus_per_worker", "keep", "digest_every"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise UsageError(f"--{name.replace('_', '-')} {value!r}: expected an integer of 1 or more.")
        if not isinstance(self.samples, int) or isinstance(self.samples, bool) or self.samples < 0:
            raise UsageError(f"--samples {self.samples!r}: expected an integer of 0 or more.")
        self._check_kinds()
        if self.hang_timeout_s is not None and not self.hang_timeout_s > 0:
            raise UsageError(f"--hang-timeout {self.hang_timeout_s!r}: expected a number of seconds above 0.")
        if self.spares < 0:
            raise UsageError(f"--spares {self.spares}: expected 0 or more.")
        check_options(self.device, self.gpus_per_worker, self.workers)
        if self.max_workers is not None and self.min_workers > self.max_workers:
            raise UsageError(f"--min-workers {self.min_workers} is more than --max-workers {self.max_workers}: expected at most as many.")
        if self.min_workers > self.workers:
            raise UsageError(f"--min-workers {self.min_workers} is more than --workers {self.workers}: expected at most as many.")
        if self.max_workers is not None and self.max_workers < self.workers:
            raise UsageError(f"--max-workers {self.max_workers} is less than --workers {self.workers}: expected at least as many.")
        if self.virtual_workers is not None:
            check_virtual_workers(self.virtual_workers, self.workers)
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise UsageError(f"--seed {self.seed}: expected an integer from 0 to 2**32 - 1.")
        if self.step is not None and (not isinstance(self.step, int) or isinstance(self.step, bool) or self.step < 0):
            raise UsageError(f"--step {self.step!r}: expected an integer of 0 or more, the step of a checkpoint.")
        if self.step is not None and self.restart:
            raise UsageError(f"--step {self.step} --restart: expected one of them; --restart goes on from no checkpoint.")
        CheckpointInterval.parse(self.checkpoint_every)
        quantities.share_of("--audit", self.audit)
        if self.on_checkpoint_failure not in ("continue", "stop"):
            raise UsageError(f"--on-checkpoint-failure {self.on_checkpoint_failure!r}: expected continue or stop.")
        if self.kernels not in KERNELS:
            raise UsageError(f"--kernels {self.kernels!r}: expected {' or '.join(KERNELS)}.")
        if self.transport not in TRANSPORTS:
            raise UsageError(f"--transport {self.transport!r}: expected {', '.join(TRANSPORTS[:-1])} or {TRANSPORTS[-1]}.")
        if self.run_dir is not None:
            _check_url(self.run_dir)
        if self.storage_options is not None:
            _check_options(self.storage_options, self.run_dir)
        if self.address is not None and self.address != "auto" and not _ADDRESS.fullmatch(self.address):
            client = "; ray:// is for Ray's clients, which drive no workers" if self.address.startswith("ray://") else ""
            raise UsageError(
                f"--address {self.address!r}: expected auto, or HOST:PORT such as 10.0.0.1:6379{client}. Without it a Ray starts here."
            )

    def _check_kinds(self) -> None:
        """From Python anything may come; the command line and the file have looked already."""
        if isinstance(self.run_dir, os.PathLike):  # pathlib's
            object.__setattr__(self, "run_dir", os.fspath(self.run_dir))
        for one in fields(self):
            kind, _, others = str(one.type).partition(" | ")
            if kind not in _KINDS:  # the storage options, which are never shown
                continue
            value = getattr(self, one.name)
            types, words = _KINDS[kind]
            fits = isinstance(value, types) and (kind == "bool" or not isinstance(value, bool))
            if not fits and not (value is None and others):
                option = one.name.removesuffix("_s").replace("_", "-")
                such = f" such as {_SUCH[one.name]}" if one.name in _SUCH else ""
                raise UsageError(f"--{option} {value!r}: expected {words}{such}.")

    @property
    def secrets(self) -> list[str]:
        """Words in which some may stand."""
        return [self.run_dir or "", json.dumps(dict(self.storage_options or {}))]

    @property
    def looks(self) -> dict[str, Any]:
        """How closely the workers' bits are looked at; fields of `CallEnvironment`."""
        return {"digest_every": self.digest_every, "admission": self.admission, "audit_share": self.audit_share}

    @property
    def asked_device(self) -> Asked:
        """Where to compute, as far as it was said."""
        return Asked(self.device, self.gpus_per_worker, self.max_workers or self.workers, self.spares, self.min_workers)

    @property
    def audit_share(self) -> float:
        """`audit` as a share of 1."""
        return quantities.share_of("--audit", self.audit)

    @property
    def checkpoint_interval(self) -> CheckpointInterval:
        """`checkpoint_every`, parsed."""
        return CheckpointInterval.parse(self.checkpoint_every)

    @property
    def saving(self) -> dict[str, Any]:
        """When to save, how storage is reached, and what if that fails; fields of `CallEnvironment`."""
        from disttrain.checkpoint.access import access_of  # late: brings NumPy, and this is read before a cluster is started

        return {
            "checkpoint_interval": self.checkpoint_interval,
            "on_checkpoint_failure": self.on_checkpoint_failure,
            "access": access_of(self.run_dir),
        }


def check_virtual_workers(virtual_workers: int, workers: int) -> None:
    """Raise UsageError for fewer virtual workers than workers: somebody would have nothing to do."""
    if virtual_workers < workers:
        raise UsageError(
            f"{virtual_workers} virtual workers for {workers} workers: each worker hosts one or more.\n"
            f"  expected  --virtual-workers of at least {workers}\n"
            f"  try       --virtual-workers {workers}, or --workers {virtual_workers}"
        )


def _check_options(options: Any, run_dir: str | None) -> None:
    """Raise UsageError for options that would reach nobody. Values are not shown: they may be secret."""
    from disttrain.checkpoint.access import protocol_of  # late: see above

    try:
        fits = isinstance(options, Mapping) and all(isinstance(name, str) for name in options) and bool(json.dumps(dict(options)))
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise UsageError(
            f"storage options of the type {type(options).__name__}: expected names of options of fsspec with values that JSON has,\n"
            """  such as {"endpoint_url": "http://localhost:9000"}"""
        )
    if protocol_of(run_dir) is None:
        raise UsageError(
            f"storage options ({', '.join(options) or 'none'}) without a URL that they are for: the run is kept in {run_dir or 'runs/'}.\n"
            "  expected  --run-dir with a URL such as s3://bucket/run beside them"
        )


def _check_url(url: str) -> None:
    if not url.strip():  # a variable of a shell that is not set, most often
        raise UsageError(f"--run-dir {url!r}: expected a folder or a URL; . is the one where the command runs.")
    import fsspec  # late: loads when a path is checked

    protocol = url.split("://", 1)[0] if "://" in url else "file"
    known = fsspec.available_protocols()
    if protocol not in known:
        near = difflib.get_close_matches(protocol, known, n=3)
        raise UsageError(f"--run-dir {url}: unknown kind of storage {protocol!r}; near it are {near or ['s3', 'gs', 'file']}.")
