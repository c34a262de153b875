import numpy as np
import pytest
import torch
from off_border import begins_on_border, off_border
from torch import nn

from disttrain.alignment import border_of, copy_of, in_rounds, on_border
from disttrain.collectives.layout import Layout
from disttrain.data.sources import as_batch, standard_layout
from disttrain.elastic.shipping import pack, unpack
from disttrain.training.step.flat import FlatSpace


def test_sizes_are_made_whole_rounds_of_two_of_the_widest_registers():
    assert [in_rounds(numel, 4) for numel in (0, 1, 31, 32, 33)] == [0, 32, 32, 32, 64]
    assert [in_rounds(numel, 8) for numel in (1, 16, 17)] == [16, 16, 32]
    assert in_rounds(1, 2) == 64


def test_only_what_begins_off_a_border_is_copied():
    on = torch.arange(32.0)
    off = on[4:]
    assert on_border(on) is on and not begins_on_border(off)
    moved = on_border(off)
    assert begins_on_border(moved) and torch.equal(moved, off)


def test_a_copy_keeps_a_dense_order_of_axes():
    off = torch.arange(64.0)[4:].view(2, 3, 10).transpose(0, 2)
    assert on_border(off).stride() == off.stride()


@pytest.mark.parametrize("array", [np.arange(7), np.float32(3.0).reshape(()), np.zeros((0, 3)), np.arange(9.0)[::-1]], ids=str)
def test_an_array_becomes_a_tensor_of_the_same_values_and_dtype(array):
    tensor = copy_of(array)
    assert begins_on_border(tensor) and tensor.shape == array.shape
    assert tensor.numpy().dtype == array.dtype and (tensor.numpy() == array).all()


@pytest.mark.parametrize("size", [1, 3, 100, 5_000, 300_000])
def test_what_travelled_to_a_worker_begins_where_it_began_before(size):
    sent = [nn.Parameter(torch.rand(size)), torch.rand(size, dtype=torch.float64), torch.zeros(3, size, dtype=torch.bfloat16)]
    arrived = unpack(pack(sent))
    assert all(begins_on_border(tensor) for tensor in arrived)
    assert all(torch.equal(one, other) and one.dtype == other.dtype for one, other in zip(sent, arrived, strict=True))
    assert isinstance(arrived[0], nn.Parameter)


def test_a_batch_begins_on_borders_whatever_a_dataset_gives():
    values = np.random.default_rng(0).random((5, 3), np.float32)
    x, y, weight = as_batch((off_border(values), torch.from_numpy(off_border(values, 4)), off_border(values)[1:]))
    assert all(begins_on_border(tensor) for tensor in (x, y, weight))
    assert begins_on_border(standard_layout(torch.from_numpy(off_border(values))[..., None]))
    assert (x.numpy() == values).all() and (y.numpy() == values).all() and (weight.numpy() == values[1:]).all()


def test_what_lies_side_by_side_on_a_gpu_begins_where_it_would_alone():
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert border_of(None) == border_of(cpu) == 128 and border_of(gpu) == 512
    tensors = [torch.zeros(5), torch.zeros(129), torch.zeros(3, dtype=torch.float64)]
    offsets = [segment.offset * tensor.itemsize for segment, tensor in zip(FlatSpace(tensors, gpu).segments, tensors, strict=True)]
    assert all(offset % 512 == 0 for offset in offsets) and FlatSpace(tensors, gpu).segments != FlatSpace(tensors, cpu).segments
    sections = Layout.of([(torch.float32, 5), (torch.float64, 3)], border_of(gpu)).sections
    assert [section.offset for section in sections] == [0, 512]
