"""NCCL as it is: waits and aborts with one rank and with an absent peer, what they leave behind, two ranks on a GPU.

`disttrain/collectives/nccl.py` says what was read of torch's code. Here each of it is looked at. Without a GPU, the same runs over what the
tests have in NCCL's place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psutil
import torch
import torch.distributed as dist

from disttrain.collectives.communicator_end import CommunicatorEnd
from disttrain.collectives.nccl import Nccl, error_of, first_words, prepare_environment, still_connects
from disttrain.devices.faults import fault_of
from gpu.telling import Teller, in_words, mib, use_test_support

_ROUNDS = 10
_ABSENT_ROUNDS = 10
_SLEEP_CYCLES = 2_000_000_000  # about a second of a GPU


def alone(tell: Teller) -> None:
    """One rank: are works told as they are, what does an abort complete, how long does it take, and does anything stay behind?"""
    prepare_environment(None)
    library = _library(tell)
    began = time.perf_counter()
    communicator = Nccl(dist.HashStore(), 0, 1, tell.device, library)
    tell.measured("one communicator begins to connect, seconds", f"{time.perf_counter() - began:.3f}")
    took = _connect(communicator)
    tell.measured("until one operation of each kind was complete, seconds", f"{took:.3f}")
    _waits(tell, communicator)
    began = time.perf_counter()
    communicator.retire()
    tell.measured("shutdown, seconds", f"{time.perf_counter() - began:.3f}")
    before = None
    for number in range(_ROUNDS):
        seconds, complete = _aborted_while_busy(tell, library)
        now = _held(tell)
        before = before or now
        tell.measured(f"round {number + 1}: aborted within, complete afterwards, held", f"{seconds:.3f} s, {complete}, {_in_words(now)}")
    last = _held(tell)
    assert before is not None
    tell.holds("ten aborted communicators leave no thread and no file behind", last[0] <= before[0] + 2 and last[1] <= before[1] + 2,
               f"{_in_words(before)} -> {_in_words(last)}")  # fmt: skip
    tell.holds("and no memory of the GPU", last[2] - before[2] < 256 << 20, mib(last[2] - before[2]))


def absent_peer(tell: Teller) -> None:
    """Two ranks of which one never comes: is the other deaf, and does an abort end that?"""
    prepare_environment(None)
    library = _library(tell)
    before = None
    for number in range(_ABSENT_ROUNDS):
        if library is not None:
            library.connects.clear()
        ended: list[str] = []
        began = time.perf_counter()
        store = dist.HashStore()
        communicator = Nccl(store, 0, 2, tell.device, library)
        made = time.perf_counter() - began
        end = CommunicatorEnd(communicator, ended.append, within_s=8.0)
        heard: list[str] = []

        def first(communicator: Nccl = communicator, heard: list[str] = heard) -> None:
            try:
                begin, _, _ = first_words(communicator)[0]
                begin()
                heard.append("is issued")
            except RuntimeError as error:
                heard.append(("still connects: " if still_connects(error) else "") + in_words(error, 120))

        asking = threading.Thread(target=first, daemon=True)
        asking.start()
        asking.join(1.0)
        waits = asking.is_alive()
        began = time.perf_counter()
        end.abort([], "nobody came")
        if library is not None:
            library.connects.set()  # an abort lets go of what waits in native code
        del communicator
        end.await_end([])
        aborted = time.perf_counter() - began
        asking.join(10.0)
        left = asking.is_alive()
        now = _held(tell)
        before = before or now
        words = f"made in {made:.3f} s, abort in {aborted:.3f} s, {_in_words(now)}{'; '.join(['', *ended])}"
        tell.holds(f"round {number + 1}: an abort ends it, and whoever waited", not ended and not left, words)
        if number == 0:
            tell.measured("the first operation waits for the peer", f"{'yes' if waits else 'no'}; at last it says: {'; '.join(heard)}")
        if left:
            break  # each further round would leave a thread
    last = _held(tell)
    assert before is not None
    tell.holds("no memory of the GPU stays behind", last[2] - before[2] < 256 << 20, mib(last[2] - before[2]))


def duplicate(tell: Teller) -> None:
    """Two ranks on one GPU: in which words are they refused, and are those known?"""
    if not tell.on_gpu:
        tell.measured("skipped", "only NCCL itself can say it")
        return
    prepare_environment(None)
    store, heard = dist.HashStore(), {}

    def join(rank: int) -> None:
        try:
            communicator = Nccl(store, rank, 2, tell.device)
            heard[rank] = f"connected in {_connect(communicator):.3f} s"
        except Exception as error:
            heard[rank] = str(error)
            told[rank] = error

    told: dict[int, Exception] = {}
    threads = [threading.Thread(target=join, args=(rank,), daemon=True) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    for rank in range(2):
        words = heard.get(rank, "nothing within 20 s")
        tell.measured(f"rank {rank}", " | ".join(words.split("\n"))[:600])
    tell.holds("NCCL refuses two ranks on one GPU", bool(told), f"{len(told)} of 2 heard of it")
    for rank, error in told.items():
        tell.measured(f"rank {rank}: taken for", fault_of(error).name)


def _library(tell: Teller) -> Any:
    """Where `ProcessGroupNCCL` is."""
    if tell.on_gpu:
        return dist
    use_test_support()
    from nccl_like import Library

    return Library()


def _connect(communicator: Nccl, limit_s: float = 30.0) -> float:
    began = time.perf_counter()
    for begin, output, expected in first_words(communicator):
        work = None
        while work is None:
            try:
                work = begin()
            except RuntimeError as error:
                if not still_connects(error) or time.perf_counter() - began > limit_s:
                    raise
                time.sleep(0.001)
        _until(work.is_completed, limit_s)
        assert error_of(work) is None, error_of(work)
        work.wait()
        assert output.tolist() == expected, f"{output.tolist()}, expected {expected}"
    return time.perf_counter() - began


def _waits(tell: Teller, communicator: Nccl) -> None:
    """What is told of a work whose stream is busy for a second."""
    mine, output = torch.ones(1 << 20, device=tell.device), torch.zeros(1 << 20, device=tell.device)
    _busy(tell)
    began = time.perf_counter()
    work = communicator.all_gather(output, mine)
    early = work.is_completed()
    issued = time.perf_counter() - began
    if tell.on_gpu:
        tell.holds(
            "issuing does not wait for the GPU, and a work that is under way is not complete", not early and issued < 0.3, f"{issued:.3f} s"
        )
    _until(work.is_completed, 30.0)
    tell.measured("complete after, seconds", f"{time.perf_counter() - began:.3f}")
    began = time.perf_counter()
    error = error_of(work)
    tell.holds("a work that is complete has no error", error is None, error or "")
    work.wait()
    tell.holds("waiting for what is complete orders the streams and no more", time.perf_counter() - began < 0.2)
    tell.holds("and brings what it should", bool((output == 1).all()))
    if tell.on_gpu:
        _busy(tell)
        work = communicator.all_gather(output, mine)
        began = time.perf_counter()
        try:
            work.wait(timedelta(milliseconds=20))
            words = "nothing"
        except RuntimeError as failed:
            words = in_words(failed)
        tell.measured(
            "a wait of 20 ms for a work of a second says (it aborts, as was read)", f"{words}, after {time.perf_counter() - began:.3f} s"
        )
        tell.synchronize()


def _aborted_while_busy(tell: Teller, library: Any) -> tuple[float, bool]:
    communicator = Nccl(dist.HashStore(), 0, 1, tell.device, library)
    _connect(communicator)
    output = torch.zeros(1 << 20, device=tell.device)
    _busy(tell, 0.3)
    work = communicator.all_gather(output, torch.ones(1 << 20, device=tell.device))
    ended: list[str] = []
    end = CommunicatorEnd(communicator, ended.append, within_s=10.0)
    began = time.perf_counter()
    end.abort([work], "a check")
    end.await_end([work])
    seconds = time.perf_counter() - began
    tell.synchronize()
    if ended:
        tell.holds("an abort ends what is under way", False, ended[0])
    return seconds, bool(work.is_completed())


def _busy(tell: Teller, share: float = 1.0) -> None:
    """Let the stream have something to do before what comes next."""
    if tell.on_gpu:
        torch.cuda._sleep(int(_SLEEP_CYCLES * share))


def _held(tell: Teller) -> tuple[int, int, int]:
    """Threads, open files, and bytes of the GPU in use by anybody."""
    process = psutil.Process()
    used = 0
    if tell.on_gpu:
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        used = total - free
    return process.num_threads(), process.num_fds(), used


def _in_words(held: tuple[int, int, int]) -> str:
    return f"{held[0]} threads, {held[1]} files, {mib(held[2])}"


def _until(done: Callable[[], bool], limit_s: float) -> None:
    end = time.perf_counter() + limit_s
    while not done():
        if time.perf_counter() > end:
            raise TimeoutError(f"not complete within {limit_s:g} s")
        time.sleep(0.0005)
