"""The layers of a model by path, and where they are drawn."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from viewed_models import Written, branched, convnet, shared, text_model

from disttrain import layers as L
from disttrain.models import Input, Model, Sequential
from disttrain.viewers import graph
from disttrain.viewers.packing import ViewError


def nodes(model: Any) -> dict[str, dict[str, Any]]:
    return {node["id"]: node for node in graph.describe(model)["nodes"]}


def edges(model: Any) -> set[tuple[str, str]]:
    return {(edge["source"], edge["target"]) for edge in graph.describe(model)["edges"]}


def test_paths_name_layers_inside_models():
    found = graph.layers(branched())
    assert [path for path in found if not path.startswith("inner/input")] == [
        "a", "b", "inner", "inner/conv", "inner/mean", "side", "sum", "kind", "size",
    ]  # fmt: skip
    assert found["inner/conv"] is found["inner"].get_layer("conv")


def test_an_unknown_layer_is_refused_with_the_nearest_names():
    with pytest.raises(ViewError, match=r"no layer 'secnd' in 'convnet'.* second"):
        graph.find(convnet(), "secnd")


def test_edges_are_the_flow_of_data():
    assert {("a", "inner"), ("b", "side"), ("inner", "sum"), ("side", "sum"), ("sum", "kind"), ("inner/conv", "inner/mean")} <= edges(
        branched()
    )


def test_a_frame_holds_its_layers_and_boxes_do_not_overlap():
    drawing = graph.describe(branched())
    found = {node["id"]: node for node in drawing["nodes"]}
    frame = found["inner"]
    boxes = [node for node in found.values() if node["parent"] is None]

    def ends(node: dict[str, Any]) -> tuple[float, float, float, float]:
        return (
            node["x"] - node["width"] / 2,
            node["y"] - node["height"] / 2,
            node["x"] + node["width"] / 2,
            node["y"] + node["height"] / 2,
        )

    left, top, right, bottom = ends(frame)
    for path, node in found.items():
        if path.startswith("inner/"):
            assert node["parent"] == "inner"
            x, y, x2, y2 = ends(node)
            assert left < x and x2 < right and top < y and y2 < bottom
    for one in boxes:
        for two in boxes:
            a, b = ends(one), ends(two)
            assert one is two or a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for node in found.values():
        x, y, x2, y2 = ends(node)
        assert x >= 0 and y >= 0 and x2 <= drawing["width"] and y2 <= drawing["height"]


def test_edges_begin_and_end_at_their_boxes():
    drawing = graph.describe(branched())
    found = {node["id"]: node for node in drawing["nodes"]}
    for edge in drawing["edges"]:
        source, target = found[edge["source"]], found[edge["target"]]
        (x, y), (x2, y2) = edge["points"][0], edge["points"][-1]
        assert x == pytest.approx(source["x"], abs=0.2) and y == pytest.approx(source["y"] + source["height"] / 2, abs=0.2)
        assert x2 == pytest.approx(target["x"], abs=0.2) and y2 == pytest.approx(target["y"] - target["height"] / 2, abs=0.2)


def test_a_layer_called_again_makes_a_ring_that_is_drawn():
    assert {("dense", "between"), ("between", "dense"), ("x", "dense"), ("dense", "out")} <= edges(shared())


def test_a_model_that_is_code_is_a_column_with_a_message():
    model = Written(name="written")
    model(torch.rand(1, 3))
    drawing = graph.describe(model)
    column = [node for node in drawing["nodes"] if node["parent"] is None]
    assert [node["name"] for node in column] == ["one", "block", "two", "no"]
    assert len({node["x"] for node in column}) == 1 and sorted(node["y"] for node in column) == [node["y"] for node in column]
    assert "'written'" in drawing["message"] and ("one", "block") in edges(model)
    assert nodes(model)["block/inside"]["parent"] == "block" and nodes(model)["block"]["family"] == "custom"
    assert graph.describe(branched())["message"] is None


def test_nodes_say_what_a_layer_is():
    node = nodes(convnet())["first"]
    assert node["type"] == "Conv2D" and node["family"] == "convolutional" and node["parameters"] == 168 and node["trainable"]
    assert node["shapes"] == [[None, 10, 10, 6]] and node["config"]["kernel_size"] == [3, 3] and node["config"]["activation"] == "relu"
    assert node["config"]["kernel_initializer"] == "GlorotUniform"
    families = {node["name"]: node["family"] for node in nodes(branched()).values()}
    assert families["a"] == "input" and families["inner"] == "model" and families["sum"] == "merging"
    x = Input((3,))
    assert {node["family"] for node in nodes(Model(x, x * 2.0)).values()} == {"input", "operation"}


@pytest.mark.parametrize(
    ("model", "path", "views"),
    [
        (convnet, "first", {"activations", "filters", "attribution"}),
        (convnet, "pool", {"activations", "attribution"}),
        (convnet, "out", {"activations", "filters"}),
        (branched, "a", {"activations", "attribution"}),
        (branched, "inner", {"activations"}),
        (text_model, "words", {"activations"}),
        (text_model, "embedding", {"activations", "filters"}),
        (text_model, "heads", {"activations", "attention"}),
        (text_model, "both", {"activations", "gates", "state"}),
        (text_model, "gru", {"activations", "gates", "state"}),
    ],
)
def test_a_layer_offers_the_views_it_has(model: Any, path: str, views: set[str]):
    assert set(nodes(model())[path]["views"]) == views


def test_the_drawing_is_json_whatever_a_config_holds():
    class Odd(L.Layer):
        def __init__(self, thing: Any, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.thing = thing

        def call(self, x: Any) -> Any:
            return x

        def get_config(self) -> dict[str, Any]:
            return {"thing": self.thing, "far": float("inf"), "long": list(range(100)), "text": "x" * 1000, "deep": {"a": {1: object()}}}

    model = Sequential([Input((3,)), Odd(object()), L.Dense(2, activation=lambda x: x * 2)])
    text = json.dumps(graph.describe(model), allow_nan=False)
    assert "Infinity" not in text and len(text) < 6000


def test_models_without_shapes_or_layers_are_drawn_as_far_as_they_go():
    drawing = graph.describe(Sequential([L.Dense(3), L.Dense(2)]))
    assert [node["shapes"] for node in drawing["nodes"]] == [[], []] and len(drawing["edges"]) == 1
    assert graph.describe(Sequential())["nodes"] == []


def test_layers_of_one_name_get_paths_of_their_own():
    class Twins(Model):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = L.Dense(2, name="same"), L.Dense(2, name="same")

        def call(self, x: Any) -> Any:
            return self.two(self.one(x))

    assert list(graph.layers(Twins())) == ["same", "same~2"]


def test_where_every_layer_feeds_many_the_shortcuts_are_drawn_straight(monkeypatch: pytest.MonkeyPatch):
    x = Input((8,), name="x")
    outputs = [x]
    for number in range(12):
        together = L.Concatenate(name=f"cat{number}")(list(outputs)) if number else x
        outputs.append(L.Dense(2, name=f"dense{number}")(together))
    model = Model(x, outputs[-1])
    routed = graph.describe(model)
    monkeypatch.setattr(graph, "_MOST_TO_ROUTE", 10)
    straight = graph.describe(model)
    assert {(edge["source"], edge["target"]) for edge in straight["edges"]} == {
        (edge["source"], edge["target"]) for edge in routed["edges"]
    }
    assert straight["height"] == routed["height"] and straight["width"] < routed["width"]
    rows = {node["id"]: node["y"] for node in straight["nodes"]}
    assert all(rows[edge["source"]] < rows[edge["target"]] for edge in straight["edges"])
