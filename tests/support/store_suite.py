"""What every store must do, whatever is behind it: one suite for a disk, for memory, and for each real server."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from disttrain.checkpoint import Store


def fill(store: Store, path: str, ranges: list[tuple[int, int]]) -> list[bytes]:
    """What `read_ranges` puts into buffers; checks that `on_bytes` saw the same, in order."""
    buffers = [np.zeros(size, np.uint8) for _, size in ranges]
    seen = [b""] * len(ranges)

    def on_bytes(index: int, part: Any) -> None:
        seen[index] += part.tobytes()

    store.read_ranges(path, [(offset, buffer) for (offset, _), buffer in zip(ranges, buffers, strict=True)], on_bytes)
    assert seen == [buffer.tobytes() for buffer in buffers]
    return seen


class StoreSuite:
    """Tests of the fixture `store`, an empty one."""

    def test_create_makes_a_file_once(self, store: Store) -> None:
        assert store.create("a/b.json", b"mine")
        assert not store.create("a/b.json", b"theirs")
        assert store.read("a/b.json") == b"mine"

    def test_creating_the_same_bytes_again_is_taken_for_a_lost_reply(self, store: Store) -> None:
        assert store.create("a.json", b"mine")
        assert store.create("a.json", b"mine")

    def test_put_replaces(self, store: Store) -> None:
        store.put("hint.json", b"old")
        store.put("hint.json", b"new")
        assert store.read("hint.json") == b"new"

    def test_a_big_file_is_its_chunks_and_is_never_overwritten(self, store: Store) -> None:
        store.write_file("data/x", [b"head", memoryview(b"body"), b""])
        assert store.read("data/x") == b"headbody"
        assert store.size("data/x") == 8
        with pytest.raises(FileExistsError):
            store.write_file("data/x", [b"other"])
        assert store.read("data/x") == b"headbody"

    def test_parts_of_a_file_are_read_by_offset(self, store: Store) -> None:
        store.write_file("x", [bytes(range(100))])
        assert store.read("x", 10, 13) == bytes([10, 11, 12])
        assert store.read("x", stop=2) == b"\0\1"
        assert fill(store, "x", [(0, 2), (2, 3), (50, 4), (60, 0)]) == [b"\0\1", b"\2\3\4", bytes([50, 51, 52, 53]), b""]

    def test_ranges_longer_than_a_request_are_put_together(self, store: Store) -> None:
        body = np.random.default_rng(0).integers(0, 256, (20 << 20) + 7, np.uint8).tobytes()
        store.write_file("x", [body])
        assert fill(store, "x", [(1, 9 << 20), ((9 << 20) + 1, len(body) - (9 << 20) - 1)]) == [
            body[1 : (9 << 20) + 1],
            body[(9 << 20) + 1 :],
        ]

    def test_a_file_that_ends_early_is_an_end_of_file(self, store: Store) -> None:
        store.write_file("x", [b"abc"])
        with pytest.raises(EOFError):
            fill(store, "x", [(0, 4)])

    def test_names_are_listed_sorted_files_and_folders_alike(self, store: Store) -> None:
        assert store.list("d") == []
        for path in ("d/b", "d/a", "d/c/deep"):
            store.put(path, b"x")
        assert store.list("d") == ["a", "b", "c"]

    def test_what_is_missing_is_told_from_what_is_there(self, store: Store) -> None:
        store.put("d/a", b"x")
        assert store.exists("d/a")
        assert not store.exists("d/b")
        for operation in (store.size, store.read):
            with pytest.raises(FileNotFoundError):
                operation("d/b")
        with pytest.raises(FileNotFoundError):
            fill(store, "d/b", [(0, 1)])

    def test_deleting_twice_is_no_error(self, store: Store) -> None:
        store.put("d/a", b"x")
        store.put("d/b", b"x")
        for _ in range(2):
            store.delete("d/a")
            assert store.list("d") == ["b"]
        for _ in range(2):
            store.delete_folder("d")
            assert store.list("d") == []

    def test_a_store_crosses_processes(self, store: Store) -> None:
        store.put("a", b"x")
        assert pickle.loads(pickle.dumps(store)).read("a") == b"x"
