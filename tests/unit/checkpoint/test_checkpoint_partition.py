from __future__ import annotations

import pytest

from disttrain.checkpoint.arrays import TensorSpec
from disttrain.checkpoint.partition import Piece, check_tiling, split


def test_tensors_are_cut_in_rows_where_the_bytes_are_halved() -> None:
    specs = [TensorSpec("b", "U8", (10,)), TensorSpec("a", "F32", (10, 2))]  # 80 bytes then 10: the half is byte 45, row 5 of a
    assert split(specs, 2) == [[Piece("a", 0, 5)], [Piece("a", 5, 10), Piece("b", 0, 10)]]


def test_tensors_without_bytes_go_to_writer_0() -> None:
    specs = [TensorSpec("a", "U8", (0,)), TensorSpec("b", "U8", (4,)), TensorSpec("c", "U8", (3, 0))]
    assert split(specs, 2) == [[Piece("a", 0, 0), Piece("c", 0, 3), Piece("b", 0, 2)], [Piece("b", 2, 4)]]


def test_more_writers_than_rows_leaves_some_with_nothing() -> None:
    shares = split([TensorSpec("a", "F64", ())], 3)
    assert [len(share) for share in shares] == [0, 0, 1]


def test_a_name_twice_and_no_writer_are_refused() -> None:
    with pytest.raises(ValueError, match="two tensors are named 'a'"):
        split([TensorSpec("a", "U8", ()), TensorSpec("a", "F32", ())], 1)
    with pytest.raises(ValueError, match="expected 1 or more"):
        split([], 0)


@pytest.mark.parametrize(
    ("pieces", "holes", "overlaps"),
    [
        ([Piece("a", 0, 4)], (), ()),
        ([Piece("a", 2, 4), Piece("a", 0, 2)], (), ()),
        ([], ("a is missing",), ()),
        ([Piece("a", 0, 1), Piece("a", 2, 4)], ("a rows 1 to 2 are missing",), ()),
        ([Piece("a", 0, 3)], ("a rows 3 to 4 are missing",), ()),
        ([Piece("a", 0, 3), Piece("a", 2, 4)], (), ("a rows 2 to 4 are there twice",)),
        ([Piece("a", 0, 4), Piece("a", 0, 4)], (), ("a rows 0 to 4 are there twice",)),
        ([Piece("a", 0, 5)], (), ("a rows 0 to 5, of 4, do not exist",)),
        ([Piece("a", 0, 4), Piece("a", 4, 4)], (), ("a rows 4 to 4 are there twice", "a rows 4 to 4 hold nothing")),
        ([Piece("a", 0, 4), Piece("z", 0, 1)], (), ("z is no tensor of this checkpoint",)),
    ],
)
def test_holes_and_overlaps_are_named(pieces: list[Piece], holes: tuple[str, ...], overlaps: tuple[str, ...]) -> None:
    tiling = check_tiling([TensorSpec("a", "F32", (4,))], pieces)
    assert (tiling.holes, tiling.overlaps) == (holes, overlaps)


def test_a_tensor_without_rows_needs_its_one_empty_piece() -> None:
    specs = [TensorSpec("a", "F32", (0, 2))]
    assert check_tiling(specs, [Piece("a", 0, 0)]) == check_tiling([], [])
    assert check_tiling(specs, []).holes == ("a is missing",)
    assert check_tiling(specs, [Piece("a", 0, 0), Piece("a", 0, 0)]).overlaps
