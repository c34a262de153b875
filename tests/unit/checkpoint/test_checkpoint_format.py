"""FORMAT.md is enough to read what disttrain writes: a reader of 70 lines that knows nothing else says what disttrain's own says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import format_reader
import numpy as np
import pytest

from disttrain.checkpoint import (
    Attempt,
    CommittedCheckpoint,
    NamedArray,
    Store,
    load,
    read_history,
    record_resume,
    start_attempt,
)

Save = Callable[..., CommittedCheckpoint]


@pytest.fixture
def wide(arrays: dict[str, NamedArray]) -> dict[str, NamedArray]:
    """Each kind of dtype, tensors that are cut, scalars and nothing."""
    return arrays | {
        "model/complex": NamedArray("C32", (5,), np.arange(20, dtype=np.uint8)),
        "model/eighths": NamedArray("F8_E4M3", (3, 3), np.arange(9, dtype=np.uint8)),
        "model/large": NamedArray.from_numpy(np.arange(1000, dtype=np.uint16).reshape(100, 10)),
        "model/phase": NamedArray.from_numpy(np.arange(6).astype(np.complex128)),
    }


@pytest.mark.parametrize("writers", [1, 3])
def test_a_stranger_restores_the_same_bytes(tmp_path: Path, wide: dict[str, NamedArray], started, save: Save, writers: int) -> None:
    store = Store(str(tmp_path))
    done = save(store, started(store), 1, wide, writers=writers)
    assert format_reader.history(tmp_path) == [done.name]
    expected = {name: (array.dtype, list(array.shape), array.data.tobytes()) for name, array in load(store, done.name).arrays.items()}
    assert format_reader.restore(tmp_path, done.name) == expected


def test_a_stranger_refuses_each_flipped_byte_of_what_counts(tmp_path: Path, arrays, started, save: Save) -> None:
    store = Store(str(tmp_path))
    done = save(store, started(store), 1, arrays, writers=1)
    (data,) = tmp_path.glob("checkpoints/data/*/*")
    for path, places in ((tmp_path / f"checkpoints/commits/{done.name}.json", None), (data, range(0, data.stat().st_size, 61))):
        whole = path.read_bytes()
        for place in places if places is not None else range(0, len(whole), 7):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises((AssertionError, ValueError, KeyError)):
                format_reader.restore(tmp_path, done.name)
        path.write_bytes(whole)
    format_reader.restore(tmp_path, done.name)


def test_a_stranger_chooses_from_the_same_history(tmp_path: Path, arrays, started, save: Save) -> None:
    store = Store(str(tmp_path))

    def agree() -> list[str]:
        assert format_reader.history(tmp_path) == read_history(store)
        return read_history(store)

    first = started(store)
    names = [save(store, first, sequence, arrays).name for sequence in (1, 2, 3)]
    assert agree() == names[::-1]
    second = record_resume(store, start_attempt(store, {}, fresh=False), names[1])
    assert agree() == [names[1], names[0]]
    later = save(store, second, 1, arrays).name
    assert agree() == [later, names[1], names[0]]
    start_attempt(store, {}, fresh=False)  # died at once
    assert agree() == [later, names[1], names[0]]
    anew: Attempt = record_resume(store, start_attempt(store, {}, fresh=True), None)
    assert agree() == []
    assert agree() == [] and [save(store, anew, 1, arrays).name] == agree()
    (tmp_path / f"attempts/{anew.number:08d}.json").unlink()
    assert len(agree()) == 1
