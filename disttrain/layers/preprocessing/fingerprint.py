"""Hashes of strings that never change: FarmHash's Fingerprint64 and SipHash-2-4, those that Keras's layers hash with.

Fingerprint64: github.com/google/farmhash, `farmhashna::Hash64`. SipHash: Aumasson and Bernstein 2012.
"""

from __future__ import annotations

from collections.abc import Sequence

_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
_ALL = (1 << 64) - 1
_CAT = 0xC6A4A7935BD1E995


def fingerprint64(data: bytes) -> int:
    """FarmHash's fingerprint, a whole number below 2**64."""
    n = len(data)
    if n <= 16:
        return _to_16(data)
    if n <= 32:
        return _to_32(data)
    if n <= 64:
        return _to_64(data)
    seed = 81
    x, y = seed, (seed * _K1 + 113) & _ALL
    z = _mix((y * _K2 + 113) & _ALL) * _K2 & _ALL
    v, w = (0, 0), (0, 0)
    x = (x * _K2 + _word(data, 0)) & _ALL
    whole = (n - 1) // 64 * 64
    for at in range(0, whole, 64):
        x = _rotate(x + y + v[0] + _word(data, at + 8), 37) * _K1 & _ALL
        y = _rotate(y + v[1] + _word(data, at + 48), 42) * _K1 & _ALL
        x ^= w[1]
        y = (y + v[0] + _word(data, at + 40)) & _ALL
        z = _rotate(z + w[0], 33) * _K1 & _ALL
        v = _weak(data, at, v[1] * _K1, x + w[0])
        w = _weak(data, at + 32, z + w[1], y + _word(data, at + 16))
        z, x = x, z
    multiplier = (_K1 + ((z & 0xFF) << 1)) & _ALL
    at = n - 64
    first = (w[0] + ((n - 1) & 63)) & _ALL
    v = ((v[0] + first) & _ALL, v[1])
    w = ((first + v[0]) & _ALL, w[1])
    x = _rotate(x + y + v[0] + _word(data, at + 8), 37) * multiplier & _ALL
    y = _rotate(y + v[1] + _word(data, at + 48), 42) * multiplier & _ALL
    x ^= w[1] * 9 & _ALL
    y = (y + v[0] * 9 + _word(data, at + 40)) & _ALL
    z = _rotate(z + w[0], 33) * multiplier & _ALL
    v = _weak(data, at, v[1] * multiplier, x + w[0])
    w = _weak(data, at + 32, z + w[1], y + _word(data, at + 16))
    z, x = x, z
    one = _join(v[0], w[0], multiplier) + _mix(y) * _K0 + z
    return _join(one & _ALL, (_join(v[1], w[1], multiplier) + x) & _ALL, multiplier)


def siphash64(data: bytes, key: Sequence[int]) -> int:
    """SipHash-2-4 with a key of two whole numbers."""
    k0, k1 = key[0] & _ALL, key[1] & _ALL
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    padded = data + bytes(-(len(data) + 1) % 8) + bytes([len(data) & 0xFF])
    for at in range(0, len(padded), 8):
        word = _word(padded, at)
        v[3] ^= word
        _round(v)
        _round(v)
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(4):
        _round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def joined64(one: int, two: int) -> int:
    """The fingerprint of two fingerprints (TensorFlow's `FingerprintCat64`)."""
    result = one ^ _CAT
    result ^= _mix(two * _CAT & _ALL) * _CAT & _ALL
    result = result * _CAT & _ALL
    return _mix(_mix(result) * _CAT & _ALL)


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _rotate(value: int, by: int) -> int:
    value &= _ALL
    return ((value >> by) | (value << (64 - by))) & _ALL


def _mix(value: int) -> int:
    return value ^ (value >> 47)


def _join(one: int, two: int, multiplier: int) -> int:
    a = _mix((one ^ two) * multiplier & _ALL)
    b = _mix((two ^ a) * multiplier & _ALL)
    return b * multiplier & _ALL


def _to_16(data: bytes) -> int:
    n = len(data)
    multiplier = (_K2 + n * 2) & _ALL
    if n >= 8:
        a, b = (_word(data, 0) + _K2) & _ALL, _word(data, n - 8)
        c = (_rotate(b, 37) * multiplier + a) & _ALL
        d = (_rotate(a, 25) + b) * multiplier & _ALL
        return _join(c, d, multiplier)
    if n >= 4:
        first = int.from_bytes(data[:4], "little")
        return _join((n + (first << 3)) & _ALL, int.from_bytes(data[n - 4 :], "little"), multiplier)
    if n:
        y = data[0] + (data[n >> 1] << 8)
        z = n + (data[n - 1] << 2)
        return _mix((y * _K2 ^ z * _K0) & _ALL) * _K2 & _ALL
    return _K2


def _to_32(data: bytes) -> int:
    n = len(data)
    multiplier = (_K2 + n * 2) & _ALL
    a, b = _word(data, 0) * _K1 & _ALL, _word(data, 8)
    c, d = _word(data, n - 8) * multiplier & _ALL, _word(data, n - 16) * _K2 & _ALL
    one = (_rotate(a + b, 43) + _rotate(c, 30) + d) & _ALL
    return _join(one, (a + _rotate(b + _K2, 18) + c) & _ALL, multiplier)


def _to_64(data: bytes) -> int:
    n = len(data)
    multiplier = (_K2 + n * 2) & _ALL
    a, b = _word(data, 0) * _K2 & _ALL, _word(data, 8)
    c, d = _word(data, n - 8) * multiplier & _ALL, _word(data, n - 16) * _K2 & _ALL
    y = (_rotate(a + b, 43) + _rotate(c, 30) + d) & _ALL
    z = _join(y, (a + _rotate(b + _K2, 18) + c) & _ALL, multiplier)
    e, f = _word(data, 16) * multiplier & _ALL, _word(data, 24)
    g, h = (y + _word(data, n - 32)) * multiplier & _ALL, (z + _word(data, n - 24)) * multiplier & _ALL
    one = (_rotate(e + f, 43) + _rotate(g, 30) + h) & _ALL
    return _join(one, (e + _rotate(f + a, 18) + g) & _ALL, multiplier)


def _weak(data: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = (_word(data, at + place) for place in (0, 8, 16, 24))
    a = (a + w) & _ALL
    b = _rotate(b + a + z, 21)
    c = a
    a = (a + x + y) & _ALL
    b = (b + _rotate(a, 44)) & _ALL
    return (a + z) & _ALL, (b + c) & _ALL


def _round(v: list[int]) -> None:
    v[0] = (v[0] + v[1]) & _ALL
    v[1] = _left(v[1], 13) ^ v[0]
    v[0] = _left(v[0], 32)
    v[2] = (v[2] + v[3]) & _ALL
    v[3] = _left(v[3], 16) ^ v[2]
    v[0] = (v[0] + v[3]) & _ALL
    v[3] = _left(v[3], 21) ^ v[0]
    v[2] = (v[2] + v[1]) & _ALL
    v[1] = _left(v[1], 17) ^ v[2]
    v[2] = _left(v[2], 32)


def _left(value: int, by: int) -> int:
    return ((value << by) | (value >> (64 - by))) & _ALL
