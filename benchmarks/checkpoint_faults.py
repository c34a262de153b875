"""Faults of saves, caused for real: a writer killed at any moment, damaged files, a store that fails. Is anything lost, or loaded wrong?

What a checkpoint holds is a function of its step, so a reader knows each byte that it should get. *Lost* is a checkpoint that was told as
committed, and is not there after the fault; *wrong* is a byte that was loaded and is another one. The exit code is 1 where there is any.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import signal
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness import parser, print_table, progress, run_program

WRITERS = 2
FAULTS = ("503 before it is done", "lost reply", "half a body", "a listing that lags", "a flipped byte while reading")


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    made = parser(__doc__ or "", ["disttrain"])
    for option, what in (("kills", "kills of a writer"), ("damages", "damaged files"), ("saves", "saves under each fault of a store")):
        made.add_argument(f"--{option}", type=int, default=argparse.SUPPRESS, help=f"{what} (default: 500, quick 25)")
    made.add_argument("--seed", type=int, default=0, help="of what happens when")
    failed: list[bool] = []

    def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
        found = _measure(options, folder)
        failed.extend(bool(one["lost"] or one["wrong"]) for one in found.values())
        return {"faults": found}

    code = run_program("checkpoint_faults", made.parse_args(arguments), measure)
    return code or int(any(failed))


def _measure(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, int]]:
    default = 25 if options.quick else 500
    rng = random.Random(options.seed)
    found = {"SIGKILL of the writer": kills(str(folder / "killed"), getattr(options, "kills", default), rng)}
    progress("kills are done")
    found["damaged files"] = damages(str(folder / "damaged"), getattr(options, "damages", default), rng)
    progress("damages are done")
    for fault in FAULTS:
        found[fault] = store_faults(fault, getattr(options, "saves", default) // 2, rng)
        progress(f"{fault}: done")
    columns = ("tried", "struck", "lost", "wrong")
    print_table(["fault", *columns], [[name, *(str(one[column]) for column in columns)] for name, one in found.items()])
    return found


# -- what is saved ------------------------------------------------------------------------------------------------------------------------


def arrays_of(step: int) -> dict[str, Any]:
    """What a checkpoint of this step holds: 200 kB."""
    import numpy as np  # late: so that --help is quick

    from disttrain.checkpoint import NamedArray

    values = np.random.Generator(np.random.Philox(key=step)).integers(0, 255, 200_000, dtype=np.uint8)
    return {"model/w": NamedArray.from_numpy(values.reshape(200, 1000)), "step": NamedArray.from_numpy(np.array(step))}


class Saver:
    """One attempt that goes on from the newest checkpoint."""

    def __init__(self, store: Any, insists: bool = False) -> None:
        from disttrain import checkpoint as engine
        from disttrain.testing.fake_clock import FakeClock

        self.engine, self.store, self.insists, self.clock = engine, store, insists, FakeClock()
        newest = engine.newest_whole(store, engine.read_history(store))
        attempt = engine.start_attempt(store, {}, fresh=False)
        self.attempt = engine.record_resume(store, attempt, None if newest is None else str(newest.manifest.name))
        self.step, self.sequence, self.arena = 0 if newest is None else newest.manifest.name.step, 0, engine.Arena()

    def save(self) -> int:
        """The step that is committed."""
        engine, arrays = self.engine, arrays_of(self.step + 1)
        specs = [array.spec(name) for name, array in arrays.items()]
        self.sequence += 1
        name = engine.CommitName(self.attempt.number, self.sequence, self.step + 1)
        folder, reports = engine.save_folder(name, engine.new_save_nonce()), []
        for writer, pieces in enumerate(engine.split(specs, WRITERS)):
            path, until = engine.shard_path(folder, writer, WRITERS), self.clock.monotonic_s() + 300.0 * self.insists
            with engine.snapshot(arrays, pieces, self.arena) as shot:
                reports.append(engine.write_shard_insistently(self.store, path, shot, until, self.clock, self.clock.advance))

        def commit() -> Any:
            return engine.commit(self.store, self.attempt, self.sequence, self.step + 1, reports, specs, {})

        engine.insist(commit, self.store, self.clock.monotonic_s() + 300.0 * self.insists, self.clock, self.clock.advance)
        self.step += 1
        return self.step

    def sweep(self) -> None:
        """Keep two."""
        engine, store = self.engine, self.store
        names = [info.name for info in engine.list_checkpoints(store)]
        plan = engine.plan_deletions(
            engine.read_history(store, names), names, store.list("checkpoints/data"), attempt=self.attempt.number, keep=2
        )  # fmt: skip
        engine.sweep(store, self.attempt, plan)


def newest_step(store: Any, count: dict[str, int]) -> int:
    """The step of the checkpoint that a reader gets, 0 for none; what it holds is compared."""
    from disttrain.checkpoint import load_newest, read_history
    from disttrain.errors import CheckpointError

    try:
        found = load_newest(store, read_history(store))
    except (CheckpointError, OSError):
        return 0
    if found is None:
        return 0
    step = found.manifest.name.step
    expected = {name: array.data.tobytes() for name, array in arrays_of(step).items()}
    count["wrong"] += {name: array.data.tobytes() for name, array in found.arrays.items()} != expected
    return step


# -- faults -------------------------------------------------------------------------------------------------------------------------------


def kills(url: str, tries: int, rng: random.Random) -> dict[str, int]:
    """Kill a process that saves without a pause, at a random moment, again and again."""
    from disttrain.checkpoint import Store

    count, store, committed = {"tried": tries, "struck": 0, "lost": 0, "wrong": 0}, Store(url), 0
    for _ in range(tries):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            with suppress(BaseException):
                saver = Saver(Store(url))
                while True:
                    os.write(writer, b"%d\n" % saver.save())
                    saver.sweep()
            os._exit(1)
        os.close(writer)
        time.sleep(rng.uniform(0.0, 0.06))
        os.kill(child, signal.SIGKILL)
        count["struck"] += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        told = b""
        while select.select([reader], [], [], 0)[0] and (more := os.read(reader, 1 << 16)):
            told += more
        os.close(reader)
        committed = max([committed, *map(int, told.split(b"\n")[:-1])])
        step = newest_step(store, count)
        count["lost"] += step < committed
        committed = max(committed, step)
    return count


def damages(url: str, tries: int, rng: random.Random) -> dict[str, int]:
    """Damage one file of the newest of three checkpoints; a reader must take it as it was, or the one before."""
    from disttrain.checkpoint import Store, list_checkpoints

    count, store = {"tried": tries, "struck": 0, "lost": 0, "wrong": 0}, Store(url)
    saver = Saver(store)
    for _ in range(3):
        saver.save()
    newest = list_checkpoints(store)[0].name
    files = sorted([*Path(url).glob(f"checkpoints/data/{newest}*/*"), Path(url) / f"checkpoints/commits/{newest}.json"])
    older = {path.name: path for path in Path(url).glob("checkpoints/data/*/*") if newest not in str(path)}
    for _ in range(tries):
        path = rng.choice(files)
        whole, place = path.read_bytes(), rng.randrange(path.stat().st_size)
        bit = bytes([whole[place] ^ 1 << rng.randrange(8)])
        another = older[path.name].read_bytes() if path.name in older else whole[::-1]
        harmed = rng.choice([
            whole[:place] + bit + whole[place + 1 :], whole[:place], whole + b"\0", whole[:place] + bytes(512) + whole[place + 512 :],
            another, None,
        ])  # fmt: skip
        path.unlink() if harmed is None else path.write_bytes(harmed)
        step = newest_step(store, count)
        count["struck"] += step == 2
        count["lost"] += step < 2
        path.write_bytes(whole)
    return count


def store_faults(fault: str, tries: int, rng: random.Random) -> dict[str, int]:
    """Save to an object store of which one request in five fails in this way; a reader without the fault looks after each."""
    from disttrain.checkpoint import Store

    url = f"memory://{uuid.uuid4().hex}"
    count, faulty, sound = {"tried": tries, "struck": 0, "lost": 0, "wrong": 0}, Store(url), Store(url)
    saver = Saver(sound)
    faulty.files = FaultyFiles(faulty.files, fault, rng, count)
    saver.store, saver.insists, committed = faulty, True, 0
    for _ in range(tries):
        with suppress(Exception):  # a save that is told as failed may be there or not
            committed = saver.save()
            saver.sweep()
        newest_step(faulty, count)
        step = newest_step(sound, count)
        count["lost"] += step < committed
        saver.step = step
    return count


class FaultyFiles:
    """The files of a store, some requests of which fail."""

    def __init__(self, files: Any, fault: str, rng: random.Random, count: dict[str, int]) -> None:
        self._files, self._fault, self._rng, self._count = files, fault, rng, count
        self._listings: dict[str, list[str]] = {}

    def __getattr__(self, name: str) -> Any:
        def request(*arguments: Any) -> Any:
            writes = name in ("create", "write", "put", "delete", "delete_folder")
            struck = {"503": True, "lost": writes, "half": name == "write", "a listing": name == "list", "a flipped": name == "read_ranges"}
            strikes = next(value for start, value in struck.items() if self._fault.startswith(start))
            if not strikes or self._rng.random() > 0.2:
                done = getattr(self._files, name)(*arguments)
                if name == "list":
                    self._listings[arguments[0]] = done
                return done
            self._count["struck"] += 1
            return self._fails(name, *arguments)

        return request

    def _fails(self, name: str, *arguments: Any) -> Any:
        if self._fault == FAULTS[3]:
            return self._listings.get(arguments[0], [])
        if self._fault == FAULTS[4]:
            path, ranges, on_bytes = arguments

            def flipped(index: int, part: Any) -> None:  # as a bad cable does
                part[:1] ^= 1
                on_bytes(index, part)

            return self._files.read_ranges(path, ranges, flipped)
        if self._fault == FAULTS[1]:
            getattr(self._files, name)(*arguments)
        if self._fault == FAULTS[2]:
            path, chunks = arguments
            data = b"".join(chunks)
            self._files.write(path, [data[: self._rng.randrange(len(data))]])
        raise OSError("503 slow down" if self._fault == FAULTS[0] else "the connection was reset")


if __name__ == "__main__":
    raise SystemExit(main())
