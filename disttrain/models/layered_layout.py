"""Where the boxes of a directed graph without rings go: in layers, edges pointing one way, few of them crossing.

The four steps of Sugiyama, Tagawa & Toda (1981): a layer for each box by its longest path, stand-ins where an edge passes through a
layer, an order within layers by the mean place of neighbours, and places near those neighbours. The same graph always comes out the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_SWEEPS = 8
_THIN = 12.0  # width of an edge's stand-in


@dataclass(frozen=True)
class Placed:
    """Centres of the boxes, the points each edge passes through, and the size of it all; x to the right, y downwards."""

    centres: list[tuple[float, float]]
    edges: list[list[tuple[float, float]]]
    width: float
    height: float


def place(
    sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]], gap_x: float = 24.0, gap_y: float = 32.0
) -> Placed:  # fmt: skip
    """Places for boxes of (width, height), with edges from the first to the second of each pair, downwards.

    Raises:
        ValueError: the edges form a ring.
    """
    if not sizes:
        return Placed([], [], 0.0, 0.0)
    ranks = _ranks(len(sizes), edges)
    boxes = [(width, height) for width, height in sizes]
    segments: list[tuple[int, int]] = []
    chains: list[list[int]] = []
    for start, end in edges:
        chain = [start]
        for rank in range(ranks[start] + 1, ranks[end]):
            boxes.append((_THIN, 0.0))
            ranks.append(rank)
            chain.append(len(boxes) - 1)
        chain.append(end)
        segments += pairwise(chain)
        chains.append(chain)
    rows = _ordered(ranks, segments)
    xs = _spread(rows, boxes, segments, gap_x)
    tops, bottoms, y = [], [], 0.0
    for row in rows:
        tops.append(y)
        bottoms.append(y + max(boxes[box][1] for box in row))
        y = bottoms[-1] + gap_y
    left = min(x - width / 2 for x, (width, _) in zip(xs, boxes, strict=True))
    right = max(x + width / 2 for x, (width, _) in zip(xs, boxes, strict=True))
    xs = [x - left for x in xs]
    ys = [(tops[rank] + bottoms[rank]) / 2 for rank in ranks]

    def route(chain: list[int]) -> list[tuple[float, float]]:
        """Straight down through the layers, slanting only between them, so that no edge runs over a box."""
        start, end = chain[0], chain[-1]
        points = [(xs[start], ys[start] + boxes[start][1] / 2), (xs[start], bottoms[ranks[start]])]
        for box in chain[1:-1]:
            points += [(xs[box], tops[ranks[box]]), (xs[box], bottoms[ranks[box]])]
        points += [(xs[end], tops[ranks[end]]), (xs[end], ys[end] - boxes[end][1] / 2)]
        return [point for number, point in enumerate(points) if not number or point != points[number - 1]]

    centres = [(xs[box], ys[box]) for box in range(len(sizes))]
    return Placed(centres, [route(chain) for chain in chains], right - left, y - gap_y)


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The length of the longest path to each box, then as near to what it feeds as can be."""
    below, above, left = defaultdict(list), defaultdict(list), [0] * count
    for start, end in edges:
        below[start].append(end)
        above[end].append(start)
        left[end] += 1
    ready = [box for box in range(count) if not left[box]]
    ranks, order = [0] * count, []
    while ready:
        box = ready.pop(0)
        order.append(box)
        for target in below[box]:
            ranks[target] = max(ranks[target], ranks[box] + 1)
            left[target] -= 1
            if not left[target]:
                ready.append(target)
    if len(order) != count:
        raise ValueError("the edges form a ring, which cannot be drawn in layers.")
    for box in reversed(order):  # an input that is needed late moves down to where it is needed
        if below[box] and not above[box]:
            ranks[box] = min(ranks[target] for target in below[box]) - 1
    lowest = min(ranks)
    return [rank - lowest for rank in ranks]


def _ordered(ranks: list[int], segments: list[tuple[int, int]]) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(max(ranks) + 1)]
    for box, rank in enumerate(ranks):
        rows[rank].append(box)
    above, below = defaultdict(list), defaultdict(list)
    for start, end in segments:
        above[end].append(start)
        below[start].append(end)
    best, fewest = [list(row) for row in rows], _crossings(rows, segments)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            places = {box: place for other in rows for place, box in enumerate(other)}
            neighbours = above if down else below

            def mean(box: int, places: dict[int, int] = places, neighbours: dict[int, list[int]] = neighbours) -> float:
                found = neighbours[box]
                return sum(places[other] for other in found) / len(found) if found else float(places[box])

            row.sort(key=mean)  # stable: ties stay in order
        crossings = _crossings(rows, segments)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _crossings(rows: list[list[int]], segments: list[tuple[int, int]]) -> int:
    places = {box: (number, place) for number, row in enumerate(rows) for place, box in enumerate(row)}
    by_row: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for start, end in segments:
        by_row[places[start][0]].append((places[start][1], places[end][1]))
    return sum(
        (one[0] - two[0]) * (one[1] - two[1]) < 0
        for pairs in by_row.values()
        for number, one in enumerate(pairs)
        for two in pairs[number + 1 :]
    )


def _spread(
    rows: list[list[int]], boxes: list[tuple[float, float]], segments: list[tuple[int, int]], gap: float
) -> list[float]:  # fmt: skip
    """x of each box: packed and centred at first, then drawn towards its neighbours as far as the row allows."""
    near: dict[int, list[int]] = defaultdict(list)
    for start, end in segments:
        near[start].append(end)
        near[end].append(start)
    xs = [0.0] * len(boxes)
    for row in rows:
        x = -(sum(boxes[box][0] for box in row) + gap * (len(row) - 1)) / 2
        for box in row:
            xs[box] = x + boxes[box][0] / 2
            x += boxes[box][0] + gap
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = [sum(xs[other] for other in near[box]) / len(near[box]) if near[box] else xs[box] for box in row]
            apart = [(boxes[one][0] + boxes[two][0]) / 2 + gap for one, two in pairwise(row)]
            rightwards, leftwards = list(wanted), list(wanted)
            for number, distance in enumerate(apart):
                rightwards[number + 1] = max(rightwards[number + 1], rightwards[number] + distance)
            for number in range(len(apart) - 1, -1, -1):
                leftwards[number] = min(leftwards[number], leftwards[number + 1] - apart[number])
            for box, one, two in zip(row, rightwards, leftwards, strict=True):
                xs[box] = (one + two) / 2  # both keep the distances, so their mean does too
    return xs
