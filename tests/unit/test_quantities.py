"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest

from disttrain import quantities
from disttrain.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("200ms", 0.2),
        ("30s", 30),
        ("30 sec", 30),
        ("5min", 300),
        ("5m", 300),
        ("1.5h", 5400),
        ("2 hours", 7200),
        ("30d", 2592000),
        ("1DAY", 86400),
    ],
)
def test_a_duration_has_a_number_and_a_unit(text, seconds):
    assert quantities.seconds(text, "--mtbf") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "often", "-5s", "3 fortnights", "0s", "nan s", "10GB"])
def test_what_is_no_duration_is_refused_by_the_option_s_name(text):
    with pytest.raises(UsageError, match=r"--mtbf .*such as 200ms, 30s"):
        quantities.seconds(text, "--mtbf")


def test_none_at_all_is_allowed_where_that_has_a_meaning():
    assert quantities.seconds("0", "--start", zero=True) == quantities.seconds("0s", "--start", zero=True) == 0.0


@pytest.mark.parametrize(("text", "size"), [("10GB", 10e9), ("1.5 TB", 1.5e12), ("512MiB", 2**29), ("7b", 7), ("10GB/s", 10e9)])
def test_a_size_has_a_number_and_a_unit_and_a_rate_is_that_of_a_second(text, size):
    assert quantities.size_bytes(text, "--state") == size


@pytest.mark.parametrize("text", ["10", "10G", "0GB", "large", "5s"])
def test_what_is_no_size_is_refused_by_the_option_s_name(text):
    with pytest.raises(UsageError, match=r"--state .*such as 500MB, 10GB"):
        quantities.size_bytes(text, "--state")
