"""What `dt.utils` makes datasets of: arrays cut in two, windows of a series, folders of texts and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import disttrain as dt
from disttrain import layers, utils


def _folder(root: Path) -> Path:
    random = np.random.default_rng(0)
    for name, count in (("cats", 5), ("dogs", 4)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(random.integers(0, 256, (7 + number, 9, 3)).astype("uint8")).save(root / name / f"{number}.png")
    return root


def _texts(root: Path) -> Path:
    for name, words in (("bad", "awful poor"), ("good", "fine great")):
        (root / name / "deeper").mkdir(parents=True)
        for number in range(4):
            (root / name / f"{number}.txt").write_text(f"{words} naïve {number}", encoding="utf-8")
        (root / name / "deeper" / "5.txt").write_text(words, encoding="utf-8")
        (root / name / "notes.md").write_text("no sample")
    return root


# -- split_dataset ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "lengths"), [((0.8, None), (8, 2)), ((None, 3), (7, 3)), ((2, 5), (2, 5)), ((0.25, 0.5), (2, 5)), ((None, 0.5), (5, 5))]
)
def test_a_dataset_is_cut_in_two_in_its_order(sizes: Any, lengths: tuple[int, int]):
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    left, right = utils.split_dataset((x, y), *sizes)
    assert (len(left), len(right)) == lengths
    assert [int(left[i][1]) for i in range(len(left))] == list(range(lengths[0]))
    assert int(right[0][1]) == lengths[0]


def test_a_shuffled_cut_is_a_function_of_the_seed_and_trains():
    data = TensorDataset(torch.arange(10.0)[:, None], torch.arange(10.0))
    one, two = (utils.split_dataset(data, 0.6, shuffle=True, seed=3)[0].indices for _ in range(2))
    theirs = keras.utils.split_dataset(data, 0.6, shuffle=True, seed=3)[0].indices
    assert one == two == list(theirs) and one != sorted(one)
    left, right = utils.split_dataset(data, 0.6, shuffle=True, seed=3)
    model = dt.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(left, validation_data=right, batch_size=3, verbose=0)


@pytest.mark.parametrize(
    ("data", "sizes", "message"),
    [
        ([np.zeros(3), np.zeros(4)], (0.5, None), "lengths"),
        (np.zeros(3), (None, None), "expected left_size or right_size"),
        (np.zeros(3), (0.9, 0.9), "sum to more than 1"),
        (np.zeros(3), (2, 2), "more than 3"),
        (np.zeros(3), (3, None), "left_size=3"),
        (np.zeros(3), ("a", None), "left_size='a'"),
        ({"a": np.zeros(3)}, (1, None), "got a dict"),
        (iter([1, 2]), (1, None), "list_iterator"),
    ],
)
def test_a_cut_that_cannot_be_is_refused(data: Any, sizes: Any, message: str):
    with pytest.raises((ValueError, TypeError), match=message):
        utils.split_dataset(data, *sizes)


# -- timeseries_dataset_from_array --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("rate", [1, 2])
@pytest.mark.parametrize(("start", "end"), [(None, None), (4, 17)])
def test_windows_slide_over_a_series_with_the_target_of_their_first_step(stride: int, rate: int, start: int | None, end: int | None):
    data, targets = np.arange(20.0), np.arange(20) * 10
    dataset = utils.timeseries_dataset_from_array(data, targets, 4, stride, rate, batch_size=3, start_index=start, end_index=end)
    first, last = start or 0, end or 20
    places = list(range(first, last - 3 * rate, stride))
    batches = list(dataset)
    windows = torch.cat([x for x, _ in batches])
    assert windows.tolist() == [[place + rate * step for step in range(4)] for place in places]
    assert torch.cat([y for _, y in batches]).tolist() == [place * 10 for place in places]
    assert all(len(x) == 3 for x, _ in batches[:-1]) and len(dataset) == len(batches)


def test_shuffled_windows_are_those_of_the_seed_and_train():
    series = np.sin(np.arange(60) / 5).astype("float32")[:, None]
    kinds = [utils.timeseries_dataset_from_array(series[:-5], series[5:], 5, batch_size=8, shuffle=True, seed=2) for _ in range(2)]
    one, two = (torch.cat([y for _, y in kind]).flatten().tolist() for kind in kinds)
    assert one == two and sorted(one) == sorted(series[5:-4].flatten().tolist())
    model = dt.Sequential([layers.LSTM(3), layers.Dense(1)])
    model.compile("adam", "mse")
    history = model.fit(kinds[0], epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2
    with pytest.raises(ValueError, match="hold no window of 90 steps"):
        utils.timeseries_dataset_from_array(series, None, 90)
    with pytest.raises(ValueError, match="sampling_rate=0"):
        utils.timeseries_dataset_from_array(series, None, 3, sampling_rate=0)


# -- folders ------------------------------------------------------------------------------------------------------------------------------


def test_texts_of_folders_are_classes_and_train_a_model_that_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = _texts(tmp_path / "texts")
    dataset = utils.text_dataset_from_directory(root, batch_size=4, shuffle=False)
    assert "Found 10 files belonging to 2 classes." in capsys.readouterr().out
    texts, labels = next(iter(dataset))
    assert texts.tolist() == [f"awful poor naïve {n}" for n in range(4)] and labels.tolist() == [0] * 4 and labels.dtype is torch.int32
    assert dataset.class_names == ["bad", "good"] and len(dataset) == 3
    vectorize = layers.TextVectorization(output_mode="multi_hot")
    vectorize.adapt(dataset.map(lambda x, y: x))
    assert set(vectorize.get_vocabulary()[1:5]) <= {"awful", "poor", "fine", "great", "naïve"}
    model = dt.Sequential([dt.Input((1,), dtype="string"), vectorize, layers.Dense(1)])
    model.compile("adam", "mse")
    train, held = utils.text_dataset_from_directory(root, seed=1, validation_split=0.3, subset="both", batch_size=2, verbose=False)
    model.fit(train, validation_data=held, epochs=2, verbose=0)
    assert len(train.file_paths) == 7 and not set(train.file_paths) & set(held.file_paths)
    with pytest.raises(AttributeError, match=r"skip is a method of tf.data.*\n  try  utils.split_dataset"):
        _ = dataset.skip
    assert dataset.repeat() is dataset
    mapped = dataset.map(lambda x, y: (vectorize(x), y)).prefetch(2).cache()
    plain = dt.Sequential([layers.Dense(1)])
    plain.compile("adam", "mse")
    plain.fit(mapped, verbose=0)


@pytest.mark.parametrize("mode", ["int", "binary", "categorical", None])
@pytest.mark.parametrize("subset", [None, "training", "validation"])
def test_the_files_of_a_seed_are_keras_s_in_keras_s_order(mode: str | None, subset: str | None, tmp_path: Path):
    from keras.src.utils.dataset_utils import get_training_or_validation_split, index_directory

    root = _folder(tmp_path / "pictures")
    split = None if subset is None else 0.4
    paths, labels, names = index_directory(str(root), "inferred" if mode else None, formats=(".png",), seed=11, verbose=False)
    paths, labels = get_training_or_validation_split(paths, labels, split, subset)
    ours = utils.image_dataset_from_directory(
        root, label_mode=mode, seed=11, validation_split=split, subset=subset, image_size=(6, 5), batch_size=None, verbose=False
    )
    assert [str(Path(path)) for path in ours.file_paths] == [str(Path(path).resolve()) for path in paths]
    for number in range(len(ours)):
        sample = ours[number]
        picture = sample[0] if mode else sample
        assert picture.shape == (6, 5, 3) and picture.dtype is torch.float32
        if mode:
            expected = {"int": labels[number], "binary": [labels[number]], "categorical": np.eye(2)[labels[number]]}[mode]
            assert np.array_equal(sample[1], expected) and ours.class_names == names


def test_pictures_of_folders_train_a_model_and_their_batches_are_mixed_by_the_seed(tmp_path: Path):
    root = _folder(tmp_path / "pictures")
    options: dict[str, Any] = {"image_size": (8, 8), "batch_size": 4, "seed": 5, "verbose": False}
    one, two = (utils.image_dataset_from_directory(root, **options) for _ in range(2))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(one, two, strict=True))
    gray = utils.image_dataset_from_directory(root, color_mode="grayscale", crop_to_aspect_ratio=True, **options)
    assert next(iter(gray.take(1)))[0].shape == (4, 8, 8, 1)
    model = dt.Sequential([layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    assert len(model.fit(one, epochs=2, verbose=0).history["loss"]) == 2
    for argument, value in (("color_mode", "cmyk"), ("interpolation", "area"), ("label_mode", "x"), ("validation_split", 0.5)):
        with pytest.raises(ValueError, match=argument):
            utils.image_dataset_from_directory(root, **{argument: value})
    with pytest.raises(ValueError, match="no such folder here"):
        utils.image_dataset_from_directory(tmp_path / "none")


# -- pictures as files --------------------------------------------------------------------------------------------------------------------


def test_pictures_are_read_and_written_as_keras_does(tmp_path: Path):
    pixels = np.random.default_rng(1).uniform(0, 9, (6, 5, 3)).astype("float32")
    utils.save_img(tmp_path / "ours.png", pixels)
    keras.utils.save_img(tmp_path / "theirs.png", pixels)
    assert (tmp_path / "ours.png").read_bytes() == (tmp_path / "theirs.png").read_bytes()
    for options in (
        {},
        {"color_mode": "grayscale"},
        {"target_size": (3, 4), "interpolation": "bilinear"},
        {"target_size": (3, 9), "keep_aspect_ratio": True, "color_mode": "rgba"},
    ):
        ours, theirs = (module.utils.load_img(tmp_path / "ours.png", **options) for module in (dt, keras))
        np.testing.assert_array_equal(utils.img_to_array(ours), keras.utils.img_to_array(theirs))
    assert utils.img_to_array(ours, "channels_first").shape == (4, 3, 9)
    for scale in (True, False):
        np.testing.assert_array_equal(utils.array_to_img(pixels, scale=scale), keras.utils.array_to_img(pixels, scale=scale))
    with pytest.raises(ValueError, match="color_mode='x'"):
        utils.load_img(tmp_path / "ours.png", "x")


def test_vectors_become_of_length_1_as_in_keras():
    x = np.random.default_rng(2).normal(size=(3, 4))
    for order in (1, 2):
        np.testing.assert_allclose(utils.normalize(x, order=order), keras.utils.normalize(x, order=order))
    assert utils.normalize(np.zeros((2, 2))).tolist() == [[0, 0], [0, 0]]


def test_a_progress_bar_shows_means(capsys: pytest.CaptureFixture[str]):
    bar = utils.Progbar(3, verbose=2, stateful_metrics=["count"])
    bar.update(1, [("loss", 3.0), ("count", 1)])
    bar.update(2, [("loss", 1.0), ("count", 2)])
    assert bar.means() == {"loss": 2.0, "count": 2.0}
    bar.update(3, [("loss", 0.5)])
    assert "3/3" in capsys.readouterr().out
    with pytest.raises(ValueError, match="not both"):
        utils.Progbar(3, stateful_metrics=[], stateless_metrics=[])
