"""Computing steps of a finished run once more, in this process: do they lead from one checkpoint to the next, bit for bit?"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from disttrain import seeds
from disttrain.callbacks import CallbackList
from disttrain.checkpoint import Manifest, Store, load, read_history
from disttrain.elastic.shard_writer import state_digest
from disttrain.elastic.shipping import pack, unpack
from disttrain.errors import UsageError
from disttrain.launch.config import RunConfig
from disttrain.launch.door import enter
from disttrain.launch.finished import FinishedRun
from disttrain.rundir.directory import RunDirectory
from disttrain.rundir.identity import RunDescription
from disttrain.rundir.timeline import Console
from disttrain.seeds import fold_in
from disttrain.training.boundary_decision import BoundaryDecision
from disttrain.training.job import Job
from disttrain.training.local import runner
from disttrain.training.program import BOUNDARIES, Kind
from disttrain.training.step.engine import Engine
from disttrain.training.step.named_arrays import as_tensor
from disttrain.training.step.replica import StateDict


@dataclass(frozen=True)
class Stretch:
    """Ticks that were computed once more; `differs` is the first tensor whose bits are others, None where none is."""

    call: int
    first: int
    last: int
    differs: str | None


class AuditedRun(FinishedRun):
    """A finished run, of whose fits some steps are computed again as the script makes them.

    Args:
        sample: the share of the steps between its checkpoints.
        folder: of the script.

    Attributes:
        stretches: what came of it.
    """

    def __init__(
        self, directory: RunDirectory, description: RunDescription, sample: float, folder: Path, tell: Callable[[str], None]
    ) -> None:
        super().__init__(directory, description, Console(quiet=True))
        self.sample, self.folder, self.tell = sample, folder, tell
        self.stretches: list[Stretch] = []

    def fit(self, job: Job, callbacks: CallbackList) -> None:
        """Audit it, then give the script its result."""
        number = self._calls - 1
        shipment = pack(job, self.folder)
        for start, stop in self._chosen(number):
            with runner.intra_op_threads(self._description.threads), runner.kept_generators():
                found = _replayed(unpack(shipment), self._device(), self.directory.store, number, start, stop)
            self.stretches.append(found)
            words = "the same bits" if found.differs is None else f"other bits, first in {found.differs}"
            self.tell(f"call {number}, ticks {found.first} to {found.last}: {words}")
        super().fit(job, callbacks)

    def _device(self) -> torch.device:
        """What the run computed on; another computes other bits."""
        device = self._description.versions.get("device", "cpu")
        if device == "cuda" and not torch.cuda.is_available():
            raise UsageError(
                f"{self.directory.run_dir} holds a run on GPUs, and torch {torch.__version__} finds none here: a CPU computes other bits.\n"
                "  expected  a machine with a GPU of the kind that the run had"
            )
        return torch.device(device)

    def _chosen(self, number: int) -> list[tuple[Manifest, Manifest]]:
        """Stretches between checkpoints, in an order drawn from the seed, until they make up the sample; one at least."""
        store = self.directory.store
        manifests = [load(store, name, prefix="callbacks/none").manifest for name in read_history(store)]
        own = sorted((m for m in manifests if m.extra.get("call") == number and m.extra.get("digests")), key=_tick)
        pairs = sorted(pairwise(own), key=lambda pair: fold_in(self._description.seed, "audit", _tick(pair[0])))
        chosen: list[tuple[Manifest, Manifest]] = []
        wanted = self.sample * sum(_tick(stop) - _tick(start) for start, stop in pairs)
        for start, stop in pairs:
            if chosen and wanted <= 0:
                break
            chosen.append((start, stop))
            wanted -= _tick(stop) - _tick(start)
        return chosen


def audit(run_dir: str, script: str, arguments: tuple[str, ...], sample: float, tell: Callable[[str], None] = print) -> list[Stretch]:
    """Run the script of a finished run without training, but for the steps that are computed again.

    Raises:
        UsageError: there is no such script, or the run is not finished.
        RunMismatch: it is another script's.
    """
    path = Path(script)
    if not path.is_file():
        raise UsageError(f"there is no script {script!r}.\n  expected  the script of the run, from which its model and data come")
    entry = enter(RunConfig(run_dir=run_dir), script=path.name, arguments=arguments, script_sha256="")
    if not entry.finished or entry.description is None:
        raise UsageError(f"{run_dir} holds no finished run.\n  expected  one that is done; launch it again to finish it")
    seeds.set_random_seed(entry.description.seed)
    folder = path.resolve().parent
    run = AuditedRun(entry.directory, entry.description, sample, folder, tell)
    before = sys.argv, sys.path[:]
    sys.argv, sys.path[0:1] = [script, *arguments], [str(folder)]
    try:
        with runner.installed(run):
            runpy.run_path(str(path), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = before
    return run.stretches


def _replayed(job: Job, device: torch.device, store: Store, number: int, start: Manifest, stop: Manifest) -> Stretch:
    loaded = load(store, str(start.name))
    tensors = {name: as_tensor(array) for name, array in loaded.arrays.items() if not name.startswith("callbacks/")}
    engine = Engine(job, device)
    if "frozen" in start.extra["meta"]:
        engine.rearrange(start.extra["meta"]["frozen"])
    engine.replica.load_state_dict(StateDict(tensors, start.extra["meta"]))
    while engine.tick < _tick(stop) and (position := engine.position).kind is not Kind.END:
        if position.kind in BOUNDARIES:
            # what callbacks decided there is not kept, but for the end of the call
            ends = position.tick + 1 == _tick(stop) and bool(stop.extra["meta"]["ended"])
            engine.apply(BoundaryDecision(end_call=ends))
        else:
            engine.run_tick(position)
    digest, expected = state_digest(engine.replica.state_dict()).tree(), stop.extra["digests"]
    return Stretch(number, _tick(start), _tick(stop), next((name for name in digest if digest[name] != expected.get(name)), None))


def _tick(manifest: Manifest) -> int:
    tick: Any = manifest.extra["tick"]
    return int(tick)
