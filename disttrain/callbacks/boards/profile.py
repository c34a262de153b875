"""A trace of some batches by torch's profiler, as Perfetto and TensorBoard's profile page open it."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import Any


def batches_to_trace(given: Any) -> tuple[int, int] | None:
    """First and last batch, counted from 1 over the whole fit, of what Keras takes as `profile_batch`; None for 0.

    Raises:
        ValueError: anything else.
    """
    wanted = given
    if isinstance(wanted, str):
        parts = wanted.split(",")
        wanted = tuple(int(part) for part in parts) if all(part.strip().isdigit() for part in parts) else None
        wanted = wanted[0] if wanted is not None and len(wanted) == 1 else wanted
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        wanted = (wanted, wanted)
    whole = isinstance(wanted, tuple | list) and len(wanted) == 2 and all(isinstance(n, int) and not isinstance(n, bool) for n in wanted)
    if not whole or (tuple(wanted) != (0, 0) and not 1 <= wanted[0] <= wanted[1]):
        raise ValueError(f"TensorBoard(profile_batch={given!r}): expected 0, the number of a batch, or (first, last), counted from 1.")
    return None if tuple(wanted) == (0, 0) else (wanted[0], wanted[1])


class Trace:
    """A recording that goes on: of this process, all its threads, and the device's work.

    Raises:
        RuntimeError: another profiler runs.
    """

    def __init__(self) -> None:
        from torch.profiler import ProfilerActivity, profile, supported_activities

        wanted = {ProfilerActivity.CPU, ProfilerActivity.CUDA} & set(supported_activities())
        self._profile = profile(activities=sorted(wanted, key=str), record_shapes=True)
        self._profile.start()

    def stop(self) -> None:
        """End it without keeping it."""
        self._profile.stop()

    def save(self, folder: str, batch: int) -> str:
        """End it and write `<host>_<pid>.<batch>.pt.trace.json` into the folder, a path or URL; gives the name with the folder."""
        import fsspec  # late: loads when a file is opened

        self._profile.stop()
        url = f"{folder}/{socket.gethostname()}_{os.getpid()}.{batch}.pt.trace.json"
        with tempfile.TemporaryDirectory() as own:
            local = f"{own}/trace.json"
            self._profile.export_chrome_trace(local)
            files, path = fsspec.core.url_to_fs(url)
            files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            files.put_file(local, path)
        return url
