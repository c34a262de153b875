"""Recurrent layers that make their cell themselves: `LSTM(4)` for `RNN(LSTMCell(4))`."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from disttrain import regularizers
from disttrain.identifiers import to_snake_case
from disttrain.layers.recurrent.cell import RecurrentCell
from disttrain.layers.recurrent.rnn import RNN


def of_cell(name: str) -> Any:
    """The cell's attribute, as one of the layer."""
    return property(lambda self: getattr(self.cell, name), doc=f"`{name}` of the cell.")


class RecurrentLayer(RNN):
    """An `RNN` whose constructor takes the arguments of its cell beside its own; the config holds both side by side.

    Subclasses name `cell_class`, and have a constructor that lists all arguments in Keras's order.
    """

    cell_class: ClassVar[type[RecurrentCell]]
    axes: ClassVar[tuple[str, ...]] = ("batch", "time", "features")

    def __init__(self, use_cudnn: bool | str = "auto", **arguments: Any) -> None:
        cls = self.cell_class
        ours = {name for base in cls.__mro__[: cls.__mro__.index(RecurrentCell) + 1] for name in inspect.signature(base).parameters}
        of_the_cell = {name: arguments.pop(name) for name in tuple(arguments) if name in ours - {"kwargs"}}
        for shared in ("dtype", "trainable"):
            if shared in arguments:
                of_the_cell[shared] = arguments[shared]
        try:
            cell = cls(**of_the_cell, name=to_snake_case(cls.__name__))
        except ValueError as error:  # the user wrote LSTM(...), not LSTMCell(...)
            raise ValueError(str(error).replace(f"{cls.__name__}(", f"{type(self).__name__}(")) from None
        super().__init__(cell, **arguments)
        if use_cudnn not in ("auto", True, False):
            raise ValueError(f"{type(self).__name__}(use_cudnn={use_cudnn!r}): expected 'auto', True or False.")
        if use_cudnn is True and (not cell.can_fuse() or cell.recurrent_dropout):
            raise ValueError(
                f"{type(self).__name__}(use_cudnn=True): no fused kernel has these activations, recurrent_dropout or reset_after.\n"
                "  try  use_cudnn='auto', which takes a step at a time then"
            )
        self.use_cudnn = use_cudnn

    activation = of_cell("activation")
    use_bias = of_cell("use_bias")
    kernel_initializer = of_cell("kernel_initializer")
    recurrent_initializer = of_cell("recurrent_initializer")
    bias_initializer = of_cell("bias_initializer")
    kernel_regularizer = of_cell("kernel_regularizer")
    recurrent_regularizer = of_cell("recurrent_regularizer")
    bias_regularizer = of_cell("bias_regularizer")
    kernel_constraint = of_cell("kernel_constraint")
    recurrent_constraint = of_cell("recurrent_constraint")
    bias_constraint = of_cell("bias_constraint")
    dropout = of_cell("dropout")
    recurrent_dropout = of_cell("recurrent_dropout")
    seed = of_cell("seed")

    def _check_rank(self, shape: Any) -> None:
        if len(shape) != len(self.axes):
            raise ValueError(f"{self._described()}: got an input of shape {tuple(shape)}, expected ({', '.join(self.axes)}).")

    def get_config(self) -> dict[str, Any]:
        config, cell = super().get_config(), self.cell.get_config()
        del config["cell"]
        for key in ("name", "trainable", "dtype"):
            del cell[key]
        return {**config, **cell, "activity_regularizer": regularizers.serialize(self.activity_regularizer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return super(RNN, cls).from_config(config)
