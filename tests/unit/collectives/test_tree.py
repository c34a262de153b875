"""The fixed tree: same parentheses wherever the slices sit."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disttrain.collectives.tree import Add, Node, folding, local_merges, pieces


def expression(leaves: int, runs: list[tuple[int, int]]) -> str:
    """What is added to what, in words, when the virtual ranks are hosted in these runs."""
    nodes, values = [], []
    for start, stop in runs:
        stack: list[str] = []
        for rank, merges in zip(range(start, min(stop, leaves)), local_merges(start, stop, leaves), strict=True):
            stack.append(str(rank))
            for _ in range(merges):
                right = stack.pop()
                stack[-1] = f"({stack[-1]}+{right})"
        assert len(stack) == len(pieces(start, stop, leaves))
        nodes += pieces(start, stop, leaves)
        values += stack
    adds, result = folding(tuple(nodes), leaves)
    for add in adds:
        values[add.target] = f"({values[add.target]}+{values[add.source]})"
    return values[result]


def test_eight_slices_are_summed_pairwise():
    assert expression(8, [(0, 8)]) == "(((0+1)+(2+3))+((4+5)+(6+7)))"


def test_a_tree_that_is_not_full_leaves_the_last_branch_alone():
    assert expression(5, [(0, 5)]) == "(((0+1)+(2+3))+4)"
    assert expression(3, [(0, 3)]) == "((0+1)+2)"


def test_a_run_ships_its_largest_whole_subtrees():
    assert pieces(1, 8, 8) == (Node(1, 1), Node(2, 2), Node(4, 4))
    assert pieces(0, 8, 8) == (Node(0, 8),)
    assert pieces(6, 8, 5) == ()  # nothing of this run has samples


def test_pieces_that_do_not_tile_the_tree_are_refused():
    with pytest.raises(ValueError, match="virtual rank 1 of 2"):
        folding((Node(0, 1),), 2)


def test_folding_two_pieces_is_one_addition_into_the_left():
    assert folding((Node(0, 2), Node(2, 2)), 4) == ((Add(0, 1),), 0)


@st.composite
def hosting(draw):
    virtual = draw(st.integers(1, 24))
    cuts = sorted(draw(st.sets(st.integers(1, virtual - 1), max_size=virtual - 1))) if virtual > 1 else []
    borders = [0, *cuts, virtual]
    return draw(st.integers(1, virtual)), list(pairwise(borders))


@given(hosting())
def test_the_parentheses_do_not_depend_on_who_hosts_what(case):
    leaves, runs = case
    assert expression(leaves, runs) == expression(leaves, [(0, runs[-1][1])])
