"""Cases of the layers in `layers/activation/`."""

from __future__ import annotations

from layer_case import IMG, SEQ, VEC, Case

CASES: dict[str, Case] = {
    "Activation": Case(lambda L: L.Activation("tanh"), VEC),
    "Activation, linear": Case(lambda L: L.Activation(None), SEQ),
    "ELU": Case(lambda L: L.ELU(), VEC),
    "ELU, alpha": Case(lambda L: L.ELU(alpha=0.4), IMG),
    "LeakyReLU": Case(lambda L: L.LeakyReLU(), VEC),
    "LeakyReLU, slope": Case(lambda L: L.LeakyReLU(negative_slope=0.1), SEQ),
    "PReLU": Case(lambda L: L.PReLU(), VEC),
    "PReLU, shared axes": Case(lambda L: L.PReLU("ones", "l2", "non_neg", shared_axes=[1, 2]), IMG),
    "PReLU, one shared axis": Case(lambda L: L.PReLU(shared_axes=1), SEQ),
    "ReLU": Case(lambda L: L.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2), VEC),
    "ReLU, plain": Case(lambda L: L.ReLU(), SEQ),
    "Softmax": Case(lambda L: L.Softmax(axis=[1, 2]), SEQ),
    "Softmax, one axis": Case(lambda L: L.Softmax(axis=1), IMG),
    "Softmax, mask": Case(lambda L: L.Softmax(), SEQ, {"mask": SEQ[:, :, :1] > -0.3}),
}
