"""The stream of words, by each way that computes it, and what is made of it."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from disttrain import philox

FULL = (1 << 64) - 1
# counter, key and result of philox4x64-10, as Random123 publishes them
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B)),
    ((FULL,) * 4, (FULL, FULL), (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0)),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
]
KEYS = (0, 1, 12345, (1 << 63) - 1, (1 << 127) + 99)


def signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_the_published_words_come_out(counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]):
    found = philox.cipher(torch.tensor([[signed(word)] for word in counter]), key[0] | key[1] << 64)
    assert tuple(int(word) & FULL for word in found[:, 0]) == expected


@pytest.mark.parametrize("key", KEYS)
def test_numpy_and_operations_on_whole_numbers_give_one_stream(key: int):
    for count in (0, 1, 3, 4, 5, 1003):
        assert philox.words(key, count).equal(philox.in_whole_numbers(key, count))


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The text of the CUDA kernel, compiled for this processor: it uses nothing that only a GPU has."""
    folder: Path = tmp_path_factory.mktemp("kernel")
    entry = (
        'extern "C" long long word_at(long long place, long long low, long long high) { return philox_word<long long>(place, low, high); }'
    )
    (folder / "kernel.cpp").write_text(f"{philox.KERNEL}\n{entry}\n")
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", "-o", str(folder / "kernel.so"), str(folder / "kernel.cpp")], check=True)
    library = ctypes.CDLL(str(folder / "kernel.so"))
    library.word_at.restype = ctypes.c_longlong
    library.word_at.argtypes = [ctypes.c_longlong] * 3
    return library


@pytest.mark.parametrize("key", KEYS)
def test_the_kernel_for_cuda_gives_the_same_stream(kernel: ctypes.CDLL, key: int):
    expected = philox.words(key, 103).tolist()
    assert [kernel.word_at(place, signed(key & FULL), signed(key >> 64)) for place in range(103)] == expected


def test_torch_reads_the_kernel_as_one_function():
    from torch.cuda.jiterator import _CodeParser

    assert _CodeParser(philox.KERNEL).function_name == "philox_word"


def test_a_stream_does_not_depend_on_what_was_drawn_before_or_on_threads():
    first = philox.words(5, 100)
    philox.words(6, 33)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert philox.in_whole_numbers(5, 100).equal(first) and philox.words(5, 100).equal(first)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_uniform_numbers_lie_between_0_and_1_and_are_spread_evenly(dtype: torch.dtype):
    drawn = philox.uniform(3, (200, 1001), dtype=dtype)
    assert drawn.shape == (200, 1001) and drawn.dtype is dtype and drawn.min() >= 0 and drawn.max() <= 1
    counts = torch.histc(drawn.float(), 10, 0, 1)
    assert (counts - 20020).abs().max() < 600


@pytest.mark.parametrize("law", [philox.SINGLE, philox.DOUBLE])
def test_normal_numbers_of_a_device_have_the_moments_and_tails_of_the_law(law: philox.Law):
    drawn = law.normal(philox.words(7, 1 << 18).view(law.whole[1])[: 1 << 18]).double()
    assert abs(drawn.mean()) < 0.01 and abs(drawn.std() - 1) < 0.01
    assert abs((drawn**3).mean()) < 0.03 and abs((drawn**4).mean() - 3) < 0.06
    for limit, share in ((1.0, 0.31731), (2.0, 0.0455), (3.0, 0.0027)):
        assert abs((drawn.abs() > limit).double().mean() / share - 1) < 0.1
    halves = drawn.view(2, -1)
    assert abs((halves[0] * halves[1]).mean()) < 0.01 and abs(((halves[0] ** 2) * (halves[1] ** 2)).mean() - 1) < 0.02


@pytest.mark.parametrize("law", [philox.SINGLE, philox.DOUBLE])
def test_normal_numbers_have_the_same_bits_whoever_computes_them(law: philox.Law, monkeypatch: pytest.MonkeyPatch):
    # torch's root on a CPU is MKL's, which does not always round as IEEE 754 says; a GPU's does
    monkeypatch.setattr(torch.Tensor, "sqrt_", lambda tensor: torch.from_numpy(np.sqrt(tensor.numpy())))
    drawn = philox.words(11, 1 << 14).view(law.whole[1])
    by_torch, by_numpy = law.normal(drawn), law.normal(drawn.numpy())
    assert by_torch.equal(torch.from_numpy(by_numpy))


@pytest.mark.parametrize("law", [philox.SINGLE, philox.DOUBLE])
def test_logarithm_sine_and_cosine_are_right_to_the_last_bits(law: philox.Law):
    x = torch.rand(4096, dtype=law.real[1], generator=torch.Generator().manual_seed(0)).clamp_min(1e-9)
    tolerance = 4 * torch.finfo(law.real[1]).eps
    torch.testing.assert_close(law.log(x).double(), x.double().log(), rtol=tolerance, atol=tolerance)
    sine, cosine = (part.double() for part in law.direction(philox.words(1, 4096).view(law.whole[1])))
    torch.testing.assert_close(sine**2 + cosine**2, torch.ones_like(sine), rtol=0, atol=2 * tolerance)


def test_a_permutation_holds_each_number_once():
    assert philox.permutation(4, 1000).sort().values.equal(torch.arange(1000))
