"""Memory of a GPU as it was when it ran out, and what is said of it. Pure: numbers in, words out."""

from __future__ import annotations

from dataclasses import dataclass

from disttrain.errors import OutOfDeviceMemory

_GIB = 1 << 30
_ASIDE_BYTES = 3 * _GIB // 2  # a process's own context, its libraries' workspaces and buffers lie outside torch's count
_ASIDE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes of a GPU: all, those free, those that torch holds in this process, and the most it ever had in use."""

    device: str
    name: str
    total: int
    free: int
    reserved: int
    peak: int

    @property
    def elsewhere(self) -> int:
        """What is held, and not by torch in this process."""
        return max(0, self.total - self.free - self.reserved)

    @property
    def others_hold(self) -> bool:
        """Does another process hold more than this one's own context could?"""
        return self.elsewhere > max(_ASIDE_BYTES, self.total * _ASIDE_SHARE)


@dataclass(frozen=True, slots=True)
class StepSize:
    """How large a step is: samples of the batch, V, and W, None for a script that trains in its own process."""

    batch: int
    virtual_workers: int
    workers: int | None

    @property
    def slice(self) -> int:
        """Samples of the largest slice: so many are computed at a time, whatever W is."""
        return -(-self.batch // self.virtual_workers)


def out_of_memory(memory: DeviceMemory | None, size: StepSize | None, reason: str) -> OutOfDeviceMemory:
    """The error for a step that does not fit. `reason`: what torch said."""
    where = "the GPU" if memory is None else f"{memory.device} ({memory.name}, {_gib(memory.total)})"
    lines = [f"{where} ran out of memory{'' if size is None else ' in a step'}: {reason.strip().splitlines()[0][:200]}"]
    if memory is not None:
        shared = f"; {_gib(memory.elsewhere)} are held outside this process's torch" if memory.others_hold else ""
        lines.append(f"  peak      {_gib(memory.peak)} in use by this process at most, {_gib(memory.free)} were free{shared}")
    ways = ["mixed_precision.set_dtype_policy('mixed_bfloat16')", "a GPU with more memory"]
    if size is not None:
        batch, many, workers = size.batch, size.virtual_workers, size.workers
        words = f"  step      a batch of {batch} in {many} slice{'s' * (many != 1)} of {size.slice}"
        if workers is not None:
            words += f", one at a time on each of {workers} worker{'s' * (workers != 1)}: more workers make no slice smaller"
        lines.append(words)
        if size.slice > 1:
            more = f"set_virtual_workers({2 * many})" if workers is None else f"--virtual-workers {2 * many} in another --run-dir"
            ways.insert(0, f"{more} (slices of {-(-batch // (2 * many))}, one after the other; other bits)")
            ways.insert(0, f"batch_size={max(many, batch // 2)}")
    lines.append(f"  try       {', '.join(ways[:-1])}, or {ways[-1]}")
    return OutOfDeviceMemory("\n".join(lines))


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / (1 << 20):.0f} MiB"
