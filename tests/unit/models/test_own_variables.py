"""Layers that say themselves what of them goes into a file: `save_own_variables` and `load_own_variables`, as in Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from disttrain import layers as L
from disttrain.models import Input, Sequential, load_model
from disttrain.models.saving import file_digest, register


@register("own")
class Table(L.Layer):
    """Adds a table that is no weight."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = np.zeros(3, "float32")

    def call(self, x: Any) -> Any:
        return x + torch.from_numpy(self.table)

    def save_own_variables(self, store: dict[str, Any]) -> None:
        store["table"] = self.table

    def load_own_variables(self, store: dict[str, Any]) -> None:
        self.table = np.array(store["table"])


@register("own")
class Counted(L.Dense):
    """Keeps a number beside its weights."""

    seen = 0

    def save_own_variables(self, store: dict[str, Any]) -> None:
        super().save_own_variables(store)
        store["seen"] = self.seen

    def load_own_variables(self, store: dict[str, Any]) -> None:
        self.seen = int(store.pop("seen"))
        super().load_own_variables(store)


@register("own")
class Halved(L.Dense):
    """Writes its kernel as half of it."""

    def save_own_variables(self, store: dict[str, Any]) -> None:
        store["0"] = self.kernel / 2

    def load_own_variables(self, store: dict[str, Any]) -> None:
        with torch.no_grad():
            self.kernel.copy_(torch.as_tensor(store["0"]) * 2)


def chain(*inner: Any) -> Sequential:
    return Sequential([Input((3,)), *inner])


def save(model: Any, path: Path) -> Path:
    model.save(path) if path.name.endswith(".keras") else model.save_weights(path)
    return path


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_arrays_that_a_layer_hands_over_come_back_to_it(name: str, tmp_path: Path):
    model = chain(Table(), Counted(2))
    model.layers[0].table, model.layers[1].seen = np.array([1, 2, 3], "float32"), 7
    path = save(model, tmp_path / name)
    other = load_model(path) if name.endswith(".keras") else chain(Table(), Counted(2))
    other.load_weights(path)
    assert other.layers[0].table.tolist() == [1, 2, 3] and other.layers[1].seen == 7
    assert torch.equal(other(torch.ones(2, 3)), model(torch.ones(2, 3)))


def test_the_digest_of_a_file_counts_weights_and_no_other_arrays(tmp_path: Path):
    model = chain(Table(), Counted(2))
    assert file_digest(save(model, tmp_path / "m.weights.h5")) == model.digest() == file_digest(save(model, tmp_path / "m.keras"))
    halved = chain(Halved(2, use_bias=False))
    assert file_digest(save(halved, tmp_path / "h.keras")) == halved.digest()  # the file does not name its weight: the model says it


def test_weights_in_another_form_come_back_as_they_were(tmp_path: Path):
    model, other = chain(Halved(2, use_bias=False)), chain(Halved(2, use_bias=False))
    other.load_weights(save(model, tmp_path / "m.weights.h5"))
    assert torch.equal(other.weights[0], model.weights[0])


def test_a_format_with_weights_alone_is_refused_to_a_layer_that_keeps_more(tmp_path: Path):
    with pytest.raises(ValueError, match=r"Table 'table' \(table\), Counted 'counted' \(seen\) keep more[\s\S]*\.weights\.h5"):
        chain(Table(), Counted(2)).save_weights(tmp_path / "m.safetensors")
    chain(Halved(2, use_bias=False)).save_weights(tmp_path / "h.safetensors")  # another form of the weights: nothing is missing
    assert [path.name for path in tmp_path.iterdir()] == ["h.safetensors"]


def test_a_layer_that_does_not_take_its_arrays_leaves_every_weight_as_it_was(tmp_path: Path):
    path = save(chain(L.Dense(3), Table(), Halved(2, use_bias=False)), tmp_path / "m.weights.h5")

    def refuse(self: Any, store: dict[str, Any]) -> None:
        raise RuntimeError("not mine")

    refuses = type("Table", (Table,), {"load_own_variables": refuse})
    model = chain(L.Dense(3), refuses(name="refuses"), Halved(2, use_bias=False))
    before = model.digest()
    with pytest.raises(ValueError, match="refuses: its load_own_variables raised RuntimeError: not mine"):
        model.load_weights(path)
    assert model.digest() == before


def test_text_among_the_arrays_is_refused_with_the_place_for_it(tmp_path: Path):
    class Words(Table):
        def save_own_variables(self, store: dict[str, Any]) -> None:
            store["words"] = np.array(["a", "b"])

    with pytest.raises(ValueError, match=r"'words' has dtype <U1, expected numbers[\s\S]*save_assets"):
        chain(Words()).save_weights(tmp_path / "m.weights.h5")


def test_the_plain_way_may_be_called_by_hand_and_names_what_does_not_fit():
    layer = chain(L.Dense(2)).layers[0]
    store: dict[str, Any] = {}
    layer.save_own_variables(store)
    assert sorted(store) == ["0", "1"] and isinstance(store["0"], np.ndarray)
    layer.load_own_variables({"0": store["0"] + 1, "1": store["1"]})
    with pytest.raises(ValueError, match=r"kernel has shape \(3, 2\), in the file \(2, 2\)"):
        layer.load_own_variables({"0": np.ones((2, 2)), "1": np.ones(2)})
    with pytest.raises(ValueError, match="has 0 weights of its own, for it was never built; the file has 2"):
        L.Dense(2).load_own_variables(store)
