"""Layers of text and categories: what Keras 3.15 gives with TensorFlow 2.21, case by case, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import disttrain as dt
from disttrain import layers
from disttrain.layers.preprocessing.fingerprint import fingerprint64, siphash64

KERAS: dict[str, Any] = json.loads((Path(__file__).parents[3] / "data" / "keras_text.json").read_text())
LONG = ["".join(chr(33 + (i * 7 + n) % 90) for i in range(n)) for n in [*range(140), 191, 192, 193, 255, 256, 257, 1000]]


def _layer(case: dict[str, Any]) -> Any:
    config = {key: tuple(value) if key == "ngrams" and isinstance(value, list) else value for key, value in case["config"].items()}
    layer = getattr(layers, case["class"])(**config)
    if case["adapt"] is not None:
        layer.adapt(iter([np.array(batch) for batch in case["adapt"]]) if case["batches"] else np.array(case["adapt"]))
    return layer


def test_strings_of_every_length_have_farmhash_s_fingerprint_and_siphash_s():
    assert {word: str(fingerprint64(word.encode())) for word in KERAS["fingerprints"]} == KERAS["fingerprints"]
    assert [fingerprint64(text.encode()) % 2**62 for text in LONG] == KERAS["long"]["fast"]
    assert [siphash64(text.encode(), (133, 137)) % 2**62 for text in LONG] == KERAS["long"]["strong"]


@pytest.mark.parametrize("case", KERAS["cases"], ids=lambda case: f"{case['class']} {json.dumps(case['config'])[:60]}")
def test_a_layer_gives_keras_s_vocabulary_and_numbers(case: dict[str, Any]):
    if "error" in case:
        with pytest.raises(ValueError):
            _layer(case)
        return
    layer = _layer(case)
    if "vocabulary" in case:
        assert layer.get_vocabulary() == case["vocabulary"] and layer.vocabulary_size() == case["size"]
        assert layer.get_vocabulary(include_special_tokens=False) == case["plain_vocabulary"]
    for call in case["calls"]:
        if "error" in call:
            with pytest.raises(ValueError, match="num_oov_indices is 0"):
                layer(call["input"])
            continue
        found = layer(call["input"])
        if call["dtype"] == "string":
            assert found.tolist() == call["value"]
        else:
            assert tuple(found.shape) == np.shape(call["value"]), call["input"]
            np.testing.assert_allclose(found.numpy(), call["value"], rtol=1e-6)


KINDS = {
    (case["class"], str(sorted(case["config"])), case["config"].get("output_mode"), case["adapt"] is None): case for case in KERAS["cases"]
}


@pytest.mark.parametrize("case", KINDS.values(), ids=lambda case: case["class"])
def test_a_copy_from_the_config_and_a_loaded_file_give_the_same(case: dict[str, Any], tmp_path: Path):
    if "error" in case or (case["class"] == "StringLookup" and case["config"].get("invert")):
        return
    layer = _layer(case)
    if any("\n" in str(token) for token in case.get("vocabulary", ())):
        return  # see the test of line breaks
    crossing, integers = case["class"] == "HashedCrossing", case["class"] == "IntegerLookup"
    dtype = "int64" if integers else "string"
    inputs = [dt.Input((1,), dtype="string"), dt.Input((1,), dtype="string")] if crossing else dt.Input((1,), dtype=dtype)
    model = dt.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    loaded = dt.load_model(tmp_path / "model.keras")
    x: Any = np.array([[5], [36]]) if integers else np.array([["a"], ["foo bar"]])
    if "vocabulary" in case and case["config"].get("num_oov_indices") == 0:
        x = np.array([[case["vocabulary"][-1]]])
    given = [x, x] if crossing else x
    one, two = model.predict(given, verbose=0), loaded.predict(given, verbose=0)
    np.testing.assert_array_equal(one, two)
    assert model.output_shape[1:] == one.shape[1:] or None in model.output_shape[1:]
    if case["adapt"] is None:
        np.testing.assert_array_equal(type(layer).from_config(layer.get_config())(given), layer(given))


def test_what_adapt_takes_is_what_keras_takes_and_loaders():
    texts = ["foo bar", "bar baz", "baz bada boom"]
    expected = ["", "[UNK]", "baz", "bar", "foo", "boom", "bada"]
    loader = DataLoader([(text, 0) for text in texts], batch_size=2)

    class Pairs(dt.PyDataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            return np.array(texts[index : index + 1]), np.zeros(1)

    for data in (
        texts,
        np.array(texts),
        np.array(texts, dtype=object),
        [[text] for text in texts],
        iter([texts[:2], texts[2:]]),
        loader,
        Pairs(),
    ):
        layer = layers.TextVectorization()
        layer.adapt(data)
        assert layer.get_vocabulary() == expected
    layer = layers.StringLookup()
    layer.adapt(np.array([b"a", b"b", b"b"]))
    assert layer.get_vocabulary() == ["[UNK]", "b", "a"] and layer([b"b"]).tolist() == [1]
    layer.adapt([["c", "c"], ["d"]])  # rows of unequal length
    assert layer.get_vocabulary() == ["[UNK]", "c", "d"]
    with pytest.raises(ValueError, match="the layer was made with vocabulary="):
        layers.StringLookup(vocabulary=["a"]).adapt(["b"])
    with pytest.raises(ValueError, match="got no batch at all"):
        layers.StringLookup().adapt(iter([]))


def test_functions_of_arrays_standardize_and_split():
    layer = layers.TextVectorization(standardize=np.char.upper, split=lambda texts: [text.split("-") for text in texts])
    layer.adapt(["a-b", "b-c"])
    assert layer.get_vocabulary() == ["", "[UNK]", "B", "C", "A"] and layer(["c-b-x"]).tolist() == [[3, 2, 1]]


def _shout(texts: Any) -> Any:
    return np.char.upper(texts)


def test_a_function_of_one_s_own_goes_into_a_file_by_its_name(tmp_path: Path):
    x = dt.Input((1,), dtype="string")
    layer = layers.TextVectorization(standardize=_shout, output_sequence_length=2)
    layer.adapt(["a b", "b"])
    dt.Model(x, layer(x)).save(tmp_path / "model.keras")
    with dt.custom_objects({"_shout": _shout}):
        loaded = dt.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].get_vocabulary() == ["", "[UNK]", "B", "A"]
    assert loaded.predict(["b a c"], verbose=0).tolist() == [[2, 3]]


def test_counts_stay_exact_where_layers_compute_in_halves():
    layer = layers.StringLookup(vocabulary=["a"], output_mode="count", dtype="mixed_bfloat16")
    assert layer([["a"] * 300]).tolist() == [[0.0, 300.0]] and layer(dt.Input((300,), dtype="string")).dtype == "float32"


def test_places_are_turned_back_into_tokens():
    layer = layers.StringLookup(vocabulary=["a", "b"], invert=True)
    found = layer(np.array([[1, 0], [2, 1]]))
    assert isinstance(found, np.ndarray) and found.tolist() == [["a", "[UNK]"], ["b", "a"]]
    assert layers.IntegerLookup(vocabulary=[7, 9], invert=True)(torch.tensor([1, 0, 2])).tolist() == [7, -1, 9]
    with pytest.raises(ValueError, match="invert=True gives strings"):
        layer(dt.Input((1,), dtype="int64"))


def test_a_vocabulary_of_a_file_has_a_token_a_line(tmp_path: Path):
    (tmp_path / "words.txt").write_text("earth\nwind\n")
    layer = layers.StringLookup(vocabulary=str(tmp_path / "words.txt"))
    assert layer.get_vocabulary() == ["[UNK]", "earth", "wind"]
    with pytest.raises(ValueError, match="does not exist"):
        layers.StringLookup(vocabulary=str(tmp_path / "none.txt"))


def test_empty_tokens_survive_a_file_and_line_breaks_are_refused(tmp_path: Path):
    x = dt.Input((1,), dtype="string")
    layer = layers.StringLookup()
    layer.adapt(["a", "a", "", "b", "b", "b"])
    assert layer.get_vocabulary() == ["[UNK]", "b", "a", ""]
    dt.Model(x, layer(x)).save(tmp_path / "model.keras")
    assert dt.load_model(tmp_path / "model.keras").layers[-1].get_vocabulary() == ["[UNK]", "b", "a", ""]
    layer = layers.StringLookup()
    layer.adapt(["two\nlines"])
    with pytest.raises(ValueError, match=r"has a line break.*\n.*vocabulary=layer.get_vocabulary"):
        dt.Model(x, layer(x)).save(tmp_path / "broken.keras")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.StringLookup(max_tokens=1), "max_tokens=1"),
        (lambda: layers.StringLookup(num_oov_indices=-1), "num_oov_indices=-1"),
        (lambda: layers.StringLookup(output_mode="tf_idf", vocabulary=["a"]), "needs idf_weights"),
        (lambda: layers.StringLookup(idf_weights=[1.0]), "belong to 'tf_idf'"),
        (lambda: layers.StringLookup(vocabulary=["a", "a"]), "got 'a' more than once"),
        (lambda: layers.StringLookup(vocabulary=[]), "got no token"),
        (lambda: layers.StringLookup(vocabulary=["a", "b"], max_tokens=2), "3 places are more than max_tokens=2"),
        (lambda: layers.StringLookup(vocabulary=[1]), "try  layers.IntegerLookup"),
        (lambda: layers.StringLookup(sparse=True), "sparse=True"),
        (lambda: layers.StringLookup()(["a"]), "has no vocabulary yet"),
        (lambda: layers.StringLookup(vocabulary=["a"])([1]), "try  layers.IntegerLookup"),
        (lambda: layers.StringLookup(output_mode="count")(dt.Input((1,), dtype="string")), "size of its outputs is not known"),
        (lambda: layers.IntegerLookup(salt=1), "oov_method='farmhash'"),
        (lambda: layers.IntegerLookup(vocabulary_dtype="int32"), "vocabulary_dtype='int32'"),
        (lambda: layers.Hashing(0), "num_bins=0"),
        (lambda: layers.Hashing(2, dtype="float32"), "expected 'int32' or 'int64'"),
        (lambda: layers.Hashing(2, salt="x"), "salt='x'"),
        (lambda: layers.HashedCrossing(2)(["a"]), "two features or more"),
        (lambda: layers.HashedCrossing(2)([[1.5], [2]]), "expected strings or whole numbers"),
        (lambda: layers.HashedCrossing(2)([[["a", "b"]], [["a", "b"]]]), "expected all"),
        (lambda: layers.TextVectorization(split="words"), "split='words'"),
        (lambda: layers.TextVectorization(output_mode="count", output_sequence_length=3), "output_sequence_length=3"),
        (lambda: layers.TextVectorization(ragged=True), "ragged=True"),
        (lambda: layers.TextVectorization(vocabulary=["a"])([["a", "b"]]), r"try  split=None"),
        (lambda: layers.TextVectorization().adapt(np.array(["a", None], dtype=object)), "got None of type NoneType at place 1"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(make: Any, message: str):
    with pytest.raises((ValueError, RuntimeError, dt.errors.DataError), match=message):
        make()
