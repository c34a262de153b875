"""`plot_model`, and where it puts things."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disttrain import layers as L
from disttrain.models import Input, Model, Sequential, plot_model
from disttrain.models.layered_layout import place


def branched() -> Model:
    a, b = Input((8,), name="a"), Input((4,), name="b")
    inner = Sequential([Input((8,)), L.Dense(5, "relu", name="deep")], name="inner")
    x, y = inner(a), L.Dense(5, name="right<&>")(b)
    z = L.Add(name="sum")([x, y])
    return Model([a, b], [L.Dense(1, "sigmoid", name="out")(L.Concatenate(name="cat")([z, y, a])), z])


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_each_layer_is_a_box_and_each_connection_an_arrow():
    drawing = plot_model(branched(), None, show_layer_names=True)
    assert sorted(words(drawing.svg())) == sorted(
        ["a (InputLayer)", "b (InputLayer)", "inner (Sequential)", "right<&> (Dense)", "sum (Add)", "cat (Concatenate)", "out (Dense)"]
    )
    assert len(drawing.arrows) == 8


def test_what_is_shown_is_chosen():
    svg = plot_model(
        branched(), None, show_shapes=True, show_dtype=True, show_layer_activations=True, show_trainable=True, expand_nested=True
    ).svg()
    assert {"output shape: (None, 18)", "output dtype: float32", "activation: sigmoid", "trainable", "inner (Sequential)"} <= {
        *words(svg)
    } | {"output shape: (None, 18)"}
    assert "output shape: (None, 18)" in words(svg) and "activation: relu" in words(svg)
    assert not any("output" in word for word in words(plot_model(branched(), None).svg()))


def test_the_same_model_gives_the_same_bytes(tmp_path: Path):
    for name in ("m.svg", "m.png"):
        plot_model(branched(), tmp_path / name, show_shapes=True, expand_nested=True)
        first = (tmp_path / name).read_bytes()
        plot_model(branched(), tmp_path / name, show_shapes=True, expand_nested=True)
        assert (tmp_path / name).read_bytes() == first
    assert first.startswith(b"\x89PNG")


@pytest.mark.parametrize(("rankdir", "axis", "sign"), [("TB", 1, 1), ("BT", 1, -1), ("LR", 0, 1), ("RL", 0, -1)])
def test_data_flow_in_the_wished_direction(rankdir: str, axis: int, sign: int):
    for arrow in plot_model(branched(), None, rankdir=rankdir, expand_nested=True).arrows:
        assert sign * (arrow[-1][axis] - arrow[0][axis]) > 0


def test_a_model_that_is_code_shows_its_layers_without_arrows():
    class Custom(Model):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = L.Dense(3), L.Dense(3)

        def call(self, x):
            return self.second(self.first(x))

    model = Custom()
    with pytest.raises(ValueError, match="not built"):
        plot_model(model, None)
    model.build((None, 4))
    drawing = plot_model(model, None, show_layer_names=True)
    assert words(drawing.svg()) == ["dense (Dense)", "dense_1 (Dense)"] and drawing.arrows == []


@pytest.mark.parametrize(
    ("options", "message"),
    [({"to_file": "m.pdf"}, "ending in .svg or .png"), ({"rankdir": "UP"}, "expected one of TB, BT, LR, RL")],
)
def test_mistakes_are_named(options: dict[str, str], message: str):
    with pytest.raises(ValueError, match=message):
        plot_model(branched(), **options)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    count = draw(st.integers(1, 10))
    sizes = [(draw(st.integers(10, 90)) * 1.0, draw(st.integers(10, 60)) * 1.0) for _ in range(count)]
    edges = draw(st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda e: e[0] < e[1]), max_size=14))
    return sizes, sorted(edges)


@settings(max_examples=40)
@given(graphs())
def test_boxes_never_overlap_and_edges_point_down_without_touching_other_boxes(graph):
    sizes, edges = graph
    placed = place(sizes, edges)
    boxes = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in zip(placed.centres, sizes, strict=True)]
    for number, one in enumerate(boxes):
        assert one[0] > -0.01 and one[1] > -0.01 and one[2] < placed.width + 0.01 and one[3] < placed.height + 0.01
        for two in boxes[number + 1 :]:
            assert one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
    for (start, end), points in zip(edges, placed.edges, strict=True):
        assert points[0][1] == pytest.approx(boxes[start][3]) and points[-1][1] == pytest.approx(boxes[end][1])
        assert all(later[1] >= earlier[1] for earlier, later in pairwise(points))
        for x, y in points[1:-1]:
            assert not any(left < x < right and top < y < bottom for left, top, right, bottom in boxes)


def test_a_ring_cannot_be_laid_out():
    with pytest.raises(ValueError, match="ring"):
        place([(1, 1), (1, 1)], [(0, 1), (1, 0)])
