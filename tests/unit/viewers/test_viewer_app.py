"""The viewer's HTTP: what each address gives, and what is refused."""

from __future__ import annotations

import base64
import json
import struct
import threading

import numpy as np
import pytest
from PIL import Image
from viewer_runs import WrittenRun
from werkzeug.test import Client

from disttrain.layers import LSTM, Conv2D, Dense, Embedding, Flatten, Input
from disttrain.models import Model, Sequential
from disttrain.viewers import forward
from disttrain.viewers.answers import Answers
from disttrain.viewers.app import MAX_BODY_BYTES, create_app
from disttrain.viewers.door import Door
from disttrain.viewers.folder import Folder
from disttrain.viewers.sources import ModelSource, open_source

HERE = {"Host": "127.0.0.1:5000"}


def digits() -> Sequential:
    return Sequential(
        [Input((8, 8, 1)), Conv2D(3, 3, activation="relu", name="conv"), Flatten(name="flat"), Dense(4, activation="softmax")]
    )


class Page:
    """A client at the right address."""

    def __init__(self, source, folder, host="127.0.0.1", **options) -> None:
        self.answers = Answers(source, Folder(folder), **options)
        self.client = Client(create_app(self.answers, Door(host, 5000)))

    def get(self, path, **headers):
        return self.client.get(path, headers={**HERE, **headers})

    def json(self, path):
        response = self.get(path)
        assert response.status_code == 200, response.text
        return response.json

    def packed(self, path):
        response = self.get(path)
        assert response.status_code == 200, response.text
        (length,) = struct.unpack("<I", response.data[:4])
        header = json.loads(response.data[4 : 4 + length])
        data = response.data[4 + length + (-(4 + length) % 4) :]
        values = np.frombuffer(data, np.dtype(header["dtype"]).newbyteorder("<"))
        return header, values.reshape(header["count"], header["height"], header["width"])

    def refused(self, path, status):
        response = self.get(path)
        assert response.status_code == status, response.text
        return response.json["error"]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "inputs"
    path.mkdir()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(path / "a.png")
    return path


@pytest.fixture
def page(folder):
    return Page(ModelSource(digits()), folder, classes=["a", "b", "c", "d"], top=3)


@pytest.fixture
def image(page):
    return page.json("/api/inputs")["items"][0]["id"]


# -- what is given ----------------------------------------------------------------------------------------------------------------------


def test_the_model_its_graph_and_its_only_checkpoint_are_told(page):
    model = page.json("/api/model")
    assert model["inputs"] == [
        {"name": model["inputs"][0]["name"], "shape": [None, 8, 8, 1], "dtype": "float32", "kind": "image", "vocabulary": None}
    ]
    assert model["classes"] == ["a", "b", "c", "d"] and model["top"] == 3 and model["source"] == "model" and model["message"] is None
    assert model["outputs"][0]["shape"] == [None, 4] and model["parameters"] == 30 + 108 * 4 + 4
    assert "conv" in [node["id"] for node in page.json("/api/graph")["nodes"]]
    assert [entry["name"] for entry in page.json("/api/checkpoints")["checkpoints"]] == ["current"]


def test_activations_are_those_of_a_forward_pass(page, image):
    header, values = page.packed(f"/api/activations?layer=conv&input={image}&exact=1")
    model = page.answers._skeleton
    recording = forward.record(model, page.answers.inputs.model_inputs(image))
    np.testing.assert_array_equal(values, np.moveaxis(recording.output("conv"), -1, 0))
    assert header["form"] == "maps" and header["checkpoint"] == "current" and header["total"] == 3
    rough, bytes_ = page.packed(f"/api/activations?layer=conv&input={image}&start=1&count=1")
    assert rough["start"] == 1 and bytes_.dtype == np.uint8
    span = rough["maximum"][0] - rough["minimum"][0]
    np.testing.assert_allclose(rough["minimum"][0] + bytes_[0] / 255 * span, values[1], atol=span / 254)


def test_filters_need_no_input(page):
    header, _ = page.packed("/api/activations?layer=conv&view=filters")
    assert header["shape"] == [3, 3, 1, 3]


def test_predictions_are_the_top_classes_by_name(page, image):
    (output,) = page.json(f"/api/predictions?input={image}")["outputs"]
    assert output["kind"] == "classes" and len(output["entries"]) == 3
    assert output["entries"][0]["label"] == "abcd"[output["entries"][0]["index"]]
    values = [entry["value"] for entry in output["entries"]]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("method", ["gradient", "gradcam", "integrated"])
def test_attribution_is_one_map_of_the_size_of_the_input(page, image, method):
    header, values = page.packed(f"/api/attribution?method={method}&input={image}&class=2")
    assert values.shape == (1, 8, 8) and header["checkpoint"] == "current"


def test_statistics_of_a_layer_are_told(page, image):
    found = page.json(f"/api/statistics?layer=conv&input={image}")
    assert found["count"] == 6 * 6 * 3 and found["units"] == 3


def test_pictures_of_inputs_are_png(page, image):
    response = page.get(f"/api/inputs/{image}/picture")
    assert response.mimetype == "image/png" and response.data.startswith(b"\x89PNG")


def test_a_drawing_can_be_sent_and_looked_at(page):
    sent = {"kind": "drawing", "width": 8, "height": 8, "pixels": base64.b64encode(bytes(range(64))).decode()}
    made = page.client.post("/api/inputs", json=sent, headers=HERE)
    assert made.status_code == 200
    assert page.json(f"/api/predictions?input={made.json['id']}")["outputs"]


def test_one_pass_serves_all_layers_and_all_tabs(page, image, monkeypatch):
    passes, record = [], forward.record
    monkeypatch.setattr(forward, "record", lambda *args: passes.append(1) or record(*args))
    failures = []

    def tab():
        for path in ("activations?layer=conv", "activations?layer=flat", "statistics?layer=conv", "predictions?"):
            response = page.get(f"/api/{path}&input={image}")
            if response.status_code != 200:
                failures.append(response.text)

    tabs = [threading.Thread(target=tab) for _ in range(10)]
    for thread in tabs:
        thread.start()
    for thread in tabs:
        thread.join()
    assert failures == [] and len(passes) == 1


def test_a_model_that_goes_on_training_is_looked_at_anew(page, image, monkeypatch):
    monkeypatch.setattr("disttrain.viewers.sources._LOOKED_AT_SECONDS", 0.0)
    before = page.packed(f"/api/activations?layer=conv&input={image}&exact=1")[1]
    page.answers._source._model.get_layer("conv").bias.data.add_(1.0)
    assert (page.packed(f"/api/activations?layer=conv&input={image}&exact=1")[1] != before).any()


def test_gates_scores_and_tokens_are_served(folder):
    words = Input((5,), name="words")
    model = Model(words, Dense(2, activation="softmax")(LSTM(3, name="lstm")(Embedding(9, 4)(words))))
    page = Page(ModelSource(model), folder)
    assert page.json("/api/model")["inputs"][0]["vocabulary"] == 9
    assert "type token ids from 0 to 8" in page.client.post("/api/inputs", json={"kind": "text", "text": "hi"}, headers=HERE).json["error"]
    made = page.client.post("/api/inputs", json={"kind": "text", "text": "1 2 8"}, headers=HERE).json
    header, _ = page.packed(f"/api/activations?layer=lstm&view=gates&input={made['id']}")
    assert header["view"] == "gates"
    assert "tokens" in page.refused(f"/api/attribution?method=gradient&input={made['id']}", 400)
    assert "takes no single image" in page.json("/api/inputs")["message"]


def test_a_run_is_followed_and_its_checkpoints_differ(tmp_path, folder, monkeypatch):
    monkeypatch.setattr("disttrain.viewers.run_source._POLL_SECONDS", 0.0)
    model = digits()
    run = WrittenRun(str(tmp_path / "run"))
    samples = {"x": np.random.default_rng(0).random((3, 8, 8, 1), np.float32), "y": np.array([0, 1, 2])}
    run.describe(model, classes=["w", "x", "y", "z"], samples=samples)
    page = Page(open_source(str(tmp_path / "run")), folder)
    assert page.json("/api/checkpoints")["message"] == "waiting for the first checkpoint"
    assert page.refused("/api/activations?layer=conv&input=sample.0", 409) == "waiting for the first checkpoint"
    first = run.save(model, 10)
    old = page.packed("/api/activations?layer=conv&input=sample.0&exact=1")
    model.get_layer("conv").bias.data.add_(1.0)
    run.save(model, 20)
    new = page.packed("/api/activations?layer=conv&input=sample.0&exact=1")
    again = page.packed(f"/api/activations?layer=conv&input=sample.0&exact=1&checkpoint={first}")
    np.testing.assert_array_equal(old[1], again[1])
    assert (new[1] != old[1]).any() and old[0]["checkpoint"] == first
    assert [item["label"] for item in page.json("/api/inputs")["items"][:3]] == ["w", "x", "y"]
    filters = [page.packed(f"/api/activations?layer=conv&view=filters&exact=1&checkpoint={name}") for name in (first, "")]
    assert filters[0][0]["checkpoint"] == first


def test_a_model_of_code_shows_itself_once_it_is_built(tmp_path, folder):
    class Code(Model):
        def __init__(self):
            super().__init__()
            self.inner = Dense(2, name="inner")

        def call(self, x):
            return self.inner(x)

    trained = Code()
    trained(np.ones((1, 3), np.float32))
    run = WrittenRun(str(tmp_path / "run"))
    run.save(trained, 10)
    np.save(folder / "x.npy", np.ones((2, 3), np.float32))
    page = Page(open_source(Code(), run=str(tmp_path / "run")), folder)
    assert page.json("/api/model")["inputs"] == []
    row = next(item["id"] for item in page.json("/api/inputs")["items"] if item["name"] == "x.npy [0]")
    assert page.packed(f"/api/activations?layer=inner&input={row}&exact=1")[1].size == 2
    assert page.json("/api/graph")["nodes"]


def test_an_unbuilt_model_says_so_and_is_known_once_it_is_built(folder, monkeypatch):
    monkeypatch.setattr("disttrain.viewers.sources._LOOKED_AT_SECONDS", 0.0)
    model = Sequential([Dense(2)])
    page = Page(ModelSource(model), folder)
    assert "not built" in page.json("/api/model")["message"] and page.json("/api/model")["inputs"] == []
    model.build((None, 3))
    known = page.json("/api/model")
    assert known["message"] is None and known["inputs"][0]["shape"] == [None, 3]


def test_an_input_that_a_link_names_is_told_or_is_gone(page, image):
    assert page.json(f"/api/inputs/{image}")["id"] == image
    assert page.client.get("/api/inputs/sent.0123456789abcdef", headers={"Host": "127.0.0.1:5000"}).status_code == 404


# -- what is refused --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("/api/activations?layer=con&input=ID", 400, "conv"),
        ("/api/activations?input=ID", 400, "layer= is missing"),
        ("/api/activations?layer=conv", 400, "input= is missing"),
        ("/api/activations?layer=conv&input=nope", 404, "there is no input"),
        ("/api/activations?layer=conv&input=ID&view=gates", 400, "gates"),
        ("/api/activations?layer=conv&input=ID&view=x", 400, "view"),
        ("/api/activations?layer=conv&input=ID&start=-1", 400, "start"),
        ("/api/activations?layer=conv&input=ID&start=99", 400, "start"),
        ("/api/activations?layer=conv&input=ID&count=9999999999999", 400, "count"),
        ("/api/activations?layer=conv&input=ID&checkpoint=old", 404, "there is no checkpoint"),
        ("/api/attribution?method=magic&input=ID", 400, "gradcam"),
        ("/api/attribution?method=gradient&input=ID&class=77", 400, "77"),
        ("/api/attribution?method=gradcam&input=ID&layer=dense", 400, ""),
        ("/api/statistics?layer=nope&input=ID", 400, "nope"),
        ("/api/inputs?offset=x", 400, "offset"),
        ("/api/inputs/nope/picture", 404, "there is no input"),
        ("/api/nothing", 404, "nothing at"),
        ("/api/model/x", 404, "nothing at"),
        ("//api/model", 404, "nothing at"),
        ("/api/inputs?search=" + "x" * 5000, 414, "too long"),
        ("/page/nothing.js", 404, "no file"),
    ],
)
def test_what_cannot_be_answered_is_told_in_one_readable_message(page, image, path, status, part):
    layer = next((node["id"] for node in page.json("/api/graph")["nodes"] if node["type"] == "Dense"), "")
    message = page.refused(path.replace("ID", image).replace("layer=dense", f"layer={layer}"), status)
    assert part in message


@pytest.mark.parametrize(
    "path",
    [
        "/page/../server.py",
        "/page/%2e%2e/server.py",
        "/page/..%2fserver.py",
        "/page/%2e%2e%2f%2e%2e%2ferrors.py",
        "/page//etc/passwd",
        "/page/%2fetc%2fpasswd",
        "/page/.hidden.js",
        "/page/x/../../server.py",
        "/page/index.html%00.js",
        "/page/..\\server.py",
        "/page/server.py",
        "/api/inputs/..%2f..%2fetc%2fpasswd/picture",
        "/api/inputs/%2e%2e/picture",
        "/api/inputs/file.%2fetc%2fpasswd/picture",
    ],
)
def test_no_path_leads_to_another_file(page, path):
    assert page.get(path).status_code == 404


def test_the_page_and_its_files_are_served_with_their_types(page):
    assert page.get("/").mimetype == "text/html"
    assert page.get("/favicon.ico").status_code == 204


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:5000",
        "127.0.0.1:5001",
        "127.0.0.1",
        "localhost.evil.example:5000",
        "evil@127.0.0.1:5000",
        "127.0.0.1:5000,evil",
        "",
        "[::1",
        "0x7f.1:5000",
    ],
)
def test_another_host_header_is_refused_everywhere(page, host):
    for path in ("/", "/api/model", "/page/app.js"):
        response = page.client.get(path, headers={"Host": host})
        assert response.status_code == 403 and "answers at http://127.0.0.1:5000/ only" in response.json["error"]


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost:5000", "LOCALHOST:5000", "[::1]:5000"])
def test_the_names_of_this_machine_are_served(page, host):
    assert page.client.get("/api/model", headers={"Host": host}).status_code == 200


def test_the_host_that_was_given_is_served_and_for_all_addresses_any_address_is(folder):
    named = Page(ModelSource(digits()), folder, "gpu-box").client
    assert named.get("/api/model", headers={"Host": "gpu-box:5000"}).status_code == 200
    assert named.get("/api/model", headers={"Host": "other:5000"}).status_code == 403
    everywhere = Page(ModelSource(digits()), folder, "0.0.0.0").client
    assert everywhere.get("/api/model", headers={"Host": "192.168.1.7:5000"}).status_code == 200
    assert everywhere.get("/api/model", headers={"Host": "evil.example:5000"}).status_code == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:5000", "http://127.0.0.1:8888", "file://"])
def test_other_sites_cannot_send(page, origin):
    response = page.client.post("/api/inputs", json={"kind": "text", "text": "1"}, headers={**HERE, "Origin": origin})
    assert response.status_code == 403


def test_other_sites_cannot_keep_the_model_busy(page):
    for path in ("/api/model", "/api/activations"):
        for site in ("cross-site", "same-site"):
            assert page.get(path, **{"Sec-Fetch-Site": site}).status_code == 403
    assert page.get("/api/model", **{"Sec-Fetch-Site": "same-origin"}).status_code == 200
    assert page.get("/", **{"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a notebook shows the page in a frame


def test_the_own_page_may_send(page):
    sent = {"kind": "drawing", "width": 1, "height": 1, "pixels": "AA=="}
    assert page.client.post("/api/inputs", json=sent, headers={**HERE, "Origin": "http://127.0.0.1:5000"}).status_code == 200


def test_bodies_that_are_no_json_or_too_large_are_refused(page):
    def post(**options):
        response = page.client.post("/api/inputs", headers=HERE, **options)
        return response.status_code, response.json["error"]

    assert post(data=b"{}", content_type="text/plain")[0] == 415
    assert post(data={"kind": "text"})[0] == 415
    assert post(data=b"\xff\xfe", content_type="application/json") == (400, "the body is no JSON")
    assert post(data=b"[" * 100_000, content_type="application/json") == (400, "the body is no JSON")
    status, message = post(data=bytes(MAX_BODY_BYTES + 1), content_type="application/json")
    assert status == 413 and "8 MB at most" in message


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POST", "BREW"])
def test_other_methods_are_not_allowed(page, method):
    response = page.client.open("/api/model", method=method, headers=HERE)
    assert response.status_code == 405 and "GET" in response.headers["Allow"]


def test_head_is_get_without_a_body(page):
    response = page.client.head("/api/model", headers=HERE)
    assert response.status_code == 200 and response.data == b""


def test_every_answer_forbids_other_sites_scripts_and_guessing_of_types(page, image):
    for path in ("/", "/api/model", "/api/nothing", f"/api/inputs/{image}/picture"):
        headers = page.get(path).headers
        assert "default-src 'self'" in headers["Content-Security-Policy"] and "frame-ancestors" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert not any(name.startswith("Access-Control") for name in headers.keys())  # noqa: SIM118 - werkzeug's own class


def test_a_fault_is_one_line_for_the_page_a_traceback_once_and_the_server_lives(page, image, monkeypatch, capsys):
    def broken(*args, **options):
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr(page.answers, "statistics", broken)
    for _ in range(2):
        assert page.refused(f"/api/statistics?layer=conv&input={image}", 500) == "ZeroDivisionError: first"
    assert capsys.readouterr().err.count("Traceback") == 1
    assert page.json("/api/model")


def test_an_input_that_the_model_cannot_take_is_no_fault_of_the_viewer(folder, capsys):
    np.save(folder / "x.npy", np.ones((2, 9), np.float32))
    model = Sequential([Dense(2)])
    model.build((None, 3))
    page = Page(ModelSource(model), folder)
    row = next(item["id"] for item in page.json("/api/inputs")["items"] if item["name"].startswith("x.npy"))
    assert page.refused(f"/api/predictions?input={row}", 422)
    assert capsys.readouterr().err == ""
