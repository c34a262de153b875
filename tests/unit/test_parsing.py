"""JSON that somebody else may have written is read, or is a ValueError; nothing else."""

from __future__ import annotations

import pytest

from disttrain.parsing import parsed, parsed_object

DAMAGED = [
    b"",
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b"\xff\xfe",
    b'{"a": 1',
    b"1" * 10_000,
    b"nul",
    b"\x00",
    '{"a": "\ud800"'.encode("utf-8", "surrogatepass"),
]


@pytest.mark.parametrize("data", DAMAGED, ids=range(len(DAMAGED)))
def test_whatever_is_wrong_with_it_is_a_value_error(data):
    with pytest.raises(ValueError):
        parsed(data)


@pytest.mark.parametrize("data", [b"null", b"[]", b"3", b'"a"', *DAMAGED], ids=range(4 + len(DAMAGED)))
def test_what_is_no_object_is_a_value_error_where_one_is_expected(data):
    with pytest.raises(ValueError):
        parsed_object(data)


def test_what_is_sound_is_read():
    assert parsed_object(b'{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
