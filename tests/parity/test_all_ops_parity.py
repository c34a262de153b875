"""Every name of `keras.ops` that is here, on arrays of NumPy: the same numbers, shapes and dtypes. What is not here is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from ops_cases import CASES as BEFORE

import disttrain as dt
from disttrain.layers import ops
from disttrain.layers.ops.bounds import check_bounds

R = np.random.default_rng(5)
X = R.uniform(0.2, 0.9, (2, 3, 4)).astype("float32")
M = R.standard_normal((2, 3, 3)).astype("float32")
SPD = (M @ M.transpose(0, 2, 1) + 3 * np.eye(3)).astype("float32")
B = R.standard_normal((2, 3, 2)).astype("float32")
INTS = np.array([[6, 4, 9], [12, 3, 8]], dtype="int32")
J = np.array([[4, 6, 3], [8, 9, 12]], dtype="int32")
NAN = np.where(X > 0.7, np.nan, X).astype("float32")
V, W = R.standard_normal(7).astype("float32"), R.standard_normal(3).astype("float32")
IMG = R.uniform(0, 1, (2, 6, 5, 4)).astype("float32")
RGB = R.uniform(0, 1, (2, 4, 5, 3)).astype("float32")
SEQ = R.standard_normal((2, 9, 4)).astype("float32")
Q, K = R.standard_normal((2, 5, 4, 3)).astype("float32"), R.standard_normal((2, 6, 2, 3)).astype("float32")
SOUND = R.standard_normal((2, 64)).astype("float32")
ONE_HOT = np.eye(4, dtype="float32")[[[0, 1, 3], [2, 2, 1]]]
P = R.dirichlet(np.ones(4), (2, 3)).astype("float32")

Case = Callable[[Any], Any]
# fmt: off
UNARY = [
    "angle", "arcsinh", "arctanh", "cbrt", "conj", "conjugate", "copy", "deg2rad", "rad2deg", "erfc", "erfinv", "fabs", "i0", "imag",
    "real", "isneginf", "isposinf", "isreal", "signbit", "sinc", "trunc", "fliplr", "flipud", "ptp", "nansum", "nanmean", "nanvar",
    "nanstd", "nanprod", "nanmax", "nanmin", "nanargmax", "nanargmin", "nancumsum", "nancumprod", "median", "nanmedian", "empty_like",
    "diff", "trapezoid", "sparsemax", "sparse_plus", "sparse_sigmoid", "squareplus", "hard_shrink", "soft_shrink",
    "layer_normalization", "rms_normalization", "average", "hard_swish",
]
# fmt: on
# Symbolic too: what stands for inputs there is the first argument, `x`; these take it alone.
OF_X: dict[str, Callable[[Any, Any], Any]] = {
    **{name: lambda o, x, n=name: getattr(o, n)(x) for name in UNARY},
    "arccosh": lambda o, x: o.arccosh(x + 1),
    "append": lambda o, x: o.append(x, x * 2, axis=1),
    "average, weights": lambda o, x: o.average(x, axis=1, weights=x * 2),
    "median, axis": lambda o, x: o.median(x, axis=(1, 2), keepdims=True),
    "quantile": lambda o, x: o.quantile(x, 0.3, axis=1),
    "quantile, several": lambda o, x: o.quantile(x, np.array([0.1, 0.75], "float32"), axis=-1, method="lower"),
    "nanquantile": lambda o, x: o.nanquantile(x, 0.3, axis=1),
    "percentile": lambda o, x: o.percentile(x, 30, axis=2, method="nearest"),
    "nanpercentile": lambda o, x: o.nanpercentile(x, 30, axis=2),
    "moments": lambda o, x: o.moments(x, axes=[0, 1])[1],
    "rot90": lambda o, x: o.rot90(x, 1, axes=(1, 2)),
    "trace": lambda o, x: o.trace(x, axis1=1, axis2=2),
    "diagonal": lambda o, x: o.diagonal(x, 1, axis1=1, axis2=2),
    "full_like": lambda o, x: o.full_like(x, 2.5),
    "hstack": lambda o, x: o.hstack([x, x]),
    "vstack": lambda o, x: o.vstack([x, x]),
    "dstack": lambda o, x: o.dstack([x, x]),
    "hsplit": lambda o, x: o.hsplit(x, 3)[1],
    "dsplit": lambda o, x: o.dsplit(x, 2)[1],
    "array_split": lambda o, x: o.array_split(x, 3, axis=2)[0],
    "heaviside": lambda o, x: o.heaviside(x - 0.5, x),
    "hypot": lambda o, x: o.hypot(x, x * 2),
    "fmax": lambda o, x: o.fmax(x, 1 - x),
    "fmin": lambda o, x: o.fmin(x, 1 - x),
    "fmod": lambda o, x: o.fmod(x * 5, x),
    "ldexp": lambda o, x: o.ldexp(x, np.array([1, 2, -1, 3], "int32")),
    "logaddexp2": lambda o, x: o.logaddexp2(x, 2 * x),
    "nextafter": lambda o, x: o.nextafter(x, x + 1),
    "isclose": lambda o, x: o.isclose(x, x + 1e-6),
    "digitize": lambda o, x: o.digitize(x, np.array([0.3, 0.5, 0.8], "float32")),
    "saturate_cast": lambda o, x: o.saturate_cast(x * 400, "uint8"),
    "argpartition": lambda o, x: o.argpartition(x, 2, axis=-1) * 0,
    "threshold": lambda o, x: o.threshold(x, 0.5, 0.1),
    "inner": lambda o, x: o.inner(x, np.array([1.0, 2.0, 3.0, 4.0], "float32")),
    "cross": lambda o, x: o.cross(x[..., :3], x[..., 1:], axis=-1),
    "rfft": lambda o, x: o.rfft(x)[1],
    "extract_sequences": lambda o, x: o.extract_sequences(x, 2, 1),
    "batch_normalization": lambda o, x: o.batch_normalization(
        x, np.full(4, 0.4, "float32"), np.full(4, 0.3, "float32"), -1, np.ones(4, "float32"), np.full(4, 2.0, "float32")
    ),
    "layer_normalization, gamma": lambda o, x: o.layer_normalization(x, np.full(4, 2.0, "float32"), np.ones(4, "float32")),
    "rms_normalization, scale": lambda o, x: o.rms_normalization(x, np.full(4, 2.0, "float32")),
    "slice": lambda o, x: o.slice(x, [0, 1, 1], [2, 2, 3]),
    "slice_update": lambda o, x: o.slice_update(x, [0, 1, 1], np.ones((2, 2, 3), "float32")),
    "scatter_update": lambda o, x: o.scatter_update(x, [[0, 1], [1, 2]], np.ones((2, 4), "float32")),
    "isin": lambda o, x: o.isin(x, np.array([0.5], "float32")),
    "cdist": lambda o, x: o.cdist(x, x + 1),
    "max_pool": lambda o, x: o.max_pool(x, 2, padding="same"),
    "average_pool": lambda o, x: o.average_pool(x, 2),
    "conv": lambda o, x: o.conv(x, np.ones((2, 4, 3), "float32"), padding="same"),
    "binary_crossentropy": lambda o, x: o.binary_crossentropy(x * 0 + 1, x),
    "categorical_crossentropy": lambda o, x: o.categorical_crossentropy(x, x),
    "sparse_categorical_crossentropy": lambda o, x: o.sparse_categorical_crossentropy(o.cast(x[..., 0] * 0, "int32"), x),
    "psnr": lambda o, x: o.psnr(x, x * 0.9, 1.0),
    "view": lambda o, x: o.view(x, "int32"),
    "unravel_index": lambda o, x: o.unravel_index(o.cast(x * 10, "int32"), (3, 4))[0],
}
ON_ARRAYS: dict[str, Case] = {
    **{f"{name}, NaN": lambda o, n=name: getattr(o, n)(NAN, axis=1) for name in UNARY if name.startswith("nan")},
    **{name: lambda o, n=name: getattr(o, n)(INTS, J) for name in
       ["bitwise_and", "bitwise_or", "bitwise_xor", "gcd", "lcm"]},
    **{name: lambda o, n=name: getattr(o, n)(INTS, 2) for name in
       ["left_shift", "right_shift", "bitwise_left_shift", "bitwise_right_shift"]},
    **{name: lambda o, n=name: getattr(o, n)(INTS) for name in ["bitwise_not", "bitwise_invert"]},
    **{name: lambda o, n=name: getattr(o, n)(7) for name in ["bartlett", "blackman", "hamming", "hanning"]},
    "kaiser": lambda o: o.kaiser(7, 3.0),
    "allclose": lambda o: o.allclose(X, X + 1e-9),
    "array": lambda o: o.array([1, 2, 3]),
    "associative_scan": lambda o: o.associative_scan(lambda a, b: a + b, X, axis=1),
    "associative_scan, reverse": lambda o: o.associative_scan(lambda a, b: a * b, X, reverse=True),
    "bincount": lambda o: o.bincount(np.array([1, 1, 3], "int32"), minlength=6),
    "bincount, weights": lambda o: o.bincount(np.array([1, 1, 3], "int32"), weights=np.array([0.5, 1, 2], "float32")),
    "cholesky": lambda o: o.cholesky(SPD),
    "cholesky_inverse": lambda o: o.cholesky_inverse(np.linalg.cholesky(SPD)),
    "cond": lambda o: o.cond(o.convert_to_tensor(True), lambda: o.add(X, 1), lambda: o.add(X, 2)),
    "conv, two axes": lambda o: o.conv(IMG, np.full((3, 2, 4, 5), 0.1, "float32"), strides=2, padding="same"),
    "conv, groups": lambda o: o.conv(IMG, np.full((2, 2, 2, 6), 0.1, "float32"), dilation_rate=2),
    **{
        f"conv_transpose, {padding}, {strides}, {window}, {extra}": lambda o, p=padding, s=strides, w=window, e=extra: o.conv_transpose(
            SEQ, KERNELS[w], strides=s, padding=p, output_padding=e
        )
        for padding in ("valid", "same") for strides in (1, 2, 3) for window in (1, 2, 3, 4) for extra in (None, 0, 1)
        if extra is None or extra < strides
    },
    "corrcoef": lambda o: o.corrcoef(X[0]),
    "correlate": lambda o: o.correlate(V, W, mode="valid"),
    "correlate, same": lambda o: o.correlate(V, W, mode="same"),
    "correlate, full": lambda o: o.correlate(V, W, mode="full"),
    "ctc_loss": lambda o: o.ctc_loss(np.array([[1, 2], [2, 1]], "int32"), SEQ, np.array([2, 1], "int32"), np.array([9, 8], "int32")),
    "depth_to_space": lambda o: o.depth_to_space(IMG, 2),
    "depthwise_conv": lambda o: o.depthwise_conv(IMG, np.full((3, 3, 4, 2), 0.1, "float32"), padding="same"),
    "det": lambda o: o.det(SPD),
    "diag": lambda o: o.diag(V, 1),
    "diagflat": lambda o: o.diagflat(X[0], -1),
    "dot_product_attention": lambda o: o.dot_product_attention(Q, K, K),
    "dot_product_attention, causal": lambda o: o.dot_product_attention(Q, Q, Q, is_causal=True, scale=0.3),
    "dot_product_attention, mask": lambda o: o.dot_product_attention(Q, Q, Q, mask=np.tri(5, dtype=bool)[None, None]),
    "dot_product_attention, bias": lambda o: o.dot_product_attention(Q, Q, Q, bias=np.tri(5, dtype="float32")[None, None]),
    "eigh": lambda o: o.eigh(SPD)[0],
    "eig": lambda o: o.abs(o.sum(o.eig(SPD)[0])),
    "empty": lambda o: o.shape(o.empty((2, 3))),
    "fft": lambda o: o.fft((X, X * 0))[1],
    "fft2": lambda o: o.fft2((X, X * 2))[0],
    "ifft2": lambda o: o.ifft2((X, X * 2))[1],
    "irfft": lambda o: o.irfft((X, X * 2)),
    "fold": lambda o: o.fold(o.unfold(o.convert_to_tensor(IMG.transpose(0, 3, 1, 2)), 2), (6, 5), 2),
    "unfold": lambda o: o.unfold(o.convert_to_tensor(IMG.transpose(0, 3, 1, 2)), 2, stride=2),
    "fori_loop": lambda o: o.fori_loop(0, 4, lambda i, x: x + i, o.convert_to_tensor(X)),
    "geomspace": lambda o: o.geomspace(1.0, 100.0, 5),
    "logspace": lambda o: o.logspace(0.0, 2.0, 5, endpoint=False),
    "histogram": lambda o: o.histogram(V, 5)[0],
    "histogram, edges": lambda o: o.histogram(V, 4, range=(0.0, 1.0))[1],
    "identity": lambda o: o.identity(3),
    "in_top_k": lambda o: o.in_top_k(np.array([1, 3], "int32"), X[:, 0], 2),
    "inv": lambda o: o.inv(SPD),
    "isin, inverted": lambda o: o.isin(INTS, J, invert=True),
    "istft": lambda o: o.istft(o.stft(SOUND, 16, 4, 16), 16, 4, 16),
    "jvp": lambda o: o.jvp(lambda x: x * x, (o.convert_to_tensor(X),), (o.convert_to_tensor(X * 2),))[1],
    "kron": lambda o: o.kron(X[0], M[0]),
    "logdet": lambda o: o.logdet(SPD),
    "lstsq": lambda o: o.lstsq(SPD, B),
    "lu_factor": lambda o: o.lu_factor(SPD)[0],
    "map": lambda o: o.map(lambda x: x * 2, X),
    "matrix_rank": lambda o: o.matrix_rank(SPD),
    "meshgrid": lambda o: o.meshgrid(V, W)[0],
    "meshgrid, ij": lambda o: o.meshgrid(V, W, indexing="ij")[1],
    "multi_hot": lambda o: o.multi_hot(np.array([[0, 2], [1, 1]], "int32"), 4),
    "nonzero": lambda o: o.nonzero(np.array([[0, 1], [2, 0]], "int32"))[1],
    "pinv": lambda o: o.pinv(B),
    "polar": lambda o: o.abs(o.polar(X, X * 2)),
    "adaptive_average_pool": lambda o: o.adaptive_average_pool(IMG, 2),
    "adaptive_max_pool": lambda o: o.adaptive_max_pool(IMG, (2, 3)),
    "max_pool, two axes": lambda o: o.max_pool(IMG, 2, strides=1, padding="same"),
    "average_pool, two axes": lambda o: o.average_pool(IMG, (2, 3), strides=2),
    "qr": lambda o: o.abs(o.qr(B)[1]),
    "rearrange": lambda o: o.rearrange(o.convert_to_tensor(IMG), "b (h r) w c -> b h (w r) c", r=2),
    "scan": lambda o: o.scan(lambda c, x: (c + x, c * x), o.convert_to_tensor(X[0, 0]), X[0])[1],
    "scan, reverse": lambda o: o.scan(lambda c, x: (c + x, c), o.convert_to_tensor(X[0, 0]), X[0], reverse=True)[1],
    "scatter": lambda o: o.scatter(np.array([[0], [2], [0]], "int32"), X[0], (4, 4)),
    "scatter_update, max": lambda o: o.scatter_update(X, [[0, 1], [0, 1]], np.ones((2, 4), "float32"), reduction="max"),
    "scatter_update, add": lambda o: o.scatter_update(X, [[0, 1], [0, 1]], np.ones((2, 4), "float32"), reduction="add"),
    "searchsorted": lambda o: o.searchsorted(np.sort(V), W),
    "segment_sum": lambda o: o.segment_sum(X[0], np.array([0, 2, 0], "int32"), 4),
    "segment_max": lambda o: o.segment_max(X[0], np.array([0, 1, 0], "int32"), 2),
    "segment_min": lambda o: o.segment_min(X[0], np.array([0, 1, 0], "int32"), 2),
    "segment_prod": lambda o: o.segment_prod(X[0], np.array([0, 1, 0], "int32"), 2),
    "select": lambda o: o.select([X > 0.7, X > 0.4], [X, X * 2], 0.5),
    "separable_conv": lambda o: o.separable_conv(
        IMG, np.full((2, 2, 4, 2), 0.1, "float32"), np.full((1, 1, 8, 3), 0.2, "float32"), strides=2
    ),
    "size": lambda o: int(o.size(X)),
    "slogdet": lambda o: o.slogdet(SPD)[1],
    "solve": lambda o: o.solve(SPD, B),
    "solve_triangular": lambda o: o.solve_triangular(np.tril(SPD), B, lower=True),
    "space_to_depth": lambda o: o.space_to_depth(IMG[:, :, :4], 2),
    "stft": lambda o: o.stft(o.convert_to_tensor(SOUND), 16, 4, 32)[0],
    "svd": lambda o: o.svd(B)[1],
    "switch": lambda o: o.switch(1, [lambda x: x, lambda x: x * 2], o.convert_to_tensor(X)),
    "tri": lambda o: o.tri(3, 4, 1),
    "unique": lambda o: o.unique(np.array([3, 1, 3, 2], "int32")),
    "unique, counts": lambda o: o.unique(np.array([3, 1, 3, 2], "int32"), return_counts=True)[1],
    "unique, index": lambda o: o.unique(np.array([3, 1, 3, 2], "int32"), return_index=True)[1],
    "unique, inverse": lambda o: o.unique(np.array([3, 1, 3, 2], "int32"), return_inverse=True)[1],
    "vander": lambda o: o.vander(V, 3),
    "vdot": lambda o: o.vdot(V, V * 2),
    "vectorize": lambda o: o.vectorize(lambda x: x * 2)(V),
    "vectorized_map": lambda o: o.vectorized_map(lambda x: x.sum(), o.convert_to_tensor(X)),
    "vsplit": lambda o: o.vsplit(X, 2)[1],
    "view_as_complex": lambda o: o.real(o.view_as_complex(X.reshape(2, 3, 2, 2))),
    "view_as_real": lambda o: o.view_as_real(o.view_as_complex(X.reshape(2, 3, 2, 2))),
    "while_loop": lambda o: o.while_loop(lambda x: o.sum(x) < 100, lambda x: (x * 2,), (o.convert_to_tensor(X),))[0],
    "image.rgb_to_grayscale": lambda o: o.image.rgb_to_grayscale(RGB),
    "image.rgb_to_hsv": lambda o: o.image.rgb_to_hsv(RGB),
    "image.hsv_to_rgb": lambda o: o.image.hsv_to_rgb(RGB),
    "image.resize": lambda o: o.image.resize(RGB, (3, 7)),
    "image.resize, nearest": lambda o: o.image.resize(RGB, (3, 7), "nearest", crop_to_aspect_ratio=True),
    "image.pad_images": lambda o: o.image.pad_images(RGB, 1, 2, target_height=7, target_width=9),
    "image.crop_images": lambda o: o.image.crop_images(RGB, 1, 1, target_height=2, target_width=3),
    "image.extract_patches": lambda o: o.image.extract_patches(RGB, (2, 3), strides=(1, 2), padding="same"),
    "image.affine_transform": lambda o: o.image.affine_transform(RGB, np.array([[1.0, 0.2, -1, 0.1, 0.9, 0.5, 0, 0]] * 2, "float32")),
    "image.map_coordinates": lambda o: o.image.map_coordinates(X[0], np.array([[0.5, 1.2, 5.0], [1.0, 2.5, -1.0]], "float32"), 1),
    "image.map_coordinates, reflect": lambda o: o.image.map_coordinates(
        X[0], np.array([[0.5, 1.2, 5.0], [1.0, 2.5, -1.0]], "float32"), 0, "reflect"
    ),
    "image.gaussian_blur": lambda o: o.image.gaussian_blur(RGB, (3, 3), (1.0, 0.5), "channels_last"),
    "image.sobel_edges": lambda o: o.image.sobel_edges(RGB, "channels_last"),
}  # fmt: skip
KERNELS = {window: R.standard_normal((window, 3, 4)).astype("float32") for window in (1, 2, 3, 4)}

# Keras 3.15's torch backend differs there from its own documentation, NumPy, or itself; each is looked at by itself below.
OTHERWISE = {"sparsemax", "imag", "empty_like", "average, weights"}
# No case of numbers: names of modules, what gives no tensor, what test_ops_parity has under another name.
BESIDE = {
    "image", "linalg", "nn", "numpy", "custom_gradient", "convert_to_numpy", "convert_to_tensor", "dtype", "get_item", "is_tensor",
    "ndim", "shape",
}  # fmt: skip
MADE = {"arange", "eye", "full", "linspace", "ones", "zeros", "abs", "cast", "swish", "count_nonzero"}


def same(ours: Any, theirs: Any) -> None:
    if not isinstance(ours, torch.Tensor):
        assert ours == theirs
        return
    theirs = torch.as_tensor(theirs)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_allclose(ours.resolve_conj().numpy(), theirs.resolve_conj().numpy(), rtol=2e-5, atol=2e-5)


def test_every_name_of_keras_s_operations_is_here_and_tried_or_refused_with_what_to_do():
    tried = {name.split(",")[0] for name in (*OF_X, *ON_ARRAYS, *BEFORE)} | BESIDE | MADE
    names = {name for name in dir(keras.ops) if not name.startswith("_")}
    assert names & set(ops.__all__) - tried == set()
    for name in names - set(ops.__all__):
        with pytest.raises(AttributeError, match=rf"ops.{name} is not here.\n  try  "):
            getattr(ops, name)
    pictures = {name for name in dir(keras.ops.image) if not name.startswith("_")}
    assert pictures & set(ops.image.__all__) <= {name.partition(".")[2].split(",")[0] for name in ON_ARRAYS}
    for name in pictures - set(ops.image.__all__):
        with pytest.raises(AttributeError, match=rf"ops.image.{name} is not here.\n  try  "):
            getattr(ops.image, name)
    for module in ("linalg", "nn", "numpy"):
        for name in set(dir(getattr(keras.ops, module))) & set(ops.__all__):
            assert getattr(getattr(ops, module), name) is getattr(ops, name)


@pytest.mark.parametrize("name", OF_X)
def test_an_operation_on_arrays_and_on_symbolic_tensors_is_keras_s(name: str):
    case = OF_X[name]
    if name not in OTHERWISE:
        same(case(ops, torch.tensor(X)), case(keras.ops, keras.ops.convert_to_tensor(X)))
    array = case(ops, X)
    torch.testing.assert_close(array, case(ops, torch.tensor(X)), equal_nan=True)
    symbolic = case(ops, dt.Input((3, 4), batch_size=2))
    assert (tuple(symbolic.shape), symbolic.dtype) == (tuple(array.shape), str(array.dtype).removeprefix("torch."))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch.func.jvp
@pytest.mark.parametrize("name", ON_ARRAYS)
def test_a_function_on_arrays_is_keras_s(name: str):
    same(ON_ARRAYS[name](ops), ON_ARRAYS[name](keras.ops))


def test_operations_in_a_graph_go_through_files_of_ours_and_keras_reads_them(tmp_path: Path):
    x, other = dt.Input((3, 4), batch_size=2), keras.Input((3, 4), batch_size=2)
    skipped = {
        "view",
        "scatter_update",
        "slice_update",
        "slice",
        "average, weights",
        "quantile, several",
    }  # Keras keeps arrays as no such thing
    names = [name for name in OF_X if name not in OTHERWISE | skipped]
    model = dt.Model(x, [OF_X[name](ops, x) for name in names])
    model.save(tmp_path / "ours.keras")
    loaded = dt.load_model(tmp_path / "ours.keras")
    for name, one, two in zip(names, model(torch.tensor(X)), loaded(torch.tensor(X)), strict=True):
        assert torch.equal(one.nan_to_num(), two.nan_to_num()), name
    assert other is not None


def test_what_needs_values_says_so_of_a_symbolic_tensor():
    x = dt.Input((3, 4))
    for call in (
        lambda: ops.cond(x, lambda: 1, lambda: 2),
        lambda: ops.while_loop(lambda v: v < 3, lambda v: v + 1, (x,)),
        lambda: ops.unique(x),
        lambda: ops.nonzero(x),
        lambda: ops.bincount(x),
        lambda: ops.segment_sum(x, np.array([0])),
    ):
        with pytest.raises(ValueError, match=r"needs values, and got a symbolic tensor.*\n  try  a layer of your own"):
            call()


def test_a_weighted_mean_is_numpy_s():
    for axis, weights in ((None, X * 2), (1, X * 2), (1, np.array([1.0, 2, 0.5], "float32")), ((0, 2), X)):
        np.testing.assert_allclose(ops.average(X, axis, weights).numpy(), np.average(X, axis, weights), rtol=1e-6)


def test_sparsemax_sums_to_1():
    x = np.array([[2.0, 1.9, 0.1], [0.3, 0.2, 0.1]], "float32")  # Keras 3.15 on torch sums running sums for its threshold
    np.testing.assert_allclose(ops.sparsemax(x).numpy(), [[0.55, 0.45, 0], [0.43333334, 0.33333334, 0.23333333]], rtol=1e-5)


def test_a_gradient_of_one_s_own():
    @ops.custom_gradient
    def log1pexp(x: Any) -> Any:
        e = ops.exp(x)
        return ops.log(1 + e), lambda *args, upstream: upstream * (1 - 1 / (1 + ops.exp(args[0])))

    x = torch.tensor(100.0, requires_grad=True)
    log1pexp(x).backward()
    assert float(x.grad) == 1.0


def test_pooling_at_the_edge_divides_by_what_is_there():
    x = np.arange(5, dtype="float32").reshape(1, 5, 1)  # as TensorFlow and JAX do; Keras's torch backend repeats the last number
    assert ops.average_pool(x, 2, padding="same").flatten().tolist() == [0.5, 2.5, 4.0]


@pytest.mark.parametrize(
    ("kind", "shapes", "settings"),
    [
        ("Resize", [(2, 4, 4, 3)], {"size": (80000, 80000)}),
        ("PadImages", [(2, 4, 4, 3)], {"top_padding": 10**6, "left_padding": 10**6}),
        ("MultiHot", [(89, 3)], {"num_classes": 10**9}),
        ("Kron", [(20000, 1), (20000, 1)], {}),
        ("Scatter", [(3, 1), (3,)], {"shape": (10**9,)}),
        ("RFFT", [(89, 4)], {"fft_length": 10**9}),
        ("MaxPool", [(89, 4, 4, 3)], {"pool_size": 10**6, "strides": 1, "padding": "same"}),
        ("ConvTranspose", [(89, 40, 40, 3), (3, 3, 8, 3)], {"strides": 10**4}),
        ("Diagflat", [(89, 1000)], {}),
        ("Vander", [(89,)], {"N": 10**9}),
        ("ArraySplit", [(89, 3)], {"indices_or_sections": 10**9}),
        ("AdaptiveAveragePool", [(89, 4, 4, 3)], {"output_size": 10**5}),
    ],
)
def test_an_operation_of_a_file_that_is_beyond_measure_is_refused(kind: str, shapes: Any, settings: dict[str, Any]):
    with pytest.raises(ValueError, match="numbers, which no model of a file needs"):
        check_bounds(kind, shapes, settings)


@pytest.mark.parametrize(
    ("kind", "shapes", "settings"),
    [
        ("Resize", [(89, 256, 256, 3)], {"size": (64, 64)}),
        ("PadImages", [(89, 64, 64, 3)], {"target_height": 70, "target_width": 70}),
        ("Conv", [(89, 64, 64, 3), (3, 3, 3, 16)], {"strides": 1}),
        ("MaxPool", [(89, 64, 64, 16)], {"pool_size": 2}),
        ("DotProductAttention", [(89, 64, 4, 16), (89, 64, 4, 16), (89, 64, 4, 16)], {}),
        ("STFT", [(89, 16000)], {"sequence_length": 256, "sequence_stride": 128, "fft_length": 256}),
        ("ExtractPatches", [(89, 64, 64, 3)], {"size": (8, 8)}),
    ],
)
def test_an_operation_of_an_ordinary_model_is_not(kind: str, shapes: Any, settings: dict[str, Any]):
    check_bounds(kind, shapes, settings)
