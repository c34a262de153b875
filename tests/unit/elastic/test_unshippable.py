"""What cannot be sent to the workers is named as the script calls it, with the line."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import disttrain as dt
from disttrain.elastic.shipping import pack
from disttrain.errors import UsageError

LOCK = threading.Lock()


def uses_a_lock(x: Any) -> Any:
    y = x + 1
    with LOCK:
        return y


def told(value: Any) -> str:
    with pytest.raises(UsageError) as refused:
        pack(value)
    return str(refused.value)


def by_value(function: Any) -> Any:
    """As one of the script's own: those of a module that can be imported travel by name."""
    function.__module__ = "__main__"
    return function


def test_a_global_variable_is_named_with_its_function_and_the_line_that_uses_it():
    words = told(by_value(uses_a_lock))
    line = uses_a_lock.__code__.co_firstlineno
    assert f"uses_a_lock() ({__file__}:{line}) cannot be sent to the workers: its variable LOCK is a lock" in words
    assert f"in line {line + 2}: with LOCK:" in words and "cannot pickle '_thread.lock' object" in words and "try" in words


def test_a_variable_of_a_closure_and_what_lies_inside_it():
    stock = {"good": 1, "bad": [torch.ones(2), threading.Lock()]}

    def loss(y: Any, p: Any) -> Any:
        return stock["good"]

    words = told(loss)
    assert "loss() (" in words and "its variable stock['bad'][1] is a lock" in words and 'return stock["good"]' in words


def test_a_default_a_partial_and_a_function_inside_a_function():
    def inner(lock: Any = threading.Lock()) -> None:  # noqa: B008
        return None

    def outer() -> Any:
        return inner()

    assert "outer.inner()" not in told(outer)
    assert ".inner() (" in told(outer) and "its variable lock is a lock" in told(outer)
    assert "its variable lock is a lock" in told(functools.partial(inner, 1))


def test_an_attribute_of_a_layer_is_named_by_its_path():
    @dataclass
    class Job:
        model: Any

    model = dt.Sequential([dt.Input((2,)), dt.layers.Dense(1)])
    model.layers[-1].notes = threading.Lock()
    words = told(by_value(Job)(model))
    assert words.startswith("model.") and ".notes cannot be sent to the workers" in words and "build() of a layer" in words


def test_an_attribute_of_a_class_is_named_with_the_class():
    class Slow(dt.layers.Layer):
        lock = threading.Lock()

    words = told(Slow())
    assert "Slow (" in words and "its variable lock is a lock" in words


def test_the_first_error_stays_the_cause():
    with pytest.raises(UsageError) as refused:
        pack(by_value(uses_a_lock))
    assert isinstance(refused.value.__cause__, TypeError)


def test_a_strange_object_is_the_culprit_itself():
    class Strange:
        def __reduce_ex__(self, protocol: Any) -> Any:
            raise ArithmeticError("never")

        def __getstate__(self) -> Any:
            raise ArithmeticError("never")

    assert "[0] cannot be sent to the workers: never" in told([Strange()])


def test_what_a_script_ships_is_named_in_the_file_of_the_script(tmp_path):
    script, names = tmp_path / "train.py", {"__name__": "__main__"}
    script.write_text("import threading\n\nlock = threading.Lock()\n\n\ndef my_loss(y, p):\n    lock.acquire()\n    return y\n")
    exec(compile(script.read_text(), str(script), "exec"), names)
    words = told({"loss": names["my_loss"]})
    assert f"my_loss() ({script}:6) cannot be sent to the workers: its variable lock is a lock" in words
    assert "in line 7: lock.acquire()" in words
