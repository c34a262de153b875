"""`disttrain.viewers.tensorboard`: which folder it shows, and that TensorBoard shows a resumed run as one curve."""

import json
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import numpy as np
import psutil
import pytest
from callback_model import FakeModel
from launching import heed_ctrl_c

import disttrain as dt
from disttrain.callbacks import TensorBoard
from disttrain.errors import UsageError
from disttrain.viewers import tensorboard
from disttrain.viewers.door import listen


def written(log_dir, epochs=range(2), state=None, saved_after=None):
    """Epochs of a fit; gives its state after `saved_after` of them."""
    callback = TensorBoard(log_dir, update_freq="batch")
    callback.set_model(FakeModel())
    callback.on_train_begin()
    if state is not None:
        callback.load_state_dict(state)
        callback.model.optimizer.iterations = state["iterations"]
    found = None
    for epoch in epochs:
        if epoch == saved_after:
            found = callback.state_dict()
        callback.on_epoch_begin(epoch)
        for batch in range(2):
            callback.model.optimizer.iterations += 1
            callback.on_train_batch_end(batch, {"loss": 1.0})
        callback.on_epoch_end(epoch, {"loss": float(epoch)})
    return found


def told(run, log_dir, attempt=1):
    (run / "events").mkdir(exist_ok=True)
    lines = [{"event": "tensorboard", "log_dir": str(log_dir)}, {"event": "other"}]
    (run / "events" / f"a{attempt:04d}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"event": "cut')


def test_a_run_is_shown_by_its_own_folder_or_by_what_its_newest_attempt_named(tmp_path):
    for name in ("old", "new"):
        written(tmp_path / name)
    run = tmp_path / "run"
    run.mkdir()
    told(run, tmp_path / "old", attempt=1)
    told(run, tmp_path / "new", attempt=2)
    assert tensorboard.log_dir_of(run) == str(tmp_path / "new")
    written(run / "tensorboard")
    assert tensorboard.log_dir_of(run) == f"{run}/tensorboard"
    assert tensorboard.log_dir_of(tmp_path / "old") == str(tmp_path / "old")


def test_a_location_without_anything_to_show_is_refused_with_a_way_on(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        tensorboard.launch(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"callbacks\.TensorBoard"):
        tensorboard.launch(tmp_path)
    told(tmp_path, "/gone")
    with pytest.raises(UsageError, match="/gone"):
        tensorboard.launch(tmp_path)


def test_a_port_in_use_is_named_and_the_next_offered(tmp_path):
    written(tmp_path)
    with listen("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        with pytest.raises(UsageError, match=rf"(?s)port {port} is in use.*port="):
            tensorboard.launch(tmp_path, port=port)


def raw(server, path, **query):
    with urllib.request.urlopen(f"{server.url}data/plugin/{path}?{urllib.parse.urlencode(query)}") as answer:
        return answer.read().decode()


def asked(server, path, **query):
    return json.loads(raw(server, path, **query))


def shown(server, path, **query):
    """The answer, once TensorBoard has read its files."""
    for _ in range(6000):  # 0.1 s each
        try:
            found = asked(server, path, **query)
        except urllib.error.HTTPError:
            found = None
        if found:
            return found
        time.sleep(0.1)
    pytest.fail(f"TensorBoard does not show {query}")


def test_tensorboard_shows_a_resumed_run_as_one_curve(tmp_path):
    state = written(tmp_path, range(4), saved_after=2)
    written(tmp_path, range(2, 5), state)
    with tensorboard.launch(tmp_path, port=0, block=False) as server:
        epochs = shown(server, "scalars/scalars", tag="epoch_loss", run="train")
        batches = shown(server, "scalars/scalars", tag="batch_loss", run="train")
    assert [(step, value) for _, step, value in epochs] == [(n, float(n)) for n in range(5)]
    assert [step for _, step, _ in batches] == list(range(1, 11))
    server.stop()  # a second time
    with listen("127.0.0.1", int(server.url.rstrip("/").rsplit(":", 1)[1])):
        pass  # its port is free


def test_tensorboard_reads_the_graph_the_conceptual_graph_and_the_hyperparameters(tmp_path):
    inner = dt.Sequential([dt.Input((3,), name="into"), dt.layers.Dense(3, name="narrow")], name="inner")
    inputs = dt.Input((4,), name="features")
    model = dt.Model(inputs, dt.layers.Dense(1, name="last")(inner(dt.layers.Dense(3, name="first")(inputs))))
    model.compile("sgd", "mse")
    x = np.ones((8, 4), np.float32)
    board = TensorBoard(tmp_path, hparams={"units": 3})
    history = model.fit(x, x[:, :1], validation_data=(x, x[:, :1]), epochs=2, verbose=0, callbacks=[board]).history
    with tensorboard.launch(tmp_path, port=0, block=False) as server:
        shown(server, "scalars/scalars", tag="epoch_loss", run="train")
        shown(server, "scalars/scalars", tag="epoch_loss", run="validation")
        graph = raw(server, "graphs/graph", run="train")
        conceptual = raw(server, "graphs/graph", run="train", conceptual="true", tag="keras")
        request = urllib.request.Request(
            f"{server.url}data/plugin/hparams/session_groups",
            json.dumps({"allowedStatuses": ["STATUS_SUCCESS"], "startIndex": 0, "sliceSize": 9}).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request) as answer:
            (row,) = json.loads(answer.read())["sessionGroups"]
    for name in ("features", "first", "inner/narrow", "last"):
        assert f'name: "{name}"' in graph
    assert f'name: "{model.name}/inner/narrow"' in conceptual
    values = {(entry["name"]["group"], entry["name"]["tag"]): entry["value"] for entry in row["metricValues"]}
    assert row["hparams"] == {"units": 3.0}
    assert values["", "hparams/val_loss"] == pytest.approx(history["val_loss"][-1], rel=1e-6)


def test_tensorboard_finds_the_tables_for_its_projector(tmp_path):
    model = dt.Sequential([dt.Input((2,), dtype="int32"), dt.layers.Embedding(5, 3, name="words"), dt.layers.Flatten(), dt.layers.Dense(1)])
    model.compile("sgd", "mse")
    board = TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata=list("abcde"))
    model.fit(np.ones((4, 2), np.int32), np.ones((4, 1), np.float32), verbose=0, callbacks=[board])
    with tensorboard.launch(tmp_path, port=0, block=False) as server:
        assert shown(server, "projector/runs") == ["train"]
        (entry,) = asked(server, "projector/info", run="train")["embeddings"]
        assert (entry["tensorName"], entry["tensorShape"]) == ("words/embeddings", [5, 3])
        assert raw(server, "projector/metadata", run="train", name="words/embeddings").split() == list("abcde")


def test_ctrl_c_stops_it_with_its_server(tmp_path):
    written(tmp_path)
    script = f"from disttrain.viewers import tensorboard as t; t.launch({str(tmp_path)!r}, port=0)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c)
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 0
    with pytest.raises(OSError):
        urllib.request.urlopen(line.split()[1])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_board_ends_with_its_command_however_that_ends(number, code, tmp_path):
    written(tmp_path)
    command = [sys.executable, "-m", "disttrain", "tensorboard", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().split()[1]
        urllib.request.urlopen(url).close()
        (board,) = psutil.Process(process.pid).children()
        process.send_signal(number)
        assert process.wait(timeout=300) == code
    assert psutil.wait_procs([board], timeout=300)[1] == []
    with pytest.raises(OSError):
        urllib.request.urlopen(url)
