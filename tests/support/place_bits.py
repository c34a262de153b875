"""A processor on which the place of a number decides its last bit wherever it may, so that nothing passes by luck on the one at hand.

torch computes most of a tensor with vector instructions and what is left at its end one by one, by other code with other last bits: on AVX2
the last 16 floats may be such a rest, with AVX-512 the last 32. Products of matrices choose their way by the alignment of their operands.
Which functions show it, and how, differs from processor to processor; `OtherBitsByPlace` shows it for all, the most that x86-64 has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LOOP_BYTES = 128  # two AVX-512 registers: what one round of ATen's vector loop takes
VECTOR_BYTES = 64  # one: the same of the fused updates
BORDER_BYTES = 64  # where allocations of torch begin
GRAIN = 32768  # from here on torch shares a loop among threads, and each of them has an end of its own

BY_TWO_WAYS = {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "celu", "cos", "cosh", "digamma", "elu", "elu_backward", "erf", "erfc",
    "erfinv", "exp", "exp2", "expm1", "gelu", "gelu_backward", "hypot", "lgamma", "log", "log10", "log1p", "log2", "logaddexp", "logit",
    "log_sigmoid_forward", "log_sigmoid_backward", "mish", "mish_backward", "pow", "rsqrt", "sigmoid", "silu", "silu_backward", "sin",
    "sinc", "sinh", "softplus", "softplus_backward", "tan", "tanh", "xlogy",
}  # fmt: skip
EXACT_POWERS = (-2, -1, 0, 0.5, 1, 2, 3)  # products, quotients and roots, which have one right answer
PRODUCTS = {"addmm", "addmv", "baddbmm", "bmm", "convolution", "convolution_backward", "dot", "mm", "mv", "vdot"}


class OtherBitsByPlace(TorchDispatchMode):
    """Within it, in this thread, results differ in their last bits by where their numbers, or their operands, lie.

    Attributes:
        ends, starts: how often the end of a tensor, and a start off the border, changed a result.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ends, self.starts = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::").rstrip("_")
        plain = name.removeprefix("_foreach_")
        if plain in BY_TWO_WAYS and not (plain == "pow" and args[1] in EXACT_POWERS if _is_number(args[-1]) else False):
            outputs = args[0] if result is None else result  # in-place lists give nothing
            for output in _floats(outputs):
                self.ends += _nudge_end(output, LOOP_BYTES, shared=output.numel() > GRAIN and torch.get_num_threads() > 1)
        elif name.startswith("_fused_"):
            weights, _, *slots = args[:5]  # between them the gradients, which stay
            for changed in _floats((weights, slots)):
                self.ends += _nudge_end(changed, VECTOR_BYTES, shared=False)  # threads share it by whole vectors
        elif plain in PRODUCTS:
            off = sum(operand.data_ptr() % BORDER_BYTES // 4 for operand in _floats((args, kwargs)) if operand.numel())
            if off:
                self.starts += 1
                for output in _floats(result):
                    output.mul_(1.0 + off * torch.finfo(output.dtype).eps)
        return result


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _floats(structure: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(structure) if isinstance(leaf, Tensor) and leaf.is_floating_point())


def _nudge_end(tensor: Tensor, loop_bytes: int, *, shared: bool) -> bool:
    """Move what a loop of so many bytes a round leaves over to the next number; where it is shared, also a few where threads may meet."""
    count = tensor.numel()
    rest = count % (loop_bytes // tensor.itemsize)
    if tensor.is_contiguous():
        flat = tensor.view(-1)
        parts = [flat[count - rest :]]
        if shared:
            parts.append(flat[count // 2 - 5 : count // 2])
    else:
        parts = [tensor]
    for part in parts:
        if part.numel():
            part.copy_(torch.where(part == 0, part, torch.nextafter(part, part.new_full((), torch.inf))))
    return bool(rest)
