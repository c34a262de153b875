"""The list of inputs: files of one folder and nothing else, samples, and what the page sends."""

from __future__ import annotations

import base64
import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from disttrain.errors import UsageError
from disttrain.viewers import folder as folder_module
from disttrain.viewers import inputs as inputs_module
from disttrain.viewers.folder import Folder
from disttrain.viewers.input_specs import InputSpec
from disttrain.viewers.inputs import Inputs
from disttrain.viewers.preprocessing import Preprocessing
from disttrain.viewers.refusal import Refusal
from disttrain.viewers.samples import Samples

DIGITS = InputSpec("digits", (None, 4, 4, 1), "float32", "image", channels_axis=2)
PAIR = [InputSpec("a", (None, 3), "float32", "vector"), InputSpec("b", (None, 2), "float32", "vector")]


def listed(path, specs=(DIGITS,), samples=None, classes=None, **options) -> Inputs:
    return Inputs(Folder(path), Preprocessing(list(specs), **options), samples or Samples(), classes)


def names(inputs: Inputs, **options) -> list[str]:
    return [item["name"] for item in inputs.page(**options)["items"]]


def item(inputs: Inputs, name: str) -> str:
    return next(item["id"] for item in inputs.page()["items"] if item["name"] == name)


def png(path, size=(4, 4), value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


# -- the folder -------------------------------------------------------------------------------------------------------------------------


def test_files_are_listed_naturally_with_those_of_subfolders(tmp_path):
    for name in ("10.png", "2.png", "sub/1.png"):
        png(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no")
    assert names(listed(tmp_path)) == ["2.png", "10.png", "sub/1.png"]


def test_the_list_is_searched_and_paged(tmp_path):
    for number in range(12):
        png(tmp_path / f"digit {number}.png")
    page = listed(tmp_path).page("DIGIT 1", 1, 1)
    assert page["total"] == 3 and [item["name"] for item in page["items"]] == ["digit 10.png"]
    assert "none of 12" in listed(tmp_path).page("zebra")["message"]


def test_an_empty_folder_says_so_and_a_missing_one_is_an_error(tmp_path):
    assert f"{tmp_path} has no images" in listed(tmp_path).page()["message"]
    with pytest.raises(UsageError, match="there is no such folder"):
        Folder(tmp_path / "missing")


def test_links_out_dotfiles_pipes_and_folders_named_like_images_are_left_out(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    png(outside / "secret.png")
    png(inside / "good.png")
    png(inside / ".hidden.png")
    png(inside / ".git" / "x.png")
    (inside / "folder.png").mkdir()
    os.mkfifo(inside / "pipe.png")
    (inside / "link.png").symlink_to(outside / "secret.png")
    (inside / "device.png").symlink_to("/dev/zero")
    (inside / "way").symlink_to(outside, target_is_directory=True)
    (inside / "circle.png").symlink_to("circle.png")
    (inside / "alias.png").symlink_to("good.png")
    (inside / "to_hidden.png").symlink_to(".hidden.png")
    assert names(listed(inside)) == ["alias.png", "good.png"]


def test_a_file_replaced_by_a_link_out_after_the_listing_is_refused(tmp_path):
    inside = tmp_path / "in"
    png(inside / "a.png")
    png(tmp_path / "secret.png")
    png(inside / "b.png")
    inputs = listed(inside)
    first, second = item(inputs, "a.png"), item(inputs, "b.png")
    (inside / "a.png").unlink()
    (inside / "a.png").symlink_to(tmp_path / "secret.png")
    (inside / "b.png").unlink()
    os.mkfifo(inside / "b.png")
    with pytest.raises(Refusal, match="leads out of"):
        inputs.arrays(first)
    with pytest.raises(Refusal, match="no plain file"):
        inputs.arrays(second)


def test_a_file_that_is_gone_is_told(tmp_path):
    png(tmp_path / "a.png")
    inputs = listed(tmp_path)
    chosen = item(inputs, "a.png")
    (tmp_path / "a.png").unlink()
    with pytest.raises(Refusal, match=r"a\.png cannot be read"):
        inputs.arrays(chosen)


def test_more_files_than_the_limit_are_cut_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "MAX_FILES", 2)
    for number in range(4):
        png(tmp_path / f"{number}.png")
    page = listed(tmp_path).page()
    assert page["total"] == 2 and "only 2 files" in page["message"]


@pytest.mark.parametrize(
    "bad", ["../a.png", "file.../etc/passwd", "file.0123456789abcdef", "file", "sample.", "sample.-1", "sent.x", "", "file.x.y.z", "\0"]
)
def test_ids_that_the_list_did_not_give_are_unknown(tmp_path, bad):
    png(tmp_path / "a.png")
    with pytest.raises(Refusal) as refused:
        listed(tmp_path).arrays(bad)
    assert refused.value.status == 404


# -- images -----------------------------------------------------------------------------------------------------------------------------


def test_an_image_that_cannot_be_read_is_told_by_name(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrest is missing")
    (tmp_path / "text.jpg").write_text("hello")
    Image.new("L", (50, 50)).save(tmp_path / "cut.bmp")
    (tmp_path / "cut.bmp").write_bytes((tmp_path / "cut.bmp").read_bytes()[:200])
    inputs = listed(tmp_path)
    for name in ("broken.png", "text.jpg", "cut.bmp"):
        with pytest.raises(Refusal, match=f"{name} is no image"):
            inputs.arrays(item(inputs, name))


def test_a_picture_that_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path):
    for name, side in (("bomb.png", 30_000), ("large.png", 9_000)):
        Image.new("1", (side, side)).save(tmp_path / name)
    inputs = listed(tmp_path)
    for name in ("bomb.png", "large.png"):
        with pytest.raises(Refusal, match="pixels") as refused:
            inputs.arrays(item(inputs, name))
        assert refused.value.status == 413


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_every_mode_of_image_becomes_what_the_model_takes(tmp_path, mode):
    ending = "tif" if mode in ("CMYK", "F") else "png"
    Image.new("RGB", (9, 9), "white").convert("L" if mode == "I;16" else mode).save(tmp_path / f"x.{ending}")
    if mode == "I;16":
        Image.fromarray(np.full((9, 9), 65535, np.uint16)).save(tmp_path / "x.png")
    inputs = listed(tmp_path)
    values = inputs.arrays(item(inputs, f"x.{ending}"))["digits"]
    assert values.shape == (4, 4, 1)
    np.testing.assert_allclose(values, 255.0, atol=2.0)


def test_pictures_show_the_input_as_the_model_gets_it(tmp_path):
    png(tmp_path / "a.png", (100, 100), 128)
    inputs = listed(tmp_path)
    shown = Image.open(io.BytesIO(inputs.picture(item(inputs, "a.png"))))
    assert shown.size == (4, 4) and abs(shown.getpixel((0, 0)) - 128) <= 1


# -- arrays -----------------------------------------------------------------------------------------------------------------------------


def test_each_row_of_an_array_is_an_input(tmp_path):
    values = np.random.default_rng(0).random((3, 4, 4, 1)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(values))
    np.savez_compressed(tmp_path / "y.npz", labels=np.arange(3), images=values)
    inputs = listed(tmp_path)
    for file in ("x.npy", "fortran.npy", "y.npz"):
        np.testing.assert_array_equal(inputs.arrays(item(inputs, f"{file} [2]"))["digits"], values[2])
    np.save(tmp_path / "one.npy", values[0])
    again = listed(tmp_path)
    np.testing.assert_array_equal(again.arrays(item(again, "one.npy"))["digits"], values[0])


def test_an_npz_feeds_several_inputs_by_name_or_in_order(tmp_path):
    a, b = np.arange(6.0).reshape(2, 3), np.arange(4.0).reshape(2, 2)
    np.savez(tmp_path / "named.npz", b=b, a=a)
    np.savez(tmp_path / "order.npz", a, b)
    inputs = listed(tmp_path, PAIR)
    for file in ("named.npz", "order.npz"):
        found = inputs.arrays(item(inputs, f"{file} [1]"))
        assert found["a"].tolist() == [3, 4, 5] and found["b"].tolist() == [2, 3]
    given = inputs.model_inputs(item(inputs, "named.npz [0]"))
    assert {name: tuple(tensor.shape) for name, tensor in given.items()} == {"a": (1, 3), "b": (1, 2)}


def test_pickles_are_refused_and_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    np.save(tmp_path / "x.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "y.npz", np.array([Trap()], dtype=object))
    inputs = listed(tmp_path)
    for name in ("x.npy", "y.npz"):
        with pytest.raises(Refusal, match="pickled objects"):
            inputs.arrays(item(inputs, name))
    assert not (tmp_path / "ran").exists()


def test_arrays_that_promise_more_than_they_hold_or_are_no_arrays_are_refused(tmp_path):
    with open(tmp_path / "huge.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**15, 4, 4, 1)})
        file.write(b"\0" * 64)
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save(tmp_path / "shape.npy", np.zeros((3, 9)))
    np.save(tmp_path / "words.npy", np.array(["a"]))
    inputs = listed(tmp_path)
    expected = {"huge.npy": "cut short", "shape.npy": r"\(3, 9\)", "words.npy": "plain numbers"}
    for name in ("huge.npy", "text.npy", "text.npz", "empty.npy", "shape.npy", "words.npy"):
        with pytest.raises(Refusal, match=expected.get(name, "no array file")):
            inputs.arrays(item(inputs, name))


def test_a_zip_that_unpacks_to_gigabytes_is_refused_by_its_declared_size(tmp_path, monkeypatch):
    monkeypatch.setattr("disttrain.viewers.array_files.MAX_MEMBER_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(2 << 20))
    inputs = listed(tmp_path)
    with pytest.raises(Refusal, match=r"bomb\.npz holds 'x\.npy' of 2097152 bytes"):
        inputs.arrays(item(inputs, "bomb.npz"))


# -- samples, and what the page sends ---------------------------------------------------------------------------------------------------


def test_samples_of_the_run_come_with_their_labels(tmp_path):
    samples = Samples({"digits": np.arange(32, dtype=np.float32).reshape(2, 4, 4, 1)}, np.array([[0, 1], [1, 0]]))
    inputs = listed(tmp_path, samples=samples, classes=["cat", "dog"])
    assert [(item["name"], item["label"]) for item in inputs.page()["items"]] == [("sample 0", "dog"), ("sample 1", "cat")]
    np.testing.assert_array_equal(inputs.arrays("sample.1")["digits"], samples.x["digits"][1])
    assert inputs.page()["message"] is None  # a folder without files is no trouble then
    with pytest.raises(Refusal, match="there is no sample 2"):
        inputs.arrays("sample.2")


def test_a_drawing_is_kept_in_memory_and_the_same_one_is_the_same_item(tmp_path):
    inputs = listed(tmp_path)
    pixels = base64.b64encode(bytes([255] * 16)).decode()
    sent = inputs.send({"kind": "drawing", "width": 4, "height": 4, "pixels": pixels})
    assert sent == inputs.send({"kind": "drawing", "width": 4, "height": 4, "pixels": pixels})
    assert names(inputs) == ["drawing"] and inputs.arrays(sent["id"])["digits"].min() == 255.0
    assert list(tmp_path.iterdir()) == []


def test_files_of_the_page_are_read_like_those_of_the_folder(tmp_path):
    inputs = listed(tmp_path)
    written = io.BytesIO()
    Image.new("L", (9, 9), 255).save(written, "PNG")
    sent = inputs.send({"kind": "file", "name": "../../C:\\x\\up.png", "data": base64.b64encode(written.getvalue()).decode()})
    assert sent["name"] == "up.png" and inputs.arrays(sent["id"])["digits"].min() == 255.0
    array = io.BytesIO()
    np.save(array, np.ones((2, 4, 4, 1), np.float32))
    sent = inputs.send({"kind": "file", "name": "up.npy", "data": base64.b64encode(array.getvalue()).decode()})
    assert inputs.arrays(sent["id"])["digits"].shape == (4, 4, 1)


@pytest.mark.parametrize(
    "sent",
    [
        None,
        [],
        {},
        {"kind": "made up"},
        {"kind": "__init__"},
        {"kind": "drawing"},
        {"kind": "drawing", "width": -4, "height": -4, "pixels": ""},
        {"kind": "drawing", "width": True, "height": 1, "pixels": "AA=="},
        {"kind": "drawing", "width": 10**9, "height": 10**9, "pixels": ""},
        {"kind": "drawing", "width": 4, "height": 4, "pixels": "AA=="},
        {"kind": "drawing", "width": 1, "height": 1, "pixels": "%%%"},
        {"kind": "drawing", "width": 1, "height": 1, "pixels": 7},
        {"kind": "text", "text": 5},
        {"kind": "text", "text": "  "},
        {"kind": "text", "text": "nan " * 16},
        {"kind": "numbers", "values": "1 2"},
        {"kind": "numbers", "values": [[[]]]},
        {"kind": "numbers", "values": [1e999]},
        {"kind": "file", "name": "x.exe", "data": ""},
        {"kind": "file", "name": 5, "data": ""},
        {"kind": "file", "name": "x.png", "data": ""},
        {"kind": "file", "name": "x.npz", "data": "AAAA"},
    ],
)
def test_what_is_sent_wrong_is_refused_with_a_reason(tmp_path, sent):
    inputs = listed(tmp_path)
    with pytest.raises(Refusal) as refused:
        inputs.send(sent)
    assert 400 <= refused.value.status < 500 and len(refused.value.message) > 10
    assert inputs.page()["total"] == 0


def test_only_the_newest_of_what_was_sent_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs_module, "MAX_SENT", 2)
    inputs = listed(tmp_path, PAIR[:1])
    sent = [inputs.send({"kind": "numbers", "values": [number, 0, 0]})["id"] for number in range(3)]
    assert [item["id"] for item in inputs.page()["items"]] == [sent[2], sent[1]]
    with pytest.raises(Refusal):
        inputs.version(sent[0]) and inputs.arrays(sent[0])


def test_a_folder_of_images_for_a_model_without_images_says_what_the_model_takes(tmp_path):
    png(tmp_path / "a.png")
    assert "takes no single image: its inputs are a (3,) (vector), b (2,) (vector)" in listed(tmp_path, PAIR).page()["message"]
