"""Text into models: in `fit`, `evaluate` and `predict`, in every kind of model and of data, with the same bits on any workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

import disttrain as dt
from disttrain import layers
from disttrain.errors import DataError

TEXTS = ["good film", "bad film", "good", "really bad", "what a good day", "bad bad day", "good good", "a bad one"]
LABELS = np.array([1, 0, 1, 0, 1, 0, 1, 0], "float32")


def _vectorizer() -> Any:
    layer = layers.TextVectorization(output_sequence_length=4)
    layer.adapt(TEXTS)
    return layer


def _sequential(start: list[Any]) -> Any:
    dt.set_random_seed(1)
    model = dt.Sequential([*start, _vectorizer(), layers.Embedding(12, 4), layers.GlobalAveragePooling1D(), layers.Dense(1)])
    model.compile("adam", dt.losses.BinaryCrossentropy(from_logits=True))
    return model


class Samples(Dataset[Any]):
    def __len__(self) -> int:
        return len(TEXTS)

    def __getitem__(self, index: int) -> Any:
        return TEXTS[index], LABELS[index]


class Batches(dt.PyDataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return TEXTS[4 * index : 4 * index + 4], LABELS[4 * index : 4 * index + 4]


def test_every_form_of_strings_trains_to_the_same_weights():
    forms: list[Any] = [
        (TEXTS, LABELS),
        (np.array(TEXTS), LABELS),
        (np.array(TEXTS, dtype=object), LABELS),
        (np.array([[text] for text in TEXTS]), LABELS),
        (np.array([text.encode() for text in TEXTS]), LABELS),
        (DataLoader(Samples(), batch_size=4), None),
        (Batches(), None),
    ]
    found = []
    for x, y in forms:
        model = _sequential([dt.Input((1,), dtype="string")])
        model.fit(x, y, batch_size=4 if y is not None else None, epochs=2, shuffle=False, verbose=0)
        found.append(
            model.weights_digest()
            if hasattr(model, "weights_digest")
            else np.concatenate([w.ravel() for w in model.get_weights()]).tobytes()
        )
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    "start", [[], [dt.Input((1,), dtype="string")], [dt.Input((), dtype="string")]], ids=["no Input", "column", "flat"]
)
def test_a_model_that_begins_with_text_trains_predicts_and_is_loaded(start: list[Any], tmp_path: Path):
    model = _sequential(start)
    before = model.evaluate(np.array(TEXTS), LABELS, verbose=0)
    model.fit(np.array(TEXTS), LABELS, batch_size=3, epochs=3, verbose=0)
    assert model.evaluate(np.array(TEXTS), LABELS, verbose=0) < before
    predicted = model.predict(np.array(TEXTS), verbose=0)
    np.testing.assert_allclose(model(np.array(TEXTS)).detach().numpy(), predicted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model(TEXTS).detach().numpy(), predicted, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(dt.load_model(tmp_path / "model.keras").predict(np.array(TEXTS), verbose=0), predicted)


def test_text_beside_numbers_in_a_functional_model():
    title, size = dt.Input((1,), dtype="string", name="title"), dt.Input((2,), name="size")
    lookup = layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")
    model = dt.Model({"title": title, "size": size}, layers.Dense(1)(layers.Concatenate()([lookup(title), size])))
    model.compile("sgd", "mse")
    data = {"title": ["a", "b", "c", "a"], "size": np.ones((4, 2), "float32")}
    model.fit(data, np.ones((4, 1)), batch_size=2, verbose=0)
    assert model.predict(data, verbose=0).shape == (4, 1) and model.output_shape == (None, 1)


def test_a_subclassed_model_may_hold_a_layer_of_text():
    class Model(dt.Model):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.dense = layers.TextVectorization(vocabulary=["good", "bad"], output_mode="count"), layers.Dense(1)

        def call(self, inputs: Any) -> Any:
            return self.dense(self.words(inputs))

    model = Model()
    model.compile("sgd", "mse")
    model.fit(np.array(TEXTS), LABELS, batch_size=4, verbose=0)
    assert model.predict(TEXTS, verbose=0).shape == (8, 1)


def test_text_where_nothing_takes_it_is_refused_with_what_to_do():
    model = dt.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(DataError, match=r"has no layer that takes text.\n.*TextVectorization"):
        model.fit(np.array(TEXTS), LABELS, verbose=0)
    with pytest.raises(ValueError, match=r"Dense .* takes numbers, and got text"):
        layers.Dense(1)(dt.Input((1,), dtype="string"))
    with pytest.raises(ValueError, match=r"takes numbers, and got text"):
        _ = dt.Input((1,), dtype="string")[:, 0]
    with pytest.raises(DataError, match=r"y holds text: expected numbers.\n.*StringLookup"):
        model.fit(np.ones((8, 2)), np.array(TEXTS), verbose=0)
    model = _sequential([dt.Input((1,), dtype="string")])
    with pytest.raises(ValueError, match="expected text"):
        model(np.ones((2, 1)))
    model = dt.Sequential([dt.Input((1,)), layers.Hashing(3), layers.CategoryEncoding(3), layers.Dense(1)])
    with pytest.raises(ValueError, match=r"got text, expected float32.\n  try  Input\(shape, dtype='string'\)"):
        model(np.array(["a"]))
    with pytest.raises(ValueError, match="is text, which no exported program takes"):
        _sequential([dt.Input((1,), dtype="string")]).export("nowhere.pt2", format="torch")


def test_text_is_not_compiled():
    model = _sequential([dt.Input((1,), dtype="string")])
    model.compile("sgd", "mse", jit_compile=True)
    with pytest.raises(DataError, match=r"jit_compile=True\) with TextVectorization .*\n  try       compile\(jit_compile=False\)"):
        model.fit(np.array(TEXTS), LABELS, verbose=0)


def test_numbers_of_the_dtype_that_text_travels_in_stay_numbers():
    layer = layers.Hashing(5)
    expected = layer(np.array([[3], [70000]]))
    assert layer(np.array([[3], [70000]], dtype="uint32")).tolist() == expected.tolist()
    model = dt.Sequential([dt.Input((1,), dtype="int64"), layer])
    np.testing.assert_array_equal(model.predict(np.array([[3], [70000]], dtype="uint32"), verbose=0), expected)
