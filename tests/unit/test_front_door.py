"""The names of `disttrain` itself: those of Keras lead to what they mean, and load when they are used."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest

import disttrain as dt
from disttrain.data.encoding import pad_sequences, to_categorical


def test_every_name_that_the_package_lists_is_there():
    assert [name for name in dt.__all__ if getattr(dt, name, None) is None] == []


@pytest.mark.parametrize("gathered", sorted(dt._GATHERED))
def test_names_gathered_as_in_keras_lead_somewhere_and_exist_there_too(gathered: str):
    here = getattr(dt, gathered)
    assert all(callable(getattr(here, name)) for name in dir(here))
    assert set(dir(here)) - {"Sequence", *dir(getattr(keras, gathered))} == set()
    theirs = {name for name in dir(getattr(keras, gathered)) if not name.startswith("_")}
    for name in theirs - set(dir(here)):
        if gathered != "saving":
            with pytest.raises(AttributeError, match=rf"{gathered}'?.*{name}.*\n  try  "):
                getattr(here, name)
    with pytest.raises(AttributeError, match=f"disttrain.{gathered}.*no attribute 'nothing'"):
        _ = here.nothing


def test_names_may_be_imported_from_gathered_modules_without_loading_torch():
    script = "import sys, disttrain, disttrain.utils, disttrain.saving; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
    from disttrain.saving import register_keras_serializable
    from disttrain.utils import set_random_seed

    assert register_keras_serializable is dt.register and set_random_seed is dt.set_random_seed


def test_the_driver_starts_its_cluster_before_it_has_loaded_torch():
    script = "import sys, disttrain.clusters.ray.cluster, disttrain.clusters.ray.instance; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_labels_become_one_hot_rows():
    assert to_categorical([0, 2]).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert to_categorical([[0], [1]], 3).shape == (2, 3)
    assert to_categorical([[0, 1], [1, 1]]).shape == (2, 2, 2)


@pytest.mark.parametrize(
    ("labels", "message"), [([0, 3], "labels from 0 to 3, expected 0 to 2"), ([-1], "from -1"), ([0.5], "expected integers")]
)
def test_labels_that_are_no_classes_are_refused(labels: list[float], message: str):
    with pytest.raises(ValueError, match=message):
        to_categorical(labels, 3)


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("truncating", ["pre", "post"])
@pytest.mark.parametrize("maxlen", [None, 0, 1, 2, 5])
def test_sequences_are_padded_as_keras_pads_them(padding: str, truncating: str, maxlen: int | None):
    for sequences in ([[1], [2, 3], [4, 5, 6], []], [[[1.5, 2.0]], [[3.0, 4.0], [5.0, 6.0]]]):
        options = {"maxlen": maxlen, "padding": padding, "truncating": truncating, "value": 9, "dtype": "float32"}
        if maxlen == 0:  # Keras's way of cutting, s[-0:], keeps all there
            assert pad_sequences(sequences, **options).shape[1] == 0
            continue
        assert np.array_equal(pad_sequences(sequences, **options), keras.utils.pad_sequences(sequences, **options))


def test_sequences_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"sequences\[1\] is 3"):
        pad_sequences([[1], 3])
    with pytest.raises(ValueError, match=r"steps of sequences\[1\] have shape \(2,\), those before \(\)"):
        pad_sequences([[1], [[1, 2]]])
    with pytest.raises(ValueError, match=r"padding='left'\): expected 'pre' or 'post'"):
        pad_sequences([[1]], padding="left")


@pytest.mark.parametrize(
    ("module", "thing"),
    [
        (dt.activations, dt.activations.relu),
        (dt.constraints, dt.constraints.MaxNorm(3.0)),
        (dt.initializers, dt.initializers.HeNormal()),
        (dt.losses, dt.losses.Huber(2.0)),
        (dt.regularizers, dt.regularizers.L2(0.1)),
    ],
)
def test_what_serialize_gives_deserialize_makes_again(module: Any, thing: Any):
    made = module.deserialize(module.serialize(thing))
    assert made is thing or (type(made) is type(thing) and made.get_config() == thing.get_config())


def test_a_layer_inside_a_layer_may_be_kept_in_a_config_as_keras_tells():
    class Outer(dt.Layer):
        def __init__(self, inner: Any, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.inner = inner

        def call(self, inputs: Any) -> Any:
            return self.inner(inputs)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "inner": dt.saving.serialize_keras_object(self.inner)}

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return cls(**{**config, "inner": dt.saving.deserialize_keras_object(config["inner"])})

    x = dt.Input((3,))
    model = dt.Model(x, Outer(dt.layers.Dense(2))(x))
    with dt.saving.custom_object_scope({"Outer": Outer}):
        twin = dt.models.model_from_json(model.to_json())
    assert twin.output_shape == (None, 2) and Outer.from_config(model.layers[1].get_config()).inner.units == 2
