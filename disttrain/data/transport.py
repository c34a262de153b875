"""Batches from one process of a machine to another: structure as a pickle, tensors in memory that both see, where there is some.

A message is a header, the pickle, and the bytes of all tensors, each on a border: behind the pickle if they are few, else in a file of
memory whose descriptor travels with the header. Whoever receives it maps the file, so nothing is copied on that side.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import socket
import struct
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.alignment import BORDER_BYTES

_HEADER = struct.Struct("<QQ?")  # bytes of the pickle, bytes of the tensors, are those in a file?
_IN_LINE = 16 << 10  # so few bytes are not worth a file
_FILES = hasattr(os, "memfd_create")
_MAP = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0) if hasattr(mmap, "MAP_SHARED") else 0

_Placed = tuple[int, torch.dtype, tuple[int, ...]]  # where its bytes begin, and what they are


class _Pickler(pickle.Pickler):
    """Sets plain tensors of the CPU aside."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=5)
        self.tensors: list[tuple[int, Tensor]] = []
        self.nbytes = 0

    def persistent_id(self, value: Any) -> _Placed | None:
        if type(value) is not Tensor or value.device.type != "cpu" or value.layout != torch.strided or value.requires_grad:
            return None
        if value.is_quantized or value.is_conj() or value.is_neg():
            return None
        offset = -(-self.nbytes // BORDER_BYTES) * BORDER_BYTES
        self.tensors.append((offset, value))
        self.nbytes = offset + value.numel() * value.element_size()
        return offset, value.dtype, tuple(value.shape)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, data: Any) -> None:
        super().__init__(stream)
        self._data = data

    def persistent_load(self, placed: _Placed) -> Tensor:
        offset, dtype, shape = placed
        count = int(np.prod(shape, dtype=np.int64))
        if not count:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(self._data, dtype=dtype, count=count, offset=offset).view(shape)


def _bytes_of(tensor: Tensor) -> memoryview:
    array: Any = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    return memoryview(array)


def send(line: socket.socket, value: Any) -> None:
    """One message; blocks until it is on its way.

    Raises:
        OSError: the other side is gone.
    """
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    pickler.dump(value)
    pickled, nbytes = stream.getbuffer(), pickler.nbytes
    if nbytes <= _IN_LINE or not _FILES:
        data = bytearray(nbytes)
        for offset, tensor in pickler.tensors:
            if tensor.numel():
                part = _bytes_of(tensor)
                data[offset : offset + len(part)] = part
        line.sendall(_HEADER.pack(len(pickled), nbytes, False))
        line.sendall(pickled)
        line.sendall(data)
        return
    file = os.memfd_create("disttrain-batch", os.MFD_CLOEXEC)
    try:
        os.ftruncate(file, nbytes)
        for offset, tensor in pickler.tensors:
            if tensor.numel():
                _write(file, _bytes_of(tensor), offset)
        socket.send_fds(line, [_HEADER.pack(len(pickled), nbytes, True)], [file])
        line.sendall(pickled)
    finally:
        os.close(file)


def receive(line: socket.socket) -> Any:
    """The next message; blocks until it is whole.

    Raises:
        EOFError: the other side is gone.
        OSError: likewise, in other words.
    """
    header, files, _, _ = socket.recv_fds(line, _HEADER.size, 1)
    if not header:
        raise EOFError
    if len(header) < _HEADER.size:
        header += _exactly(line, _HEADER.size - len(header))
    length, nbytes, in_file = _HEADER.unpack(header)
    try:
        pickled = _exactly(line, length)
        data = mmap.mmap(files[0], nbytes, _MAP) if in_file else _aligned(_exactly(line, nbytes))
    finally:
        for file in files:
            os.close(file)
    return _Unpickler(io.BytesIO(pickled), data).load()


def _write(file: int, part: memoryview, offset: int) -> None:
    while part:
        written = os.pwrite(file, part, offset)
        part, offset = part[written:], offset + written


def _exactly(line: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        got = line.recv_into(view)
        if not got:
            raise EOFError
        view = view[got:]
    return data


def _aligned(data: bytearray) -> Any:
    """The same bytes from a border on."""
    if not data:
        return data
    return torch.frombuffer(data, dtype=torch.uint8).clone().numpy()
