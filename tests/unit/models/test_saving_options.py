"""What `save`, `save_weights`, `load_model`, `load_weights` and `export` are called with in code for Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import disttrain as dt
from disttrain import layers as L
from disttrain.models import Input, Model, Sequential, load_model
from disttrain.models.saving import register


def small() -> Sequential:
    model = Sequential([Input((2,)), L.Dense(2, name="a")])
    model.compile("adam", "mse")
    return model


def test_the_names_of_keras_s_arguments_are_known(tmp_path: Path):
    model = small()
    model.save(filepath=tmp_path / "m.keras", overwrite=True, zipped=True)
    dt.models.save_model(model, filepath=tmp_path / "m.keras")
    assert load_model(filepath=tmp_path / "m.keras", compile=False).digest() == model.digest()
    model.save_weights(filepath=tmp_path / "m.weights.h5", overwrite=True, max_shard_size=None)
    model.load_weights(filepath=tmp_path / "m.weights.h5", skip_mismatch=False)


def test_a_folder_holds_what_the_zip_does(tmp_path: Path):
    model = small()
    model.save(tmp_path / "m", zipped=False)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["config.json", "metadata.json", "model.weights.h5"]
    assert load_model(tmp_path / "m").digest() == model.digest()
    model.save("memory://folders/m", zipped=False)
    assert load_model("memory://folders/m").digest() == model.digest()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(tmp_path / "m", overwrite=False, zipped=False)


def test_the_optimizer_s_state_may_be_left_out(tmp_path: Path):
    model = small()
    model.fit(torch.ones(4, 2), torch.ones(4, 2), verbose=0)
    model.save(tmp_path / "m.keras", include_optimizer=False)
    assert load_model(tmp_path / "m.keras").optimizer.iterations == 0
    model.save(tmp_path / "m.keras")
    assert load_model(tmp_path / "m.keras").optimizer.iterations == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, p: m.save(p / "m", save_format="tf"), "`save_format` argument is deprecated in Keras 3"),
        (lambda m, p: m.save(p / "m.keras", nonsense=1), r"not supported: \['nonsense'\]"),
        (lambda m, p: m.save_weights(p / "m.weights.h5", max_shard_size=1), "max_shard_size=1.* is not here"),
        (lambda m, p: m.load_weights(p / "m.keras", step=3), "step=3: .* is no run directory"),
        (lambda m, p: load_model(p / "m.keras", step=3), "step=3: .* is no run directory"),
    ],
)
def test_what_is_not_here_is_refused_in_words(call: Any, message: str, tmp_path: Path):
    model = small()
    model.save(tmp_path / "m.keras", save_format="keras")
    with pytest.raises(ValueError, match=message):
        call(model, tmp_path)


@register("options")
class Scaled(Model):
    """Is compiled with an argument of its own."""

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.inner, self.penalty = width, L.Dense(width), 0.0

    def call(self, x: Any) -> Any:
        return self.inner(x)

    def compile(self, optimizer: Any, penalty: float, helper: Any = None) -> None:  # type: ignore[override]
        super().compile(optimizer, "mse")
        self.penalty, self.helper = penalty, helper

    def get_compile_config(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer, "penalty": self.penalty, "helper": dt.losses.Huber(2.0)}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        made = dt.saving.deserialize_keras_object(config)
        self.compile(made["optimizer"], made["penalty"], made["helper"])


def test_a_class_that_says_how_it_is_compiled_is_asked(tmp_path: Path):
    model = Scaled(2)
    model.compile(dt.optimizers.Adam(0.25), penalty=3.0)
    model.fit(torch.ones(4, 2), torch.ones(4, 2), verbose=0)
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    assert again.compiled and again.penalty == 3.0 and float(again.optimizer.learning_rate) == 0.25
    assert isinstance(again.helper, dt.losses.Huber) and again.helper.get_config()["delta"] == 2.0
    assert again.optimizer.iterations == 1 and again.digest() == model.digest()
    assert not load_model(tmp_path / "m.keras", compile=False).compiled


@register("options")
class Renamed(L.Layer):
    def __init__(this, factor: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        this.factor = factor

    def call(this, x: Any) -> Any:
        return this.factor * x


def test_the_object_may_have_another_name_than_self(tmp_path: Path):
    Sequential([Input((2,)), Renamed(3.0)]).save(tmp_path / "m.keras")
    assert load_model(tmp_path / "m.keras")(torch.ones(1, 2)).tolist() == [[3.0, 3.0]]


def test_objects_of_every_kind_come_back_from_their_configs():
    things = {
        "rate": dt.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5),
        "list": [dt.losses.Huber(2.0), dt.metrics.BinaryAccuracy(threshold=0.25)],
        "layer": L.Dense(3, name="d"),
        "start": dt.initializers.Constant(4.0),
        "plain": {"a": 1},
    }
    made = dt.saving.deserialize_keras_object(dt.saving.serialize_keras_object(things))
    assert type(made["rate"]) is dt.optimizers.schedules.ExponentialDecay and made["plain"] == {"a": 1}
    assert [type(item).__name__ for item in made["list"]] == ["Huber", "BinaryAccuracy"]
    assert isinstance(made["layer"], L.Dense) and made["layer"].units == 3 and isinstance(made["start"], dt.initializers.Constant)
    written = dt.saving.serialize_keras_object(L.Activation(_tripled))
    made = dt.saving.deserialize_keras_object(written, custom_objects={"_tripled": _tripled})
    assert made.activation is _tripled


def _tripled(x: Any) -> Any:
    return 3 * x


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"class_name": "Dense", "module": "keras.layers", "config": [1]}, TypeError, "Expected 'config' to be a dict"),
        ({"class_name": "function", "config": ["relu"]}, TypeError, "Expected 'config' to be a non-null str"),
        ({"class_name": "Nobody", "module": "my.code", "config": {}}, TypeError, "Could not locate class 'Nobody'"),
        (
            {"class_name": "Dense", "module": "keras.layers", "config": {"units": 1}, "registered_name": "os.system"},
            ValueError,
            "resolved to a Keras built-in",
        ),
        ({"class_name": "Sequential", "module": "keras", "config": {"name": "s", "layers": [{}]}}, ValueError, "a 'config' key"),
    ],
)
def test_a_config_that_is_none_is_refused(config, error, message):
    with pytest.raises(error, match=message):
        dt.saving.deserialize_keras_object(config)


def test_a_sequential_comes_back_from_its_config():
    model = dt.Sequential([dt.Input((3,)), dt.layers.Dense(2)], name="small")
    again = dt.saving.deserialize_keras_object(dt.saving.serialize_keras_object(model))
    assert isinstance(again, dt.Sequential) and again.get_config() == model.get_config()
