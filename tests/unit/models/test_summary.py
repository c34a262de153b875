"""What `model.summary()` prints."""

from __future__ import annotations

import pytest
import torch

from disttrain import layers as L
from disttrain.models import Input, Model, Sequential


def text_of(model: Model, **options: object) -> str:
    lines: list[str] = []
    model.summary(print_fn=lines.append, **options)
    assert len(lines) == 1
    return lines[0]


def branched() -> Model:
    x = Input((4,), name="x")
    inner = Sequential([Input((4,)), L.Dense(3, name="deep")], name="inner")
    left = inner(x)
    return Model(x, L.Add(name="sum")([left, L.Dense(3, name="right")(x)]) * 2)


def test_a_model_without_weights_yet_has_a_table_too():
    model = Sequential([L.Dense(3), L.BatchNormalization()])
    assert "unbuilt" in text_of(model) and "dense (Dense)" in text_of(model) and "Total params: 0 (0.00 B)" in text_of(model)
    model(torch.zeros(2, 4))
    assert "(None, 3)" in text_of(model) and "Total params: 27 (108.00 B)" in text_of(model)
    assert "Non-trainable params: 6 (24.00 B)" in text_of(model)


def test_a_branched_model_shows_what_each_layer_is_connected_to():
    text = text_of(branched(), line_length=120)
    assert "Connected to" in text and "inner[0][0]" in text and "x (InputLayer)" in text and "multiply (Multiply)" in text
    assert "Connected to" not in text_of(Sequential([Input((4,)), L.Dense(1)]))


def test_layers_inside_layers_are_shown_when_wished():
    assert "deep" not in text_of(branched()) and "└ deep (Dense)" in text_of(branched(), line_length=120, expand_nested=True)


def test_frozen_layers_are_marked_and_those_without_weights_are_not():
    model = Sequential([Input((4,)), L.Dense(2, name="a", trainable=False), L.Flatten(name="b"), L.Dense(2, name="c")])
    rows = [line for line in text_of(model, show_trainable=True, line_length=100).splitlines() if line.startswith("│")]
    assert [row.rstrip("│ ")[-1] for row in rows] == ["N", "-", "Y"]


def test_a_range_of_layers_goes_by_names_or_patterns():
    model = Sequential([Input((4,)), *(L.Dense(2, name=f"d{number}") for number in range(5))])
    shown = text_of(model, layer_range=["d1", "d[23]"])
    assert [name for name in ("d0", "d1", "d2", "d3", "d4") if name in shown] == ["d1", "d2", "d3"]
    with pytest.raises(ValueError, match=r"no layer matches 'x'.*\n.*d0, d1"):
        model.summary(layer_range=["x", "d2"])
    with pytest.raises(ValueError, match="expected the names of the first and the last"):
        model.summary(layer_range=["d1"])


def test_a_line_too_short_for_its_columns_is_refused():
    with pytest.raises(ValueError, match="too short"):
        branched().summary(line_length=12)
    with pytest.raises(ValueError, match="where each column ends"):
        branched().summary(positions=[0.5, 1.0])


def test_a_model_that_is_code_lists_its_layers():
    class Custom(Model):
        def __init__(self) -> None:
            super().__init__()
            self.first = L.Dense(3)

        def call(self, x: torch.Tensor) -> torch.Tensor:
            return self.first(x) + 1

    model = Custom()
    assert "unbuilt" in text_of(model)
    model(torch.zeros(2, 4))
    assert "dense (Dense)" in text_of(model) and "(None, 3)" in text_of(model)
