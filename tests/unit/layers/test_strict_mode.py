"""What layers compute on GPUs while training is deterministic: the table is whole, shown, and true of every case."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fake_gpu_runs import outcomes_of
from layer_case import all_cases

from disttrain import activations, layers, philox
from disttrain.layers import fixed_order
from disttrain.layers.context import CallContext, call_context
from disttrain.layers.strict_mode import ON_THE_HOST, STRICT_MODE, as_markdown
from disttrain.layers.structure import flatten, map_structure
from disttrain.running_sums import running_product, running_sum
from disttrain.seeds import set_random_seed

ROOT = Path(__file__).resolve().parents[3]


def test_the_table_has_every_layer_and_the_page_shows_it():
    public = {name for name in layers.__all__ if inspect.isclass(getattr(layers, name)) and name not in ("Layer", "InputSpec")}
    assert set(STRICT_MODE) == public
    assert as_markdown() in (ROOT / "docs" / "determinism.md").read_text()


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    """What became of every case on the fake GPU."""
    return outcomes_of("layers")


@pytest.mark.parametrize("case", sorted(all_cases()))
def test_a_layer_uses_no_operation_that_torch_refuses_and_leaves_nothing_on_the_cpu(case: str, outcomes: dict[str, dict[str, Any]]):
    found = outcomes[case]
    if STRICT_MODE.get(case.split(",")[0], ("", ""))[0] == ON_THE_HOST:
        assert ".numpy() is not supported" in found["error"]  # that is where it takes its inputs: the fake has no values
        return
    assert found["error"] is None and found["refused"] == []
    assert found["waits"] == []
    assert case.split(",")[0] in STRICT_MODE or case.split(",")[0] not in layers.__all__


SIZES = [((2, 3, 9), (4,)), ((2, 3, 7, 10), (3, 5)), ((1, 2, 5, 6, 7), (2, 6, 3)), ((2, 3, 4, 4), (1, 1)), ((2, 3, 2, 3), (4, 6))]


@pytest.mark.parametrize(("shape", "target"), SIZES)
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_adaptive_pooling_in_a_fixed_order_is_that_of_torch(shape: tuple[int, ...], target: tuple[int, ...], kind: str):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ours = fixed_order.adaptive_mean if kind == "avg" else fixed_order.adaptive_max
    _same(lambda t: ours(t, target), lambda t: getattr(F, f"adaptive_{kind}_pool{len(target)}d")(t, target), x)


@pytest.mark.parametrize(
    "options",
    [
        {"window": (2, 2, 2), "strides": (2, 2, 2)},
        {"window": (3, 2, 4), "strides": (1, 2, 3)},
        {"window": (3, 3, 3), "strides": (2, 2, 2), "padding": (1, 1, 1), "ceil_mode": True, "count_include_pad": False},
        {"window": (2, 3, 2), "strides": (1, 2, 2), "padding": (1, 1, 0), "ceil_mode": True, "count_include_pad": False},
    ],
)
def test_means_of_volumes_in_a_fixed_order_are_those_of_torch(options: dict[str, Any]):
    x = torch.randn((2, 3, 5, 6, 7), generator=torch.Generator().manual_seed(0))
    window, strides, *_ = options["window"], options["strides"]
    rest = {name: value for name, value in options.items() if name not in ("window", "strides")}
    _same(lambda t: fixed_order.mean_of_volumes(t, window, strides, **rest), lambda t: F.avg_pool3d(t, window, strides, **rest), x)


@pytest.mark.parametrize("target", [(3, 4), (14, 20), (7, 10), (1, 30)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_stretched_by_products_are_those_of_torch(target: tuple[int, int], interpolation: str):
    x = torch.randn((2, 3, 7, 10), generator=torch.Generator().manual_seed(0))
    if interpolation == "bicubic" and (target[0] < 7 or target[1] < 10):
        target = (14, 20)  # where torch's antialias makes no difference
    options: dict[str, Any] = {"mode": interpolation, "align_corners": False, "antialias": interpolation == "bicubic"}
    _same(lambda t: fixed_order.interpolated(t, *target, interpolation), lambda t: F.interpolate(t, target, **options), x)


def _same(ours: Any, theirs: Any, x: torch.Tensor) -> None:
    first, second = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = ours(first), theirs(second)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(first.grad, second.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 200])
def test_sums_and_products_by_doubling_steps_are_the_running_ones(size: int, monkeypatch: pytest.MonkeyPatch):
    class Elsewhere:
        type = "elsewhere"

    x = torch.randint(0, 9, (3, size, 2), generator=torch.Generator().manual_seed(0)).double()
    signs = 1.0 - 2.0 * (x % 2)
    expected, product = x.cumsum(1), signs.cumprod(1)
    monkeypatch.setattr(torch.Tensor, "device", Elsewhere())
    assert running_sum(x, 1).equal(expected) and running_product(signs, 1).equal(product)


def test_sparsemax_gives_the_same_by_either_sum(monkeypatch: pytest.MonkeyPatch):
    x = torch.randn((4, 9), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = activations.sparsemax(x)
    monkeypatch.setattr(activations, "running_sum", lambda t, axis: torch.stack([t[..., : i + 1].sum(-1) for i in range(9)], -1))
    torch.testing.assert_close(activations.sparsemax(x), expected)


@pytest.mark.parametrize("case", [name for name, case in all_cases().items() if case.drawn])
def test_a_layer_draws_the_same_wherever_its_words_are_computed(case: str, monkeypatch: pytest.MonkeyPatch):
    chosen = all_cases()[case]

    def drawn() -> list[torch.Tensor]:
        layers.clear_session()
        layer = chosen.make(layers)
        given = map_structure(torch.as_tensor, chosen.inputs)
        with call_context(CallContext(training=True, key=7)):
            outputs = layer(*given, **(chosen.call or {})) if chosen.spread else layer(given, **(chosen.call or {}))
        return [leaf.detach() for leaf in flatten(outputs)]

    with fixed_weights():
        expected = drawn()
    monkeypatch.setattr(philox, "words", philox.in_whole_numbers)
    with fixed_weights():
        assert all(torch.equal(a, b) for a, b in zip(expected, drawn(), strict=True))


@contextmanager
def fixed_weights() -> Iterator[None]:
    """The same initial weights for the layers made inside."""
    set_random_seed(3)
    yield
