"""A run gives its model to whoever has its directory: written by the real session, whose workers are threads here."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import thread_runs as t
import torch

import disttrain as dt
from disttrain import cli, layers
from disttrain.checkpoint import Store, list_checkpoints
from disttrain.errors import CheckpointCorrupt, UsageError
from disttrain.models.saving.run_export import export_run


def newest(run: Path) -> Path:
    return next((run / "checkpoints" / "commits" / f"{info.name}.json") for info in list_checkpoints(Store(str(run))))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dt.Sequential]:
    """A finished run with checkpoints of steps 2, 4, 6 ..., and the script's model after it."""
    run = tmp_path_factory.mktemp("trained") / "run"
    with t.driven(2, url=str(run), every="2steps"):
        model = t.make_model()
        t.train(model=model, epochs=2)
    return run, model


def test_the_model_of_a_run_is_the_script_s_without_the_script(trained):
    run, model = trained
    found = dt.load_model(run)
    assert found.digest() == model.digest() and found.get_config() == model.get_config()
    assert np.array_equal(found.predict(t.X, verbose=0), model.predict(t.X, verbose=0))
    assert found.trained_pictures == model.trained_pictures
    assert found.compiled and found.optimizer.iterations == model.optimizer.iterations == 6
    assert not dt.load_model(str(run), compile=False).compiled


def test_training_goes_on_from_a_run_bit_for_bit(trained):
    run, model = trained
    mine, found = dt.load_model(run), t.make_model()
    found.load_weights(run)
    dt.clear_session()
    path = run.parent / "m.keras"
    model.save(path)
    saved = dt.load_model(path)
    for one in (mine, found, saved):
        dt.set_random_seed(1)
        one.fit(t.X, t.Y, batch_size=8, shuffle=False, verbose=0)
    assert mine.digest() == saved.digest() == found.digest()


def test_a_step_or_a_checkpoint_may_be_chosen(trained):
    run, model = trained
    names = {info.step: info.name for info in list_checkpoints(Store(str(run)))}
    step = min(names)
    assert step < 6
    early = dt.load_model(run, step=step)
    assert early.digest() != model.digest() and early.optimizer.iterations == step
    assert dt.load_model(f"{run}/{names[step]}").digest() == early.digest()
    other = t.make_model()
    other.load_weights(run, step=step)
    assert other.digest() == early.digest()
    other.load_weights(f"{run}/checkpoints/commits/{names[6]}.json")
    assert other.digest() == model.digest()
    with pytest.raises(UsageError, match=r"no checkpoint of step 77[\s\S]*one of 6, "):
        dt.load_model(run, step=77)
    with pytest.raises(UsageError, match="is one checkpoint, and step=6"):
        dt.load_model(f"{run}/{names[6]}", step=6)


@pytest.fixture
def copied(trained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_word(copied: Path):
    path = newest(copied)
    path.write_bytes(path.read_bytes()[:-40])
    before = sorted(str(file) for file in copied.rglob("*"))
    with pytest.warns(UserWarning, match=f"passed over, {path.stem}"):
        found = dt.load_model(copied)
    names = [info.name for info in list_checkpoints(Store(str(copied)))]
    assert found.digest() == dt.load_model(f"{copied}/{names[1]}").digest()
    assert sorted(str(file) for file in copied.rglob("*")) == before  # who looks changes nothing
    with pytest.raises(CheckpointCorrupt, match=path.name):
        dt.load_model(f"{copied}/{path.stem}")


def test_a_description_with_a_changed_letter_makes_no_model(copied: Path):
    path = copied / "model" / "000000.json"
    path.write_bytes(path.read_bytes().replace(b"relu", b"gelu"))
    with pytest.raises(CheckpointCorrupt, match=r"000000\.json is damaged[\s\S]*load_weights\(RUN\)"):
        dt.load_model(copied)
    t.make_model().load_weights(copied)
    path.unlink()
    with pytest.raises(UsageError, match=r"the model of call 0 is not described: .*000000\.json is missing"):
        dt.load_model(copied)


def test_weights_of_a_run_fit_name_for_name_or_nothing_is_changed(trained):
    run, model = trained
    other = t.make_model(layers.Dense(8, name="more"))
    before = other.digest()
    with pytest.raises(ValueError, match=r"checkpoint step-.* does not fit Sequential[\s\S]*more\.kernel: not in the file"):
        other.load_weights(run)
    assert other.digest() == before
    with pytest.warns(UserWarning, match="does not fit"):
        other.load_weights(run, skip_mismatch=True)
    assert torch.equal(other.weights[0], model.weights[0])


def test_a_folder_without_a_run_and_a_run_without_a_checkpoint_are_told_apart(tmp_path: Path):
    with pytest.raises(ValueError, match=r"this is a folder[\s\S]*or a run directory"):
        dt.load_model(tmp_path)

    class Ends(dt.Callback):
        def on_train_begin(self, logs=None):
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt), t.driven(1, url=str(tmp_path / "run")):
        t.train(Ends())
    with pytest.raises(UsageError, match="has no checkpoint yet, so no weights"):
        dt.load_model(tmp_path / "run")


def test_averaged_weights_are_what_the_script_s_model_has(tmp_path: Path):
    model = t.make_model()
    model.compile(dt.optimizers.Adam(0.02, use_ema=True, ema_momentum=0.9), "sparse_categorical_crossentropy")
    with t.driven(2, url=str(tmp_path / "run")):
        t.train(model=model, epochs=2)
    plain = t.make_model()
    t.train(model=plain, epochs=2)
    assert dt.load_model(tmp_path / "run").digest() == model.digest() != plain.digest()


@dt.register("runs")
class Two(dt.Sequential):
    """Each of two optimizers has weights of its own."""

    def compile(self, first: Any, second: Any) -> None:
        super().compile(loss="sparse_categorical_crossentropy")
        self.first, self.second = first, second

    def get_compile_config(self) -> dict[str, Any]:
        return {"first": dt.optimizers.serialize(self.first), "second": dt.optimizers.serialize(self.second)}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(*(dt.optimizers.deserialize(config[name]) for name in ("first", "second")))

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        self.zero_grad()
        loss = self.compute_loss(x, y, self(x, training=True))
        loss.backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.first.apply([weight.grad for weight in weights[:2]], weights[:2])
            self.second.apply([weight.grad for weight in weights[2:]], weights[2:])
        return {"loss": loss}


def two() -> Two:
    dt.clear_session()
    dt.set_random_seed(7)
    model = Two([dt.Input((6,)), layers.Dense(8, activation="relu"), layers.Dense(3, activation="softmax")])
    model.compile(dt.optimizers.Adam(0.02), dt.optimizers.SGD(0.1, momentum=0.9))
    return model


def test_every_optimizer_of_a_step_of_the_script_s_own_goes_on_from_a_run(tmp_path: Path):
    run, model = tmp_path / "run", two()
    with t.driven(2, url=str(run)):
        model.fit(t.X, t.Y, batch_size=8, epochs=2, verbose=0)
    found, other = dt.load_model(run), two()
    other.load_weights(run)
    afresh = two()
    afresh.set_weights(model.get_weights())
    for one in (model, found, other, afresh):
        dt.set_random_seed(1)
        one.fit(t.X, t.Y, batch_size=8, shuffle=False, verbose=0)
    assert model.digest() == found.digest() == other.digest() != afresh.digest()
    assert [other.first.iterations, other.second.iterations, found.first.iterations, found.second.iterations] == [12] * 4


def test_an_optimizer_that_does_not_fit_what_a_run_kept_is_named(tmp_path: Path):
    run = tmp_path / "run"
    with t.driven(2, url=str(run)):
        two().fit(t.X, t.Y, batch_size=8, epochs=1, verbose=0)
    other = two()
    other.compile(dt.optimizers.Adam(0.02), dt.optimizers.Adam(0.1))
    with pytest.warns(UserWarning, match="the optimizer 'second' starts afresh, since the state in step-.* does not fit"):
        other.load_weights(run)
    assert other.first.iterations == 4 and other.second.iterations == 0
    plain = dt.Sequential([dt.Input((6,)), layers.Dense(8, name="dense"), layers.Dense(3, name="dense_1")])
    plain.compile("adam", "sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match="the optimizer '(first|second)' starts afresh.*: the model has none"):
        plain.load_weights(run)
    assert plain.optimizer.iterations == 0


# -- code of one's own ------------------------------------------------------------------------------------------------------------------

MODULE = """
import disttrain as dt
from disttrain import layers

class Shifted(layers.Layer):
    def build(self, input_shape):
        self.shift = self.add_weight("shift", (input_shape[-1],), "ones")

    def call(self, x):
        return x + self.shift
"""


@pytest.fixture
def with_a_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Any]:
    """A run whose model has a class of a module that is not at hand, and the module."""
    (tmp_path / "shifts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import shifts

    with t.driven(1, url=str(tmp_path / "run")):
        t.train(model=t.make_model(shifts.Shifted()), epochs=1)
    monkeypatch.delitem(sys.modules, "shifts")
    return tmp_path / "run", shifts


def test_a_class_that_is_missing_is_named_with_the_way_to_give_it(with_a_class, capsys, monkeypatch):
    run, shifts = with_a_class
    with pytest.raises(
        UsageError, match=r"the class 'Shifted', which is not known here\. It was in the module 'shifts'[\s\S]*custom_objects"
    ):
        dt.load_model(run)
    assert isinstance(dt.load_model(run, custom_objects={"Shifted": shifts.Shifted}).layers[3], shifts.Shifted)
    monkeypatch.chdir(run.parent)
    assert exported(run, "--format", "keras") == 2
    assert "--import MODULE" in capsys.readouterr().err
    for number, name in enumerate(("shifts", "shifts.py")):
        assert exported(run, "-o", f"{number}.keras", "--import", name) == 0
    assert exported(run, "--format", "safetensors") == 0  # weights need no class


class OfCode(dt.Model):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def call(self, x: Any) -> Any:
        return self.inner(x)


def test_a_model_of_code_gives_its_weights_and_says_why_not_more(tmp_path: Path):
    def make() -> OfCode:
        dt.clear_session()
        model = OfCode(layers.Dense(3, activation="softmax"))
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    model = make()
    with t.driven(1, url=str(tmp_path / "run")):
        t.train(model=model, epochs=1)
    with pytest.raises(UsageError, match=r"cannot be written down: OfCode 'of_code': [\s\S]*get_config\(\)[\s\S]*load_weights\(RUN\)"):
        dt.load_model(tmp_path / "run")
    other = make()
    other(torch.zeros(1, 6))
    other.load_weights(tmp_path / "run")
    assert other.digest() == model.digest()
    done = export_run(tmp_path / "run", "torch", tmp_path / "m.pt")
    assert done.digest == model.digest()


@dt.register("runs")
class Remembers(layers.Layer):
    def call(self, x: Any) -> Any:
        return x

    def save_own_variables(self, store: dict[str, Any]) -> None:
        store["words"] = np.ones(2)


def test_a_model_that_keeps_more_than_weights_is_not_given_without_them(tmp_path: Path, capsys):
    with t.driven(1, url=str(tmp_path / "run")):
        model = t.make_model(Remembers())
        for _ in range(2):
            t.train(model=model, epochs=1)
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "kept beside the weights" in line]  # as it begins, and once
    assert told.startswith("[disttrain] Remembers 'remembers' (words)") and "model.save()" in told
    with pytest.raises(UsageError, match=r"Remembers 'remembers' \(words\)[\s\S]*model\.save\('model\.keras'\) at the end"):
        dt.load_model(tmp_path / "run")


# -- disttrain export -------------------------------------------------------------------------------------------------------------------


def exported(*arguments: Any) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["export", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_each_format_holds_the_model_of_the_run(trained, tmp_path: Path, capsys, monkeypatch):
    run, model = trained
    monkeypatch.chdir(tmp_path)
    assert exported(run, "--format", "keras", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == "run.keras" and told["digest"] == model.digest() and told["step"] == 6 and told["checkpoint"] == newest(run).stem
    assert dt.load_model("run.keras").digest() == model.digest() and dt.load_model("run.keras").optimizer.iterations == 6
    assert exported(run, "--format", "safetensors") == 0
    assert exported(run, "--format", "torch") == 0
    for found in (safetensors.torch.load_file("run.safetensors"), torch.load("run.pt", weights_only=True)):
        assert {name: tensor.tolist() for name, tensor in found.items()} == {name: w.tolist() for name, w in model.named_weights()}
    assert "checkpoint step-" in capsys.readouterr().out
    again = t.make_model()
    again.load_state_dict(torch.load("run.pt", weights_only=True), strict=True)
    again.load_weights("run.safetensors")
    assert again.digest() == model.digest()
    assert exported(run, "-o", "m.pt2") == 0
    program = torch.export.load("m.pt2").module()
    np.testing.assert_allclose(program(torch.from_numpy(t.X[:5])).detach().numpy(), model.predict(t.X[:5], verbose=0), rtol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own, on the way
def test_onnx_computes_what_the_model_does(trained, tmp_path: Path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    run, model = trained
    assert exported(run, "-o", tmp_path / "m.onnx") == 0
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    (output,) = session.run(None, {session.get_inputs()[0].name: t.X[:5]})
    np.testing.assert_allclose(output, model.predict(t.X[:5], verbose=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("{run}",), "in which format?"),
        (("{run}", "--format", "pickle"), "expected one of keras, onnx, safetensors, torch"),
        (("{run}", "-o", "m.bin"), "in which format?"),
        (("{run}", "--format", "keras", "-o", "m.onnx"), "expected a file ending in .keras"),
        (("{run}", "--format", "torch", "--step", "5000"), "has no checkpoint of step 5000"),
        (("{run}", "-o", "there.keras"), "exists already"),
        (("{run}", "-o", "m.keras", "--import", "no_such_module"), "--import no_such_module"),
        (("nothing", "--format", "keras"), "holds no run"),
    ],
)
def test_wrong_use_is_told_in_a_few_words(trained, arguments, words, capsys, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("there.keras").write_text("mine")
    assert exported(*(str(argument).replace("{run}", str(trained[0])) for argument in arguments)) == 2
    told = capsys.readouterr().err
    assert words in told and "Traceback" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["there.keras"] and Path("there.keras").read_text() == "mine"


def test_the_weights_of_a_run_are_exported_without_its_classes_or_ray(with_a_class, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert exported(with_a_class[0], "-o", tmp_path / "w.pt") == 0
    assert "dense.kernel" in torch.load(tmp_path / "w.pt", weights_only=True)
