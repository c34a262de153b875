"""What a resumed training finds in the event files: which points it will write again, and which must outlive the purge.

TensorBoard's own purge, a `SessionLog.START` at a step, drops every point of the folder from that step on, whatever its axis. Keras puts
curves over epochs and curves over batches into one folder, where "epoch 3" and "batch 3" are the same step. Therefore the purge begins
at the lowest step that is to be written again, and the points that it would wrongly take with it are written once more behind it.
Skipping what is there already would do as well while every bit repeats, but would keep a stale curve where somebody changed the script.
(The `EventAccumulator` that the package offers to scripts purges curves, but not what newer plugins keep as tensors: histograms, images.)
The newer data server of TensorBoard ignores START and drops a tag's points from any step that comes again, which gives the same picture.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import fsspec

FirstStep = Callable[[str], float]
"""For a tag, the first step that the resumed training will write; infinity for what is written once."""


def events(folder: str) -> Iterator[bytes]:
    """The serialized events of a folder in the order TensorBoard reads them; a file that ends within a record ends there."""
    files, path = fsspec.core.url_to_fs(folder)
    if not files.exists(path):
        return
    for name in sorted(files.ls(path, detail=False)):
        if "tfevents" not in name.rsplit("/", 1)[-1]:
            continue
        yield from records(files.cat_file(name))


def records(data: bytes) -> Iterator[bytes]:
    """What stands in the bytes of an event file, up to the first record that is cut short."""
    place = 0
    while place + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, place)  # then 4 bytes of checksum, the event, 4 of checksum
        if place + 16 + length > len(data):
            return
        yield data[place + 12 : place + 12 + length]
        place += 16 + length


def plan(folder: str, purge_step: int, first_step: FirstStep, unwritten: bytes = b"") -> tuple[int, list[bytes]]:
    """From which step the folder is to be purged, and the events to write once more after that.

    Args:
        folder: a path or URL.
        purge_step: of the axis that most points of the folder lie on.
        first_step: of each tag.
        unwritten: records that the checkpoint holds because they had not got into a file by then; they may have later.
    """
    from tensorboard.compat.proto import event_pb2

    found: list[tuple[Any, bytes]] = []
    purged_from = 0
    for data in events(folder):
        event = event_pb2.Event.FromString(data)
        if event.HasField("session_log") and event.session_log.status == event_pb2.SessionLog.START:
            purged_from = event.step
            found = [entry for entry in found if entry[0].step < purged_from]
        elif event.HasField("summary"):
            found.append((event, data))
    there = {data for _, data in found}
    lost = [data for data in records(unwritten) if data not in there]
    lowest = purge_step
    kept = []
    for event, data in found:
        again = [value for value in event.summary.value if event.step >= first_step(value.tag)]
        if again:
            lowest = min(lowest, event.step)
        else:
            kept.append((event.step, data))
    return lowest, [*(data for step, data in kept if step >= lowest), *lost]
