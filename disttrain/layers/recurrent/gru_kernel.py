"""All steps of a GRU with their gradient, for the CPU, where torch's own kernel is slower than this."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def gru(x: Tensor, start: Tensor, kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Keras's GRU with `reset_after`, tanh and sigmoid over `x` (batch, time, features): (outputs (batch, time, units), last state).

    `z, r = s(x K_zr + b_zr + h R_zr + d_zr)`, `m = h R_h + d_h`, `c = tanh(x K_h + b_h + r m)`, `h' = z h + (1 - z) c`, with the gates z,
    r, h side by side in `kernel` K (features, 3 units) and `recurrent_kernel` R (units, 3 units), and `bias` (2, 3 units) b and d.
    """
    outputs, last = _GRU.apply(x, start, kernel, recurrent_kernel, bias)  # type: ignore[no-untyped-call]
    return outputs, last


class _GRU(torch.autograd.Function):
    """What autograd would do for each step is done for all at once: the factors of the chain rule, and the gradients of the weights, which
    are one product over (time * batch) instead of a sum of small ones.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, start: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        batch, time, features = x.shape
        units = recurrent.shape[0]
        flat = x.transpose(0, 1).reshape(time * batch, features)
        gates = (flat @ kernel if bias is None else torch.addmm(bias[0], flat, kernel)).view(time, batch, 3 * units)
        inner = gates.new_empty(time, batch, 3 * units)  # h R + d
        states = gates.new_empty(time + 1, batch, units)
        states[0] = start
        z, r, c = (part.unbind(0) for part in gates.split(units, 2))
        zr, inner_zr = gates[:, :, : 2 * units].unbind(0), inner[:, :, : 2 * units].unbind(0)
        m, h, product = inner[:, :, 2 * units :].unbind(0), states.unbind(0), inner.unbind(0)
        for t in range(time):
            if bias is None:
                torch.mm(h[t], recurrent, out=product[t])
            else:
                torch.addmm(bias[1], h[t], recurrent, out=product[t])
            zr[t].add_(inner_zr[t]).sigmoid_()
            c[t].addcmul_(r[t], m[t]).tanh_()
            torch.lerp(c[t], h[t], z[t], out=h[t + 1])
        ctx.save_for_backward(flat, kernel, recurrent, gates, inner, states)
        ctx.biased = bias is not None
        ctx.set_materialize_grads(False)
        return states[1:].transpose(0, 1).contiguous(), states[time].clone()  # no views: what is kept for the gradient is not given away

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor | None, d_last: Tensor | None) -> tuple[Tensor | None, ...]:
        flat, kernel, recurrent, gates, inner, states = ctx.saved_tensors
        time, batch, width = gates.shape
        units = width // 3
        z, r, c = gates.split(units, 2)
        # What each pre-activation's gradient is, divided by that of h': for x K + b (outer), and for h R + d.
        outer = torch.addcmul(gates, gates, gates, value=-1)  # s' = s (1 - s), in the parts of z and r
        of_z, of_r, of_c = outer.split(units, 2)
        of_z.mul_(states[:-1] - c)
        of_c.copy_(1 - c * c).mul_(1 - z)
        of_r.mul_(inner[:, :, 2 * units :]).mul_(of_c)
        within = outer.clone()
        within[:, :, 2 * units :].mul_(r)
        d_states = torch.empty_like(states[1:])
        d_h, each, keep = d_states.unbind(0), within.unbind(0), z.unbind(0)
        each_gate = within.view(time, batch, 3, units).unbind(0)
        arriving = None if d_outputs is None else d_outputs.transpose(0, 1).contiguous().unbind(0)
        d_before = torch.zeros_like(states[0]) if d_last is None else d_last
        back = recurrent.t()
        for t in range(time - 1, -1, -1):
            if arriving is None:
                d_h[t].copy_(d_before)
            else:
                torch.add(d_before, arriving[t], out=d_h[t])
            each_gate[t].mul_(d_h[t].unsqueeze(1))
            d_before = torch.addmm(d_h[t] * keep[t], each[t], back)
        d_outer = outer.view(time, batch, 3, units).mul_(d_states.unsqueeze(2)).view(time * batch, width)
        d_within = within.view(time * batch, width)
        d_x = (d_outer @ kernel.t()).view(time, batch, -1).transpose(0, 1) if ctx.needs_input_grad[0] else None
        d_bias = torch.stack([d_outer.sum(0), d_within.sum(0)]) if ctx.biased else None
        return d_x, d_before, flat.t() @ d_outer, states[:-1].reshape(time * batch, units).t() @ d_within, d_bias
