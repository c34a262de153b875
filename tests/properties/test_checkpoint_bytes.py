"""Whatever happens to the bytes of a checkpoint: they come back as they were saved, or the load is refused."""

from __future__ import annotations

import secrets

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disttrain.checkpoint import (
    Arena,
    CommitName,
    NamedArray,
    Store,
    TensorSpec,
    commit,
    load,
    new_save_nonce,
    record_resume,
    save_folder,
    shard_path,
    snapshot,
    split,
    start_attempt,
    verify,
    write_shard,
)
from disttrain.checkpoint.arrays import DTYPES
from disttrain.checkpoint.layout import COMMITS, DATA
from disttrain.errors import CheckpointError


def saved(arrays: dict[str, NamedArray], writers: int, extra: dict) -> tuple[Store, str]:
    store = Store(f"memory://{secrets.token_hex(8)}")
    attempt = record_resume(store, start_attempt(store, {}, fresh=False), None)
    folder = save_folder(CommitName(1, 1, 5), new_save_nonce())
    specs = [array.spec(name) for name, array in arrays.items()]
    arena, reports = Arena(), []
    for writer, pieces in enumerate(split(specs, writers)):
        with snapshot(arrays, pieces, arena) as shot:
            reports.append(write_shard(store, shard_path(folder, writer, writers), shot))
    return store, commit(store, attempt, 1, 5, reports, specs, extra).name


def dropped(store: Store) -> None:
    fsspec.filesystem("memory").rm(store.root, recursive=True)


@st.composite
def named_arrays(draw: st.DrawFn) -> dict[str, NamedArray]:
    names = draw(
        st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0["), min_size=1, max_size=8), unique=True)
    )
    made = {}
    for name in names:
        spec = TensorSpec(name, draw(st.sampled_from(sorted(DTYPES))), tuple(draw(st.lists(st.integers(0, 4), max_size=3))))
        made[name] = NamedArray(
            spec.dtype, spec.shape, np.frombuffer(draw(st.binary(min_size=spec.nbytes, max_size=spec.nbytes)), np.uint8)
        )
    return made


extras = st.dictionaries(
    st.text(max_size=4).filter(lambda key: key != "$float"),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=5),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)


@settings(deadline=None, max_examples=80)
@given(named_arrays(), st.integers(1, 5), extras)
def test_loading_what_was_saved_gives_the_same_bytes(arrays: dict[str, NamedArray], writers: int, extra: dict) -> None:
    store, name = saved(arrays, writers, extra)
    loaded = load(store, name)
    assert loaded.manifest.extra == extra
    assert {key: (a.dtype, a.shape, a.data.tobytes()) for key, a in loaded.arrays.items()} == {
        key: (a.dtype, a.shape, a.data.tobytes()) for key, a in arrays.items()
    }
    dropped(store)


@pytest.fixture(scope="module")
def small() -> tuple[Store, str, list[str]]:
    """A checkpoint of two writers, and the paths of every file that it consists of."""
    arrays = {"model/w": NamedArray.from_numpy(np.arange(40, dtype=np.float32).reshape(10, 4)), "step": NamedArray.from_numpy(np.array(3))}
    store, name = saved(arrays, 2, {"epoch": 3})
    (folder,) = store.list(DATA)
    return store, name, [f"{COMMITS}/{name}.json", *(f"{DATA}/{folder}/{shard}" for shard in store.list(f"{DATA}/{folder}"))]


def refused(store: Store, name: str, path: str, bad: bytes | None) -> None:
    good = store.read(path)
    try:
        if bad is None:
            store.delete(path)
        else:
            store.put(path, bad)
        for read in (load, verify):
            with pytest.raises(CheckpointError):
                read(store, name)
    finally:
        store.put(path, good)


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_any_flipped_bits_are_noticed(small: tuple[Store, str, list[str]], data: st.DataObject) -> None:
    store, name, paths = small
    path = data.draw(st.sampled_from(paths))
    changed = bytearray(store.read(path))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    refused(store, name, path, bytes(changed))


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_cut_any_addition_and_any_exchange_is_noticed(small: tuple[Store, str, list[str]], data: st.DataObject) -> None:
    store, name, paths = small
    path = data.draw(st.sampled_from(paths))
    good = store.read(path)
    cut = st.integers(0, len(good) - 1).map(lambda at: good[:at])
    added = st.binary(min_size=1, max_size=9).map(lambda more: good + more)
    swapped = st.sampled_from([other for other in paths if other != path]).map(store.read)
    refused(store, name, path, data.draw(cut | added | swapped | st.none()))


def test_every_byte_of_the_data_and_of_the_manifest_counts(small: tuple[Store, str, list[str]]) -> None:
    store, name, paths = small
    for path in paths:
        good = store.read(path)
        for position in range(0 if path.endswith(".json") else 4096, len(good)):
            refused(store, name, path, good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :])
