"""What was computed once, within a limit of bytes."""

from __future__ import annotations

from disttrain.viewers.cache import BoundedCache


def test_what_was_used_longest_ago_goes_first():
    cache = BoundedCache(10)
    cache.put("a", "A", 4)
    cache.put("b", "B", 4)
    assert cache.get("a") == "A"
    cache.put("c", "C", 4)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == ("A", None, "C") and cache.size_bytes == 8


def test_a_value_that_is_put_again_counts_once_and_one_that_is_too_large_is_not_kept():
    cache = BoundedCache(10)
    cache.put("a", 1, 6)
    cache.put("a", 2, 7)
    assert cache.get("a") == 2 and cache.size_bytes == 7 and len(cache) == 1
    cache.put("a", 3, 11)
    assert cache.get("a") is None and cache.size_bytes == 0
