"""Batches from one process of a machine to another: structure as a pickle, tensors in memory that both see, where there is some.

A message is a header, the pickle, and the bytes of all tensors, each on a border: behind the pickle if they are few, else in a file of
memory whose descriptor travels with the header. Whoever receives it maps the file, so nothing is copied on that side. A tensor that was
made in a file of its own (`SharedRoom`) goes as that.
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
from disttrain.data.shared_room import FILES, MAP, SharedRoom, new_file

_HEADER = struct.Struct("<QQ?B")  # bytes of the pickle, bytes of the tensors, are those in a file? files of tensors beside
_IN_LINE = 16 << 10  # so few bytes are not worth a file
_MOST_FILES = 250  # that the kernel lets travel with a message

_Placed = tuple[int, int, torch.dtype, tuple[int, ...]]  # its file, 0 for that of all; where its bytes begin there; and what they are


class _Pickler(pickle.Pickler):
    """Sets plain tensors of the CPU aside."""

    def __init__(self, stream: io.BytesIO, room: SharedRoom | None) -> None:
        super().__init__(stream, protocol=5)
        self.tensors: list[tuple[int, Tensor]] = []
        self.nbytes = 0
        self.files: list[int] = []
        self._room = room

    def persistent_id(self, value: Any) -> _Placed | None:
        if type(value) is not Tensor or value.device.type != "cpu" or value.layout != torch.strided or value.requires_grad:
            return None
        if value.is_quantized or value.is_conj() or value.is_neg():
            return None
        own = None if self._room is None else self._room.file_of(value)
        if own is not None and (own in self.files or len(self.files) < _MOST_FILES):
            if own not in self.files:
                self.files.append(own)
            return self.files.index(own) + 1, 0, value.dtype, tuple(value.shape)
        offset = -(-self.nbytes // BORDER_BYTES) * BORDER_BYTES
        self.tensors.append((offset, value))
        self.nbytes = offset + value.numel() * value.element_size()
        return 0, offset, value.dtype, tuple(value.shape)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, data: list[Any]) -> None:
        super().__init__(stream)
        self._data = data

    def persistent_load(self, placed: _Placed) -> Tensor:
        file, offset, dtype, shape = placed
        count = int(np.prod(shape, dtype=np.int64))
        if not count:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(self._data[file], dtype=dtype, count=count, offset=offset).view(shape)


def _bytes_of(tensor: Tensor) -> memoryview:
    array: Any = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    return memoryview(array)


def send(line: socket.socket, value: Any, room: SharedRoom | None = None) -> None:
    """One message; blocks until it is on its way.

    Args:
        room: what tensors may lie in that need not be copied.

    Raises:
        OSError: the other side is gone.
    """
    stream = io.BytesIO()
    pickler = _Pickler(stream, room)
    pickler.dump(value)
    pickled, nbytes = stream.getbuffer(), pickler.nbytes
    if nbytes <= _IN_LINE or not FILES:
        data = bytearray(nbytes)
        for offset, tensor in pickler.tensors:
            if tensor.numel():
                part = _bytes_of(tensor)
                data[offset : offset + len(part)] = part
        _send_header(line, _HEADER.pack(len(pickled), nbytes, False, len(pickler.files)), pickler.files)
        line.sendall(pickled)
        line.sendall(data)
        return
    file = new_file(nbytes)
    try:
        for offset, tensor in pickler.tensors:
            if tensor.numel():
                _write(file, _bytes_of(tensor), offset)
        _send_header(line, _HEADER.pack(len(pickled), nbytes, True, len(pickler.files)), [file, *pickler.files])
        line.sendall(pickled)
    finally:
        os.close(file)


def receive(line: socket.socket) -> Any:
    """The next message; blocks until it is whole.

    Raises:
        EOFError: the other side is gone.
        OSError: likewise, in other words.
    """
    header, files, _, _ = socket.recv_fds(line, _HEADER.size, _MOST_FILES + 1)
    if not header:
        raise EOFError
    if len(header) < _HEADER.size:
        header += _exactly(line, _HEADER.size - len(header))
    length, nbytes, in_file, own = _HEADER.unpack(header)
    try:
        pickled = _exactly(line, length)
        data = [mmap.mmap(files[0], nbytes, MAP) if in_file else _aligned(_exactly(line, nbytes))]
        data += [mmap.mmap(file, 0, MAP) for file in files[len(files) - own :]]
    finally:
        for file in files:
            os.close(file)
    return _Unpickler(io.BytesIO(pickled), data).load()


def _send_header(line: socket.socket, header: bytes, files: list[int]) -> None:
    if files:
        socket.send_fds(line, [header], files)
    else:
        line.sendall(header)


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
