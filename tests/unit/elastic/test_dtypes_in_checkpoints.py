"""Weights and buffers of every dtype that torch computes with: trained on workers, kept in checkpoints, gone on from, exported."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
import torch
from thread_runs import AtEpoch, Run, V, X, Y, driven

import disttrain as dt
from disttrain import layers
from disttrain.checkpoint import Store, load, read_history
from disttrain.checkpoint.arrays import DTYPES
from disttrain.errors import UsageError
from disttrain.host_numbers import bytes_of, plain, readable, tensor_of
from disttrain.models.saving.run_export import export_run
from disttrain.training.local import runner
from disttrain.training.step.named_arrays import DTYPE_NAMES, as_tensor, dtype_name, named_array

pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support")


def _values(dtype: torch.dtype, shape: tuple[int, ...] = (3, 2)) -> torch.Tensor:
    """Bit patterns that arithmetic by way of another dtype would not keep."""
    size = int(np.prod(shape))
    if not size:
        return torch.empty(shape, dtype=dtype)
    pattern = np.random.default_rng(5).integers(1, 60, size * dtype.itemsize, dtype=np.uint8)
    if dtype is torch.bool:
        pattern %= 2
    return torch.from_numpy(pattern).view(dtype).reshape(shape).clone()


def _bits(tensor: torch.Tensor) -> bytes:
    return bytes_of(tensor).numpy().tobytes()


class OfAll(torch.nn.Module):
    """A buffer of each dtype; those of floating point are used."""

    def __init__(self) -> None:
        super().__init__()
        for dtype, name in DTYPE_NAMES.items():
            self.register_buffer(name, _values(dtype))
        self.register_buffer("conjugate", torch.tensor([1.5 + 0.25j, -2.0 - 1j]).conj())
        self.register_buffer("nothing", torch.empty(0, 4, dtype=torch.complex64))
        self.register_buffer("scalar", torch.tensor(0.5 - 3j))
        self.register_buffer("tied", self.C64)
        self.register_buffer("moving", torch.zeros(2, dtype=torch.complex64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.moving += torch.complex(x.detach().mean(), x.detach().std())
        return x + self.C64.real.mean().nan_to_num() * 0


def _model() -> dt.Sequential:
    dt.clear_session()
    dt.set_random_seed(3)
    model = dt.Sequential([dt.Input((6,)), OfAll(), layers.Dense(3, activation="softmax")])
    model.compile(dt.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    return model


def _train(model: dt.Sequential, callbacks: list[dt.Callback] | None = None) -> dict[str, bytes]:
    model.fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=callbacks)
    return {name: _bits(tensor.detach()) for name, tensor in model.named_weights()}


@pytest.fixture(scope="module")
def alone() -> dict[str, bytes]:
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        return _train(_model())


def test_every_dtype_of_a_checkpoint_is_one_of_torch_and_every_one_of_torch_comes_back():
    assert set(DTYPE_NAMES.values()) == set(DTYPES)
    for dtype in DTYPE_NAMES:
        for shape in ((3, 2), (), (0, 4)):
            tensor = _values(dtype, shape)
            back = as_tensor(named_array(tensor))
            assert (back.dtype, back.shape, _bits(back)) == (tensor.dtype, tensor.shape, _bits(tensor))


def test_a_dtype_that_torch_does_not_compute_with_is_refused_by_name():
    with pytest.raises(ValueError, match=r"torch\.bits8 cannot be kept in a checkpoint"):
        dtype_name(torch.bits8)


@pytest.mark.parametrize("dtype", list(DTYPE_NAMES), ids=str)
def test_an_array_of_the_host_carries_each_dtype_bit_for_bit(dtype):
    for tensor in (_values(dtype), _values(dtype, ()), _values(dtype, (0, 4)), _values(dtype, (4, 3)).T):
        array = plain(tensor)
        for kept in (array, array.copy()):
            back = tensor_of(kept)
            assert (back.dtype, back.shape, _bits(back)) == (dtype, tensor.shape, _bits(tensor))
    assert readable(_values(dtype)).dtype.kind in "biufc"


def test_buffers_of_every_dtype_train_on_workers_as_in_one_process(alone):
    before = {name: _bits(tensor) for name, tensor in OfAll().named_buffers()}
    for workers in (1, 3):
        with driven(workers):
            found = _train(_model())
        assert found == alone
    kept = {name: alone[f"of_all.module.{name}"] for name in before if f"of_all.module.{name}" in alone}
    assert {name for name in kept if kept[name] != before[name]} == {"moving"}, "training changed a buffer that it does not write"
    assert np.frombuffer(alone["of_all.module.moving"], np.complex64).imag.all(), "the imaginary half was dropped"


def test_a_run_goes_on_from_a_checkpoint_of_every_dtype_and_exports_it(alone, tmp_path):
    url = f"{tmp_path}/{uuid.uuid4().hex}"

    def fail() -> None:
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"), driven(2, url=url):
        _train(_model(), [AtEpoch(1, fail)])
    with Run(3, url=url) as run:
        assert _train(_model()) == alone
        assert run.resume is None or run.resume.tick > 0
    arrays = load(Store(url), read_history(Store(url))[0], prefix="model/").arrays
    assert {array.dtype for array in arrays.values()} == set(DTYPES)
    # what others read: a state_dict, and, of the dtypes that the format knows, safetensors
    export_run(url, file=str(tmp_path / "out.pt"))
    state = torch.load(tmp_path / "out.pt", weights_only=True)
    assert {name: _bits(tensor) for name, tensor in state.items()} == {name: alone[name] for name in state}
    with pytest.raises(UsageError, match=r"'of_all.module.C(32|128)': the format has no complex(32|128)"):
        export_run(url, file=str(tmp_path / "out.safetensors"))


def test_files_of_weights_hold_every_dtype_that_their_format_has(tmp_path):
    model = _model()
    expected = {name: _bits(tensor.detach()) for name, tensor in model.named_weights()}
    model.save_weights(tmp_path / "all.weights.h5")
    other = _model()
    with torch.no_grad():
        for _, tensor in other.named_weights():
            tensor.zero_()
    other.load_weights(tmp_path / "all.weights.h5")
    assert {name: _bits(tensor.detach()) for name, tensor in other.named_weights()} == expected


def test_a_callback_sees_and_sets_weights_of_every_dtype():
    class Look(dt.Callback):
        def on_epoch_end(self, epoch, logs=None):
            weights = dict(self.model.named_weights())
            weights["of_all.module.U64"].fill_(2**63 + epoch)
            weights["of_all.module.F8_E4M3"].copy_(torch.full((3, 2), 0.5 * (epoch + 1)))

    with driven(2):
        found = _train(_model(), [Look()])
    assert np.frombuffer(found["of_all.module.U64"], np.uint64).tolist() == [2**63 + 2] * 6
    assert torch.frombuffer(bytearray(found["of_all.module.F8_E4M3"]), dtype=torch.float8_e4m3fn).float().unique().tolist() == [1.5]
