"""The fixed binary tree over virtual ranks: which sums are taken, in which order, wherever the slices sit. Pure.

Floating-point addition commutes but does not associate, so the same bits need the same parentheses. Leaves are the virtual ranks
0..V-1; the node (level l, index i) covers [i * 2**l, (i + 1) * 2**l) cut at V; its value is left + right, or left alone where the right
half lies beyond V. A worker that hosts a run of virtual ranks can fold the nodes that lie wholly inside its run; those are its *pieces*.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A node of the tree, by the virtual ranks it covers before the cut at V: `width` is a power of two, `start` a multiple of it."""

    start: int
    width: int

    @property
    def children(self) -> tuple[Node, Node]:
        half = self.width // 2
        return Node(self.start, half), Node(self.start + half, half)


def root(leaves: int) -> Node:
    """The node over all of `leaves` virtual ranks, 1 or more."""
    return Node(0, 1 << (leaves - 1).bit_length())


def pieces(start: int, stop: int, leaves: int) -> tuple[Node, ...]:
    """The largest nodes that lie inside the run [start, stop) of a tree of `leaves`, left to right; at most 2 * log2(leaves).

    A node that reaches beyond `leaves` counts as inside when what is left of it is.

    Example:
        >>> [(n.start, n.width) for n in pieces(0, 3, 8)]
        [(0, 2), (2, 1)]
        >>> [(n.start, n.width) for n in pieces(4, 6, 6)]
        [(4, 4)]
    """
    found: list[Node] = []

    def descend(node: Node) -> None:
        last = min(node.start + node.width, leaves)
        if node.start >= stop or last <= start or node.start >= leaves:
            return
        if start <= node.start and last <= stop:
            found.append(node)
            return
        for child in node.children:
            descend(child)

    if start < min(stop, leaves):
        descend(root(leaves))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Add:
    """Add buffer `source` to buffer `target`, in place."""

    target: int
    source: int


@lru_cache(maxsize=4096)
def folding(nodes: tuple[Node, ...], leaves: int) -> tuple[tuple[Add, ...], int]:
    """How to fold `nodes`, which tile [0, leaves), into the root: additions in order, and the number of the buffer that holds the sum.

    Buffers are numbered as `nodes` are. Raises ValueError when the nodes do not tile the tree.
    """
    at = {node: number for number, node in enumerate(nodes)}
    adds: list[Add] = []

    def value(node: Node) -> int | None:
        if node.start >= leaves:
            return None
        if node in at:
            return at[node]
        if node.width == 1:
            raise ValueError(f"virtual rank {node.start} of {leaves} is covered by no piece among {nodes}")
        left, right = (value(child) for child in node.children)
        assert left is not None
        if right is not None:
            adds.append(Add(left, right))
        return left

    result = value(root(leaves))
    assert result is not None
    return tuple(adds), result


@lru_cache(maxsize=4096)
def local_merges(start: int, stop: int, leaves: int) -> tuple[int, ...]:
    """For each virtual rank of the run [start, stop), in order: how many of the newest buffers on the stack are merged after it.

    Running a slice pushes its buffer; a merge adds the top of the stack to the one below and pops it. At the end the stack holds the
    run's `pieces`, left to right.
    """
    stop = min(stop, leaves)
    run_pieces = pieces(start, stop, leaves)
    merges: list[int] = []

    def leaf(node: Node) -> None:
        """Visit the leaves of `node` in order; after its right half is complete, one merge follows."""
        if node.width == 1:
            merges.append(0)
            return
        left, right = node.children
        leaf(left)
        if right.start < leaves:
            leaf(right)
            merges[-1] += 1

    for piece in run_pieces:
        leaf(piece)
    return tuple(merges)
