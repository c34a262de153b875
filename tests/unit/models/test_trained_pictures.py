"""A model knows what the pictures of its training looked like, also from a file, and the viewer gives it others alike."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

import disttrain as dt
from disttrain import layers
from disttrain.models.trained_pictures import KEY
from disttrain.viewers.answers import Answers
from disttrain.viewers.folder import Folder
from disttrain.viewers.sources import open_source


def trained(pictures):
    model = dt.Sequential([dt.Input(pictures.shape[1:]), layers.Flatten(), layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(pictures, np.arange(len(pictures)) % 2, verbose=0)
    return model


def dark_and_bright(most=255):
    levels = np.linspace(0, most, 40)[:, None, None, None]
    return np.broadcast_to(levels, (40, 16, 16, 1)).astype("float32")


def digits(off=0):
    pictures = np.zeros((12, 28, 28), "float32")
    pictures[:, 6 + off : 22 + off, 10:18] = 1.0
    return pictures


def test_fit_notes_the_range_of_its_pictures_and_a_file_keeps_it(tmp_path):
    model = trained(dark_and_bright())
    assert model.trained_pictures == {"least": 0.0, "most": 255.0, "whole": False, "centred": False}
    model.save(tmp_path / "m.keras")
    assert dt.load_model(tmp_path / "m.keras").trained_pictures == model.trained_pictures


def test_whole_numbers_and_digits_in_the_middle_are_noted():
    assert trained((digits() * 255).astype("uint8")[..., None]).trained_pictures["whole"]
    assert trained(digits()).trained_pictures["centred"] and not trained(digits(off=5)).trained_pictures["centred"]


def test_what_are_no_pictures_or_several_inputs_leave_no_note():
    table = dt.Sequential([dt.Input((3,)), layers.Dense(1)])
    table.compile("sgd", "mse")
    table.fit(np.zeros((4, 3)), np.zeros((4, 1)), verbose=0)
    assert table.trained_pictures is None


SOUND = {"least": 0, "most": 1, "whole": True, "centred": True}


@pytest.mark.parametrize("note", [7, {}, {**SOUND, "least": "0"}, {**SOUND, "most": 1e999}])
def test_a_damaged_note_in_a_file_is_none(tmp_path, note):
    trained(dark_and_bright()).save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(members["metadata.json"])
    members["metadata.json"] = json.dumps({**metadata, KEY: note}).encode()
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert dt.load_model(tmp_path / "m.keras").trained_pictures is None


@pytest.mark.parametrize("most", [1, 255])
def test_the_viewer_predicts_for_a_picture_what_predict_does(tmp_path, most):
    pictures = dark_and_bright(most)
    model = trained(pictures)
    model.save(tmp_path / "m.keras")
    (tmp_path / "own").mkdir()
    Image.fromarray(np.full((16, 16), 204, "uint8")).save(tmp_path / "own/bright.png")
    wanted = model.predict(np.full((1, 16, 16, 1), 204 / 255 * most, "float32"), verbose=0)[0]
    for source in (model, str(tmp_path / "m.keras")):
        answers = Answers(open_source(source), Folder(tmp_path / "own"))
        (listed,) = answers.inputs.page()["items"]
        (output,) = answers.predictions(listed["id"], None)["outputs"]
        assert {entry["index"]: entry["value"] for entry in output["entries"]} == pytest.approx(dict(enumerate(wanted)), abs=1e-6)


def test_a_model_that_is_trained_while_it_is_looked_at_tells_what_is_done_to_pictures_from_then_on(tmp_path):
    model = dt.Sequential([dt.Input((16, 16, 1)), layers.Flatten(), layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    answers = Answers(open_source(model), Folder(tmp_path))
    assert "as by predict" in answers.inputs.page()["pictures"]
    model.fit(dark_and_bright(1), np.arange(40) % 2, verbose=0)
    answers._source._looked_at = -1e9  # it looks at the weights every now and then only
    answers.model()
    assert answers.inputs.page()["pictures"] == "pictures: values 0 to 1, as in the training"
