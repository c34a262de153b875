"""Modules of torch inside models: called by name, losses of their own, `forward` for `call`, weights out again, wrappers refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import disttrain as dt
from disttrain import layers
from disttrain.elastic.shipping import pack, unpack
from disttrain.errors import DataError, UsageError

random = np.random.default_rng(0)
X = random.normal(size=(8, 4)).astype("float32")
Y = random.integers(0, 3, 8)
CROSS = "sparse_categorical_crossentropy"


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    dt.set_random_seed(0)


class Hub(nn.Module):
    """As the models of the hub: arguments by name, a dict with the loss, a cache that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, features: Tensor, scale: Tensor | None = None, labels: Tensor | None = None) -> dict[str, Any]:
        logits = self.head(features if scale is None else features * scale)
        return {"loss": None if labels is None else F.cross_entropy(logits, labels), "logits": logits, "cache": object()}


# -- by name -----------------------------------------------------------------------------------------------------------------------------


def test_a_dict_of_its_arguments_is_given_to_a_module_by_name():
    net = Hub()
    found = dt.Sequential([net])({"features": torch.from_numpy(X), "scale": torch.full((8, 1), 2.0)})
    assert list(found) == ["logits"]
    assert torch.equal(found["logits"], net(torch.from_numpy(X) * 2)["logits"])


def test_the_loss_that_a_module_computes_from_labels_trains_it():
    nets = [Hub(), Hub()]
    nets[1].load_state_dict(nets[0].state_dict())
    model = dt.Sequential([nets[0]])
    model.compile(torch.optim.SGD(nets[0].parameters(), lr=0.1))
    data = {"features": X, "labels": Y}
    history = model.fit(data, batch_size=8, shuffle=False, verbose=0, validation_data=data).history
    loss = nets[1](torch.from_numpy(X), labels=torch.from_numpy(Y))["loss"]
    loss.backward()
    torch.optim.SGD(nets[1].parameters(), lr=0.1).step()
    assert torch.equal(nets[0].head.weight, nets[1].head.weight)
    assert history["loss"] == [pytest.approx(loss.item())] and history["val_loss"][0] < history["loss"][0]
    assert model.predict({"features": X}, verbose=0)["logits"].shape == (8, 3)


def test_a_loss_of_the_module_beside_one_of_compile_is_refused():
    model = dt.Sequential([Hub()])
    model.compile("sgd", dt.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(UsageError, match=r"Hub computes a loss itself.*compile has one too"):
        model.fit({"features": X, "labels": Y}, Y, verbose=0)
    model.fit({"features": X}, Y, verbose=0)


def test_keys_that_are_no_arguments_are_named():
    with pytest.raises(TypeError, match=r"Hub takes features, scale, labels, and the batch has idx, which it does not take"):
        dt.Sequential([Hub()])({"features": torch.from_numpy(X), "idx": torch.ones(8)})
    with pytest.raises(TypeError, match=r"and the batch has no features"):
        dt.Sequential([Hub()])({"scale": torch.ones(8)})


def test_a_dict_that_is_one_argument_stays_one():
    class Whole(nn.Module):
        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return batch["batch"]

    assert dt.Sequential([Whole()])({"batch": torch.ones(2)}).tolist() == [1, 1]


def test_a_module_that_takes_no_dict_says_what_it_was_given():
    model = dt.Sequential([nn.Linear(4, 3)])
    with pytest.raises(TypeError, match=r"Linear was called with a dict of image, label:[\s\S]*gives \(x, y\)"):
        model({"image": torch.from_numpy(X), "label": torch.from_numpy(Y)})


def test_a_dict_of_everything_is_no_batch_with_targets():
    class Picks(dt.Model):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3)

        def call(self, batch: Any) -> Tensor:
            return self.head(batch["image"])

    model = Picks()
    model.compile("sgd", nn.CrossEntropyLoss())
    with pytest.raises(DataError, match=r"y is missing[\s\S]*a dict of image, label, all of which are inputs"):
        model.fit({"image": X, "label": Y}, verbose=0)


def test_a_tuple_is_spread_over_a_module_that_needs_as_many():
    assert dt.Sequential([nn.Bilinear(4, 4, 2)])((torch.from_numpy(X), torch.from_numpy(X))).shape == (8, 2)


def test_tokens_go_into_a_module_as_the_integers_that_they_are():
    model = dt.Sequential([nn.Embedding(9, 4), nn.Flatten(), layers.Dense(3)])
    model.compile("sgd", dt.losses.SparseCategoricalCrossentropy(from_logits=True))
    tokens = random.integers(0, 9, (8, 5))
    model.fit(tokens, Y, verbose=0)
    assert model.predict(tokens, verbose=0).shape == (8, 3)


# -- forward -----------------------------------------------------------------------------------------------------------------------------


class Forward(dt.Model):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.drop = nn.Linear(4, 3), nn.Dropout(0.5)

    def forward(self, x: Tensor, times: float = 1.0) -> Tensor:
        return self.drop(self.head(x)) * times


class Shifted(Forward):
    def forward(self, x: Tensor, times: float = 1.0) -> Tensor:
        return super().forward(x, times=times) + 1


def test_forward_stands_for_call_with_all_that_surrounds_a_call():
    model = Forward()
    model.compile("sgd", dt.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, Y, verbose=0)
    again = torch.from_numpy(X)
    assert torch.equal(model(again), model.head(again))  # infers
    assert not torch.equal(model(again, training=True), model(again))
    assert torch.equal(model(again, times=2.0), model(again) * 2) and torch.equal(model.forward(again), model(again))
    assert model.built


def test_super_forward_is_the_function_of_the_class_above():
    model = Shifted()
    x = torch.from_numpy(X)
    assert torch.equal(model(x), model.head(x) + 1) and torch.equal(model(x, times=3.0), model.head(x) * 3 + 1)


def test_arguments_of_forward_are_spread_as_those_of_a_module():
    class Several(dt.Model):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.head(a - b)

    model = Several()
    model.compile("sgd", dt.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit((X, X), Y, verbose=0)
    one = model.predict((X, X * 2), verbose=0)
    assert np.array_equal(one, model.predict({"b": X * 2, "a": X}, verbose=0))


def test_forward_beside_call_is_refused():
    with pytest.raises(TypeError, match="Both defines both call and forward"):
        type("Both", (dt.Model,), {"call": lambda self, x: x, "forward": lambda self, x: x})
    with pytest.raises(TypeError, match="Over defines forward, and a class above it defines call"):
        type("Over", (layers.Dense,), {"forward": lambda self, x: x})


# -- weights in and out ------------------------------------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embed(tokens))


def test_the_plain_module_loads_its_state_strictly_tied_weights_and_all():
    model = dt.Sequential([Tied()])
    model.compile("adam", dt.losses.SparseCategoricalCrossentropy(from_logits=True))
    tokens = random.integers(0, 9, (8, 5))
    model.fit(tokens, tokens, verbose=0)
    file = io.BytesIO()
    torch.save(model.module_state_dict(), file)
    file.seek(0)
    fresh = Tied()
    fresh.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert list(fresh.state_dict()) == ["embed.weight", "head.weight"]
    assert np.array_equal(fresh(torch.from_numpy(tokens)).detach().numpy(), model.predict(tokens, verbose=0))


def test_one_of_several_modules_is_asked_for_by_name():
    model = Forward()
    with pytest.raises(ValueError, match=r"holds head, drop[\s\S]*module_state_dict\('head'\)"):
        model.module_state_dict()
    with pytest.raises(ValueError, match=r"no such module[\s\S]*head, drop"):
        model.module_state_dict("haed")
    model(torch.from_numpy(X))
    taken = model.module_state_dict("head")
    assert list(taken) == ["weight", "bias"] and taken["weight"].data_ptr() != model.head.weight.data_ptr()
    with pytest.raises(ValueError, match="holds no plain torch module"):
        dt.Sequential([layers.Dense(2)]).module_state_dict()


class StepAlone(dt.Model):
    """Trains by a step, and cannot be called."""

    def __init__(self, layer: Any = None) -> None:
        super().__init__()
        self.net = layer or nn.Linear(4, 3)
        self.opt = torch.optim.SGD(self.net.parameters(), lr=0.1) if layer is None else None

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        loss = F.cross_entropy(self.net(x), y)
        self.zero_grad()
        loss.backward()
        self.opt.step()
        return {"loss": loss}


@pytest.mark.parametrize("name", ["a.safetensors", "a.weights.h5"])
def test_a_model_with_a_step_and_no_call_is_saved_and_loaded(name: str, tmp_path: Any):
    model, other = StepAlone(), StepAlone()
    model.compile()
    other.compile()
    model.fit(X, Y, verbose=0)
    model.save_weights(tmp_path / name)
    other.load_weights(tmp_path / name)
    assert other.digest() == model.digest()


def test_a_layer_inside_that_is_not_built_has_nothing_to_save(tmp_path: Any):
    with pytest.raises(ValueError, match="has no weights yet"):
        StepAlone(layers.Dense(3)).save_weights(tmp_path / "a.safetensors")


# -- wrappers ----------------------------------------------------------------------------------------------------------------------------

WRAPPERS: dict[str, Callable[[], nn.Module]] = {
    "DataParallel": lambda: nn.DataParallel(nn.Linear(4, 3)),
    "SyncBatchNorm": lambda: nn.Sequential(nn.Linear(4, 3), nn.SyncBatchNorm(3)),
    "OptimizedModule": lambda: torch.compile(nn.Linear(4, 3)),
    "ScriptModule": lambda: torch.jit.script(nn.Linear(4, 3)),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_module_that_does_the_runtimes_work_is_refused_by_name(name: str):
    model = dt.Sequential([WRAPPERS[name]()])
    model.compile("sgd", CROSS)
    with pytest.raises(UsageError, match=rf"{name} of torch, which [\s\S]*expected  a plain module\n  try  "):
        model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal])
def test_a_module_with_parametrizations_travels_and_computes_the_same(wrap: Any):
    net = wrap(nn.Linear(4, 4))
    other = unpack(pack(net.eval()))
    assert type(other).__name__ == "ParametrizedLinear" and list(other.state_dict()) == list(net.state_dict())
    assert torch.equal(other(torch.from_numpy(X)), net(torch.from_numpy(X)))
    with pytest.raises(RuntimeError, match="state_dict"):
        other.__getstate__()
