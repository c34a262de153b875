"""Memory that another process will see: a batch that is put together there need not be copied on its way."""

from __future__ import annotations

import mmap
import os

import torch
from torch import Tensor

FILES = hasattr(os, "memfd_create")
MAP = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0) if hasattr(mmap, "MAP_SHARED") else 0

_LEAST_BYTES = 64 << 10  # what is smaller is copied
_FILES_AT_ONCE = 16


def new_file(nbytes: int) -> int:
    """A file of memory of so many bytes."""
    file = os.memfd_create("disttrain-batch", os.MFD_CLOEXEC)
    try:
        os.ftruncate(file, nbytes)
    except OSError:
        os.close(file)
        raise
    return file


class SharedRoom:
    """Of one message: tensors in files of memory, which whoever sends it lets go of when it is sent."""

    def __init__(self) -> None:
        self._files: dict[int, tuple[Tensor, int]] = {}  # by where it begins: a tensor, so that nothing else comes to lie there; its file

    def stacked(self, tensors: list[Tensor]) -> Tensor | None:
        """`torch.stack(tensors)` in such a file; None where that is not worth one, or cannot be."""
        first = tensors[0]
        nbytes = len(tensors) * first.numel() * first.element_size()
        if not FILES or nbytes < _LEAST_BYTES or len(self._files) >= _FILES_AT_ONCE:
            return None
        if any(not _plain(tensor) or tensor.dtype != first.dtype or tensor.shape != first.shape for tensor in tensors):
            return None
        file = new_file(nbytes)
        try:
            data = torch.frombuffer(mmap.mmap(file, nbytes, MAP), dtype=first.dtype)
        except (OSError, ValueError):
            os.close(file)
            return None
        self._files[data.data_ptr()] = data, file
        out = data.view(len(tensors), *first.shape)
        torch.stack(tensors, out=out)
        return out

    def file_of(self, tensor: Tensor) -> int | None:
        """The file that holds this tensor and nothing else, in the order of its numbers; None where there is none."""
        held, file = self._files.get(tensor.data_ptr(), (None, -1))
        whole = held is not None and held.dtype == tensor.dtype and held.numel() == tensor.numel() and tensor.is_contiguous()
        return file if whole else None

    def leave(self) -> None:
        """Close the files; tensors in them stay as long as somebody has them."""
        for _, file in self._files.values():
            os.close(file)
        self._files.clear()


def _plain(tensor: Tensor) -> bool:
    return (
        type(tensor) is Tensor and tensor.device.type == "cpu" and tensor.layout is torch.strided and not tensor.requires_grad
        and not tensor.is_conj() and not tensor.is_neg() and not tensor.is_quantized
    )  # fmt: skip
