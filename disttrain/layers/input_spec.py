"""What a layer says of its inputs before it is called on them: `layer.input_spec`."""

from __future__ import annotations

from typing import Any

from disttrain.layers.dtypes import dtype_name, standard_dtype
from disttrain.layers.structure import flatten


class InputSpec:
    """What an input has to be like.

    Args:
        dtype, shape: of the input; None in a shape fits any size.
        ndim, min_ndim, max_ndim: how many axes it has.
        axes: {axis: size}, where a size of None fits any.
        allow_last_axis_squeeze: an axis of 1 at the end may be there or not.
        name: which input of a dict it is.
        optional: None may stand in its place.

    Example:
        >>> InputSpec(ndim=2, axes={-1: 3})
        InputSpec(ndim=2, axes={-1: 3})
    """

    def __init__(
        self,
        dtype: Any = None,
        shape: Any = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: dict[int, int | None] | None = None,
        allow_last_axis_squeeze: bool = False,
        name: str | None = None,
        optional: bool = False,
    ) -> None:
        self.dtype = None if dtype is None else standard_dtype(dtype)
        self.shape = None if shape is None else tuple(shape)
        self.ndim = len(self.shape) if self.shape is not None else ndim
        self.max_ndim, self.min_ndim = max_ndim, min_ndim
        self.name, self.optional, self.allow_last_axis_squeeze = name, optional, allow_last_axis_squeeze
        try:
            self.axes = {int(axis): size for axis, size in (axes or {}).items()}
        except (TypeError, ValueError):
            raise TypeError(f"Argument `axes` must be a dict with integer keys. Received: axes={axes}") from None
        most = self.ndim if self.ndim is not None else max_ndim
        if self.axes and most is not None and max(self.axes) >= most:
            raise ValueError(f"Axis {max(self.axes)} is greater than the maximum allowed value: {most - 1}")

    def __repr__(self) -> str:
        said = {name: getattr(self, name) for name in ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes")}
        if said["shape"] is not None:
            said["ndim"] = None
        return f"InputSpec({', '.join(f'{name}={value}' for name, value in said.items() if value)})"

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, in JSON types."""
        return {name: getattr(self, name) for name in ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes", "optional")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> InputSpec:
        """The inverse of `get_config`."""
        return cls(**config)


def check_inputs(spec: Any, inputs: Any, layer: str) -> None:
    """Refuse inputs that are not as `spec`, an InputSpec or a structure of them, says.

    Raises:
        ValueError: with Keras's words.
    """
    specs = flatten(spec)
    if isinstance(inputs, dict) and any(one.name is not None for one in specs):
        missing = [one.name for one in specs if one.name not in inputs and not one.optional]
        if missing:
            raise ValueError(f'Missing data for input "{missing[0]}". You passed a data dictionary with keys {list(inputs)}.')
        given = [inputs.get(one.name) for one in specs]
    else:
        given = flatten(inputs)
    if len(given) != len(specs):
        raise ValueError(f'Layer "{layer}" expects {len(specs)} input(s), but it received {len(given)} input tensors.')
    for number, (one, value) in enumerate(zip(specs, given, strict=True)):
        if value is None and one.optional:
            continue
        wrong = _mismatch(one, value)
        if wrong:
            raise ValueError(f'Input {number} of layer "{layer}" is incompatible with the layer: {wrong}')


def _mismatch(spec: InputSpec, value: Any) -> str | None:
    if not hasattr(value, "shape"):
        return f"expected a tensor, but received {value!r}"
    shape = tuple(value.shape)
    received = f"Full shape received: {shape}"
    if spec.shape is not None and spec.allow_last_axis_squeeze and len(shape) != len(spec.shape):
        wanted = spec.shape
        shape, wanted = (shape[:-1], wanted) if shape[-1:] == (1,) else (shape, wanted[:-1] if wanted[-1:] == (1,) else wanted)
        return None if _fits(wanted, shape) else f"expected shape={spec.shape}, found shape={tuple(value.shape)}"
    if spec.ndim is not None and len(shape) != spec.ndim:
        return f"expected ndim={spec.ndim}, found ndim={len(shape)}. {received}"
    if spec.max_ndim is not None and len(shape) > spec.max_ndim:
        return f"expected max_ndim={spec.max_ndim}, found ndim={len(shape)}"
    if spec.min_ndim is not None and len(shape) < spec.min_ndim:
        return f"expected min_ndim={spec.min_ndim}, found ndim={len(shape)}. {received}"
    if spec.dtype is not None:
        dtype = value.dtype if isinstance(value.dtype, str) else dtype_name(value.dtype)
        if dtype != spec.dtype:
            return f"expected dtype={spec.dtype}, found dtype={dtype}"
    for axis, size in spec.axes.items():
        if size is not None and shape[axis] not in (size, None):
            return f"expected axis {axis} of input shape to have value {size}, but received input with shape {shape}"
    if spec.shape is not None and not _fits(spec.shape, shape):
        return f"expected shape={spec.shape}, found shape={shape}"
    return None


def _fits(wanted: Any, shape: Any) -> bool:
    return len(wanted) == len(shape) and all(w is None or s is None or w == s for w, s in zip(wanted, shape, strict=True))
