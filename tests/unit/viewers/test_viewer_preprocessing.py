"""What the model takes, and how a picture, an array or text becomes that."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from disttrain.layers import LSTM, Concatenate, Conv2D, Dense, Embedding, Flatten, GlobalAveragePooling1D, Input, Normalization, Rescaling
from disttrain.models import Model, Sequential
from disttrain.viewers.input_specs import InputSpec, describe_inputs, rows_in, scales_itself
from disttrain.viewers.preprocessing import Preprocessing
from disttrain.viewers.refusal import Refusal

DIGITS = InputSpec("digits", (None, 28, 28, 1), "float32", "image", channels_axis=2)
COLOURS = InputSpec("colours", (None, 8, 6, 3), "float32", "image", channels_axis=2)
UNIT = {"least": 0.0, "most": 1.0, "whole": False, "centred": True}  # of pictures that a model was trained on
RAW = {"least": 0.0, "most": 255.0, "whole": False, "centred": False}
WORDS = InputSpec("words", (None, 5), "int64", "tokens", vocabulary=20)


@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    [
        ((28, 28, 1), "float32", "image"),
        ((None, None, 3), "float32", "image"),
        ((3, 32, 32), "float32", "image"),
        ((28, 28), "float32", "image"),
        ((50, 3), "float32", "series"),
        ((None, 3), "float32", "series"),
        ((7,), "float32", "vector"),
        ((7,), "int32", "tokens"),
        ((4, 8, 8, 2), "float32", "other"),
    ],
)
def test_the_kind_of_an_input_follows_from_its_shape_and_dtype(shape, dtype, kind):
    x = Input(shape, dtype=dtype)
    assert [spec.kind for spec in describe_inputs(Model(x, x + 0))] == [kind]


def test_an_embedding_makes_its_input_tokens_of_a_vocabulary():
    chain = Sequential([Input((6,)), Embedding(50, 4), GlobalAveragePooling1D(), Dense(2)])
    assert [(spec.kind, spec.vocabulary) for spec in describe_inputs(chain)] == [("tokens", 50)]
    words, numbers = Input((6,), name="words"), Input((3,), name="numbers")
    both = Model([words, numbers], Dense(1)(Concatenate()([LSTM(4)(Embedding(30, 4)(words)), numbers])))
    found = describe_inputs(both)
    assert [(spec.name, spec.kind, spec.vocabulary) for spec in found] == [("words", "tokens", 30), ("numbers", "vector", None)]


def test_a_model_of_code_is_known_by_the_samples_or_by_what_it_was_built_for():
    class Code(Model):
        def __init__(self):
            super().__init__()
            self.inner = Dense(3)

        def call(self, x):
            return self.inner(x)

    model = Code()
    assert describe_inputs(model) == []
    assert describe_inputs(model, {"input": np.zeros((2, 9, 9, 3), np.float32)})[0].kind == "image"
    model.build((None, 4))
    assert [spec.shape for spec in describe_inputs(model)] == [(None, 4)]


@pytest.mark.parametrize(
    ("shape", "inner", "rows"),
    [
        ((28, 28, 1), (28, 28, 1), 0),
        ((28, 28), (28, 28, 1), 0),
        ((5, 28, 28, 1), (28, 28, 1), 5),
        ((5, 28, 28), (28, 28, 1), 5),
        ((5, 27, 28, 1), (28, 28, 1), None),
        ((9, 4), (None, 4), 0),
        ((2, 9, 4), (None, 4), 2),
        ((3,), (3,), 0),
        ((), (3,), None),
        ((4,), (), 4),
    ],
)
def test_an_array_is_one_input_or_a_batch_of_them(shape, inner, rows):
    assert rows_in(shape, inner) == rows


def test_a_picture_gets_the_size_the_channels_and_the_range_of_the_model():
    values = Preprocessing([COLOURS], trained=UNIT).from_picture(Image.new("L", (30, 30), 255))
    assert values.shape == (8, 6, 3) and values.dtype == np.float32
    np.testing.assert_allclose(values, 1.0)


def test_a_picture_of_the_right_size_keeps_every_value():
    pixels = np.arange(28 * 28).reshape(28, 28).astype(np.uint8)
    values = Preprocessing([DIGITS], trained=UNIT).from_picture(Image.fromarray(pixels))
    np.testing.assert_allclose(values[:, :, 0], pixels / 255.0, rtol=1e-6)


def test_channels_first_and_no_channels_are_served_too():
    first = InputSpec("x", (None, 3, 8, 6), "float32", "image", channels_axis=0)
    assert Preprocessing([first]).from_picture(Image.new("RGB", (5, 5))).shape == (3, 8, 6)
    flat = InputSpec("x", (None, 8, 8), "float32", "image")
    assert Preprocessing([flat]).from_picture(Image.new("RGB", (5, 5))).shape == (8, 8)


def test_an_open_size_takes_the_pictures_own_within_reason():
    free = InputSpec("x", (None, None, None, 3), "float32", "image", channels_axis=2)
    assert Preprocessing([free]).from_picture(Image.new("RGB", (40, 30))).shape == (30, 40, 3)
    assert Preprocessing([free]).from_picture(Image.new("RGB", (2000, 1000))).shape == (256, 512, 3)


def test_the_range_is_the_models_own_then_the_persons_then_that_of_the_samples():
    white = Image.new("L", (28, 28), 255)

    def brightest(**options):
        return float(Preprocessing([DIGITS], **options).from_picture(white).max())

    unit, signed = {"x": np.zeros((1, 4, 4, 1))}, {"x": np.array([[[[-1.0], [1.0]]]])}
    raw = {"x": np.full((1, 4, 4, 1), 200, np.uint8)}
    assert brightest() == 255.0  # as by predict, where nobody knows
    assert brightest(samples=unit) == brightest(trained=UNIT) == brightest(samples=unit, trained=RAW) == 1.0
    assert brightest(trained=RAW) == 255.0
    assert brightest(samples=raw) == brightest(scales_itself=True) == 255.0
    assert brightest(rescale=2.0) == brightest(rescale=2.0, samples=raw) == 510.0
    assert brightest(mean=0.5, std=0.25) == 2.0
    assert brightest(samples=signed) == pytest.approx(1.0)
    black = Preprocessing([DIGITS], samples=signed).from_picture(Image.new("L", (28, 28), 0))
    assert float(black.max()) == -1.0


def test_a_picture_is_refused_where_the_training_had_values_that_nobody_can_make_of_it():
    standardized = {"x": np.array([[[[-2.1], [2.6]]]])}
    with pytest.raises(Refusal, match=r"trained on values from -2.1 to 2.6.*mean= and std="):
        Preprocessing([DIGITS], samples=standardized).from_picture(Image.new("L", (28, 28)))
    told = Preprocessing([DIGITS], samples=standardized, mean=0.5, std=0.25)
    assert float(told.from_picture(Image.new("L", (28, 28), 255)).max()) == 2.0
    caffe = Preprocessing([DIGITS], mean=[103.0])
    assert float(caffe.from_picture(Image.new("L", (28, 28), 255)).max()) == 152.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "pictures: values 0 to 255 as they are, as by predict; for a model of 0 to 1 launch with rescale=1/255"),
        ({"trained": UNIT}, "pictures: values 0 to 1, as in the training; drawings are placed in the middle, as digits of MNIST are"),
        ({"trained": RAW}, "pictures: values 0 to 255 as they are, as in the training"),
        ({"rescale": 0.5}, "pictures: values 0 to 255 times 0.5, as rescale= says"),
        ({"function": np.asarray}, "pictures: as preprocess= of launch makes them"),
    ],
)
def test_what_is_done_to_a_picture_is_told(options, words):
    assert Preprocessing([DIGITS], **options).about_pictures == words
    assert Preprocessing([WORDS], **options).about_pictures is None


def test_a_scaling_layer_is_found_at_any_depth():
    inner = Sequential([Input((4, 4, 1)), Rescaling(1 / 255)])
    assert scales_itself(Sequential([Input((4, 4, 1)), inner, Flatten()]))
    assert scales_itself(Sequential([Input((3,)), Normalization(mean=0.0, variance=1.0)]))
    assert not scales_itself(Sequential([Input((4, 4, 1)), Conv2D(1, 3)]))


def test_a_persons_function_replaces_all_of_it_and_its_failures_are_told():
    assert Preprocessing([WORDS], function=lambda text: np.arange(5)).from_text("any words").tolist() == [0, 1, 2, 3, 4]
    batch = Preprocessing([DIGITS], function=lambda image: np.zeros((1, 28, 28, 1))).from_picture(Image.new("L", (3, 3)))
    assert batch.shape == (28, 28, 1)
    with pytest.raises(Refusal, match=r"preprocess.*KeyError"):
        Preprocessing([DIGITS], function=lambda image: {}["x"]).from_picture(Image.new("L", (3, 3)))
    with pytest.raises(Refusal, match=r"gave float64 of shape \(2, 2\), the model takes \(28, 28, 1\)"):
        Preprocessing([DIGITS], function=lambda image: np.zeros((2, 2))).from_picture(Image.new("L", (3, 3)))


def test_a_large_drawing_is_placed_as_mnist_places_digits():
    drawn = np.zeros((280, 280), np.uint8)
    drawn[10:110, 20:60] = 255  # in a corner
    values = Preprocessing([DIGITS], trained=UNIT).from_drawing(drawn)[:, :, 0]
    rows, columns = np.flatnonzero(values.any(axis=1)), np.flatnonzero(values.any(axis=0))
    assert len(rows) == 20 and len(columns) == 8
    assert abs(rows.mean() - 13.5) <= 0.5 and abs(columns.mean() - 13.5) <= 0.5
    for elsewhere in (Preprocessing([DIGITS], trained=RAW), Preprocessing([DIGITS]), Preprocessing([DIGITS], trained=UNIT, centre=False)):
        assert not elsewhere.from_drawing(drawn)[14:].any()  # where it was drawn


def test_a_drawing_of_the_models_size_and_an_empty_one_are_taken_as_they_are():
    drawn = np.zeros((28, 28), np.uint8)
    drawn[0, 0] = 255
    assert Preprocessing([DIGITS], trained=UNIT).from_drawing(drawn)[0, 0, 0] == 1.0
    assert not Preprocessing([DIGITS]).from_drawing(np.zeros((100, 100), np.uint8)).any()


def test_floats_are_taken_as_they_are_and_bytes_as_pictures():
    ready = np.random.default_rng(0).normal(size=(28, 28)).astype(np.float32)
    np.testing.assert_array_equal(Preprocessing([DIGITS]).from_array(ready, DIGITS)[:, :, 0], ready)
    assert Preprocessing([DIGITS]).from_array(np.full((28, 28), 255, np.uint8), DIGITS).max() == 255.0
    assert Preprocessing([DIGITS]).from_array(np.full((90, 70, 3), 255, np.uint8), DIGITS).shape == (28, 28, 1)
    with pytest.raises(Refusal, match=r"shape \(3, 3\), digits takes \(28, 28, 1\)"):
        Preprocessing([DIGITS]).from_array(np.zeros((3, 3)), DIGITS)


def test_token_ids_are_padded_cut_and_held_against_the_vocabulary():
    ready = Preprocessing([WORDS])
    assert ready.from_text("3, 19 2").tolist() == [3, 19, 2, 0, 0]
    assert ready.from_numbers([1, 2, 3, 4, 5, 6]).tolist() == [1, 2, 3, 4, 5]
    for wrong in ("20", "-1"):
        with pytest.raises(Refusal, match=rf"token {wrong} is not known to words: expected 0 to 19"):
            ready.from_text(wrong)
    with pytest.raises(Refusal, match="expected whole numbers"):
        ready.from_numbers([0.5])
    with pytest.raises(Refusal, match="type token ids from 0 to 19"):
        ready.from_text("good film")


def test_numbers_fill_vectors_and_series():
    vector = InputSpec("v", (None, 3), "float32", "vector")
    series = InputSpec("s", (None, None, 2), "float32", "series")
    assert Preprocessing([vector]).from_numbers([1, 2, 3]).tolist() == [1, 2, 3]
    assert Preprocessing([series]).from_numbers([1, 2, 3, 4]).tolist() == [[1, 2], [3, 4]]
    assert Preprocessing([series]).from_numbers([[1, 2], [3, 4]]).shape == (2, 2)
    for wrong in ([], [[1], [2, 3]], ["a"], [float("nan")], [{}]):
        with pytest.raises(Refusal, match="values"):
            Preprocessing([vector]).from_numbers(wrong)
    with pytest.raises(Refusal, match=r"shape \(2,\), v takes \(3,\)"):
        Preprocessing([vector]).from_numbers([1, 2])


def test_a_model_without_an_image_input_says_what_it_takes():
    with pytest.raises(Refusal, match=r"no single image: its inputs are words \(5,\) \(tokens\); give .npy"):
        Preprocessing([WORDS]).from_picture(Image.new("L", (3, 3)))
    with pytest.raises(Refusal, match="does not tell the shape"):
        Preprocessing([]).from_picture(Image.new("L", (3, 3)))
