"""Loops and branches as functions. They call Python functions on values, so they are no nodes of graphs."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.layers import tree
from disttrain.layers.ops.operation import as_tensor, with_values


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """What `true_fn()` gives where `pred` holds, else what `false_fn()` gives."""
    with_values("cond", pred)
    return true_fn() if pred else false_fn()


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """What branch number `index` gives of the operands; a number beyond is that of the nearest branch."""
    with_values("switch", index, *operands)
    return branches[builtins.min(builtins.max(int(index), 0), len(branches) - 1)](*operands)


def while_loop(cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any, maximum_iterations: int | None = None) -> Any:
    """`loop_vars` put through `body` as long as `cond` of them holds, at most `maximum_iterations` times."""
    with_values("while_loop", loop_vars)
    single = not isinstance(loop_vars, list | tuple)
    values = tuple(as_tensor(value) if _is_number(value) else value for value in ((loop_vars,) if single else loop_vars))
    rounds = 0
    while cond(*values) and (maximum_iterations is None or rounds < maximum_iterations):
        found = body(*values)
        values = tuple(found) if isinstance(found, list | tuple) else (found,)
        rounds += 1
    return values[0] if single else values


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """`init_val` put through `body_fun(i, value)` for each i from `lower` to below `upper`."""
    with_values("fori_loop", lower, upper, init_val)
    value = init_val
    for number in range(int(lower), int(upper)):
        value = body_fun(number, value)
    return value


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """`f` of each row of `xs`, stacked."""
    return scan(lambda carry, x: (carry, f(x)), (), xs)[1]


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any = None, length: int | None = None, reverse: bool = False, unroll: Any = 1
) -> tuple[Any, Any]:
    """(the last state, all outputs stacked) of `state, output = f(state, row)` over the rows of `xs`, or `length` times.

    Args:
        reverse: begin with the last row; outputs keep the order of rows.
        unroll: changes nothing.
    """
    if not callable(f):
        raise TypeError(f"scan: f is {f!r}, expected a function.")
    if not (isinstance(unroll, bool) or (isinstance(unroll, int) and unroll >= 1)):
        raise ValueError(f"scan(unroll={unroll!r}): expected a whole number of 1 or more, or a bool.")
    if xs is None and length is None:
        raise ValueError("scan: expected xs, or length.")
    with_values("scan", init, xs)
    rows = None if xs is None else tree.map_structure(as_tensor, xs)
    count = int(length) if length is not None else len(tree.flatten(rows)[0])
    state = tree.map_structure(lambda leaf: as_tensor(leaf) if leaf is not None else None, init)
    nothing = tree.map_structure(lambda leaf: torch.zeros_like(leaf) if isinstance(leaf, Tensor) else leaf, state)
    outputs: list[Any] = []
    for number in reversed(range(count)) if reverse else range(count):
        row = None if rows is None else tree.map_structure(lambda leaf, place=number: leaf[place], rows)
        state, output = f(state, row)
        outputs.append(nothing if output is None else output)
    if reverse:
        outputs.reverse()
    stacked = tree.map_structure(lambda *leaves: torch.stack([as_tensor(leaf) for leaf in leaves]), *outputs) if outputs else None
    return state, stacked


def associative_scan(f: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All running results of an associative `f` along `axis`: x0, f(x0, x1), f(f(x0, x1), x2) ...

    Args:
        reverse: from the end.
    """
    if not callable(f):
        raise TypeError(f"associative_scan: f is {f!r}, expected a function.")
    with_values("associative_scan", elems)
    elems = tree.map_structure(as_tensor, elems)
    sizes = {leaf.shape[axis] for leaf in tree.flatten(elems)}
    if len(sizes) != 1:
        raise ValueError(f"associative_scan: axis {axis} has sizes {sorted(sizes)}, expected the same first dimension in each.")
    if reverse:
        elems = tree.map_structure(lambda leaf: torch.flip(leaf, (axis,)), elems)
    total, results = None, []
    for number in range(sizes.pop()):
        part = tree.map_structure(lambda leaf, place=number: leaf.narrow(axis, place, 1), elems)
        total = part if total is None else f(total, part)
        results.append(total)
    found = tree.map_structure(lambda *leaves: torch.cat(leaves, axis), *results) if results else elems
    return tree.map_structure(lambda leaf: torch.flip(leaf, (axis,)), found) if reverse else found


def vectorized_map(function: Callable[[Any], Any], elements: Any) -> Any:
    """`function` of each row of `elements` at once, as `torch.vmap` does it."""
    with_values("vectorized_map", elements)
    return torch.vmap(function)(tree.map_structure(as_tensor, elements))


def vectorize(pyfunc: Callable[..., Any], *, excluded: Any = None, signature: str | None = None) -> Callable[..., Any]:
    """A function of tensors that calls `pyfunc` on each number, or on the parts that `signature` says, as `numpy.vectorize`."""
    if not callable(pyfunc):
        raise ValueError(f"vectorize: pyfunc is {pyfunc!r}, expected a function.")

    def on_arrays(*args: Any) -> Any:
        found = pyfunc(*(torch.as_tensor(arg) if isinstance(arg, np.ndarray | np.generic) else arg for arg in args))
        return found.numpy() if isinstance(found, Tensor) else found

    run = np.vectorize(on_arrays, excluded=excluded, signature=signature)

    def wrapped(*args: Any) -> Any:
        found = run(*(arg.detach().cpu().numpy() if isinstance(arg, Tensor) else arg for arg in args))
        return tuple(as_tensor(part) for part in found) if isinstance(found, tuple) else as_tensor(found)

    return wrapped


class custom_gradient:
    """A function whose gradient is its own: `f(*args)` gives `(outputs, grad)`, and `grad(*args, upstream=...)` the gradients."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.forward_fn = f

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _Custom.apply(self.forward_fn, *args, **kwargs)  # type: ignore[no-untyped-call]


class _Custom(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Any], *args: Any) -> Any:
        outputs, ctx.gradient = function(*args)
        ctx.save_for_backward(*(arg if isinstance(arg, Tensor) else torch.as_tensor(arg) for arg in args))
        return outputs

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        found = ctx.gradient(*ctx.saved_tensors, upstream=upstream[0] if len(upstream) == 1 else upstream)
        return None, *(found if isinstance(found, tuple | list) else (found,))


def jvp(fun: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> Any:
    """(outputs of `fun(*primals)`, their change along `tangents`); with `has_aux` also what else `fun` gives."""
    with_values("jvp", primals, tangents)
    points, along = (
        tuple(as_tensor(value) for value in (part if isinstance(part, list | tuple) else (part,))) for part in (primals, tangents)
    )
    return torch.func.jvp(fun, points, along, has_aux=has_aux)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.ndarray | np.generic)


__all__ = [
    "associative_scan",
    "cond",
    "custom_gradient",
    "fori_loop",
    "jvp",
    "map",
    "scan",
    "switch",
    "vectorize",
    "vectorized_map",
    "while_loop",
]
