"""`optimizer.iterations` and `optimizer.learning_rate`: numbers with the methods of Keras's variables."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

_ASKED = """__abs__ __add__ __bool__ __ceil__ __divmod__ __eq__ __float__ __floor__ __floordiv__ __format__ __ge__ __gt__ __hash__ __int__
__le__ __lt__ __mod__ __mul__ __ne__ __neg__ __pos__ __pow__ __radd__ __rdivmod__ __repr__ __rfloordiv__ __rmod__ __rmul__ __round__
__rpow__ __rsub__ __rtruediv__ __str__ __sub__ __truediv__ __trunc__"""


class _Live:
    """A number that an optimizer holds under an attribute, as it was when it was read, or assigned through this object.

    `value` and `numpy()` ask the optimizer anew. A copy of it, and what a file holds of it, is a plain number.
    """

    trainable = False
    shape = torch.Size(())
    ndim = 0
    _plain: type
    _array: type
    _attribute: str
    _optimizer: Any
    _held: Any

    @property
    def name(self) -> str:
        """The name in Keras's lists."""
        return "iteration" if self._attribute == "iterations" else self._attribute

    @property
    def path(self) -> str:
        """The optimizer's name, and this."""
        return f"{self._optimizer.name}/{self.name}"

    @property
    def value(self) -> Tensor:
        """What the optimizer holds now, as a tensor."""
        return torch.as_tensor(self.numpy())

    def numpy(self) -> Any:
        """What the optimizer holds now, as an array."""
        return np.array(self._asked(), dtype=self._array)

    def assign(self, value: Any) -> Any:
        """Set it; a callback's change reaches every worker."""
        setattr(self._optimizer, self._attribute, self._plain(value))
        self._held = self._asked()
        return self.value

    def assign_add(self, value: Any) -> Any:
        """Add to it; gives the sum."""
        return self.assign(self._asked() + self._plain(value))

    def assign_sub(self, value: Any) -> Any:
        """Subtract from it; gives the difference."""
        return self.assign(self._asked() - self._plain(value))

    def _asked(self) -> Any:
        raise NotImplementedError

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._plain, (self._held,)

    def __copy__(self) -> Any:
        return self._held

    def __deepcopy__(self, memo: Any) -> Any:
        return self._held


class Count(_Live, int):
    """How many times `apply` was called."""

    _plain, _array, _attribute = int, np.int32, "iterations"

    def __new__(cls, optimizer: Any) -> Any:
        made = int.__new__(cls, optimizer.calls)
        made._optimizer, made._held = optimizer, optimizer.calls
        return made

    def _asked(self) -> int:
        return int(self._optimizer.calls)

    def __index__(self) -> int:
        return int(self._held)


class Rate(_Live, float):
    """The learning rate of the next update."""

    _plain, _array, _attribute = float, np.float32, "learning_rate"

    def __new__(cls, optimizer: Any) -> Any:
        rate = optimizer.current_learning_rate()
        made = float.__new__(cls, rate)
        made._optimizer, made._held = optimizer, rate
        return made

    def _asked(self) -> float:
        return float(self._optimizer.current_learning_rate())


def _follow(cls: Any, plain: type, name: str) -> None:
    """The operator of the plain type, on what is held."""
    asked = getattr(plain, name)
    setattr(cls, name, lambda self, *others: asked(self._held, *(o._held if isinstance(o, _Live) else o for o in others)))


for _cls, _type in ((Count, int), (Rate, float)):
    for _name in _ASKED.split():
        if hasattr(_type, _name):
            _follow(_cls, _type, _name)
