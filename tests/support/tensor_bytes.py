"""How many bytes of tensors there are at most, while something runs in this thread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TensorBytes(TorchDispatchMode):
    """Counts memory that operations inside give out, and that of `known` tensors, as long as anybody holds it.

    Attributes:
        most: the most that was held after any operation.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0
        self._note(known)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self._note(leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor))
        return result

    def begin_again(self) -> None:
        """Forget what was the most."""
        self.most = 0

    def _note(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._held[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._held = {place: (held, size) for place, (held, size) in self._held.items() if not held.expired()}
        self.most = max(self.most, sum(size for _, size in self._held.values()))
