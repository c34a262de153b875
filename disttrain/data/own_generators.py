"""Generators of random numbers that the script's own datasets, samplers and functions hold: found, seeded, kept and put back."""

from __future__ import annotations

import functools
import pickle
import random
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from disttrain.data.generators import sample_seed

_ITEMS = 64  # of a list or a dict that are looked at
_NODES = 4000  # that are looked at in all
_NO_SCRIPTS = ("abc", "builtins", "collections", "disttrain", "numpy", "pandas", "pyarrow", "ray", "threading", "torch", "typing")

Generator = np.random.Generator | np.random.RandomState | random.Random | torch.Generator


def generators_of(*roots: Any) -> list[Any]:
    """The generators that these hold in their attributes, in lists and dicts, in closures, or as globals that their functions name, each
    once, in an order that is the same in every process. Those of Python, NumPy and torch themselves are not among them."""
    return [found for found in _reached(roots) if isinstance(found, Generator)]


def objects_of(*roots: Any) -> list[Any]:
    """The objects of the script's own classes that these consist of."""
    return [found for found in _reached(roots) if not isinstance(found, (Generator, *_FUNCTIONS)) and _is_of_a_script(type(found))]


def seed_own(generators: Sequence[Any], key: int) -> None:
    """Seed each of them, so that what it draws is a function of the key."""
    for number, generator in enumerate(generators):
        seed = sample_seed(key, number + 1)
        if isinstance(generator, np.random.Generator):
            bits: Any = generator.bit_generator
            bits.state = type(bits)(seed).state
        elif isinstance(generator, np.random.RandomState):
            generator.seed(seed % 2**32)
        elif isinstance(generator, torch.Generator):
            generator.manual_seed(seed)
        else:
            generator.seed(seed)


def states_of(generators: Sequence[Any]) -> list[Any]:
    """Where each of them stands, in numbers, arrays, tensors, and lists, tuples and dicts of them."""
    return [_state(generator) for generator in generators]


def put_back(generators: Sequence[Any], states: Sequence[Any]) -> None:
    """The inverse."""
    for generator, state in zip(generators, states, strict=False):
        if isinstance(generator, np.random.Generator):
            generator.bit_generator.state = state
        elif isinstance(generator, np.random.RandomState | torch.Generator):
            generator.set_state(state)
        else:
            generator.setstate(state)


def fingerprints(generators: Sequence[Any]) -> list[bytes]:
    """Bytes that differ for each of them that has been drawn from."""
    return [pickle.dumps(state.numpy() if isinstance(state, torch.Tensor) else state) for state in states_of(generators)]


def _state(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return generator.get_state() if isinstance(generator, torch.Generator) else generator.getstate()


_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)


def _reached(roots: Sequence[Any]) -> list[Any]:
    """Generators, functions and objects that can be reached, breadth first."""
    everybodys = {id(random._inst), id(np.random.mtrand._rand), id(torch.default_generator)}
    seen, found, waiting = set(everybodys), [], [root for root in roots if root is not None]
    while waiting and len(seen) < _NODES:
        value = waiting.pop(0)
        if id(value) in seen or isinstance(value, _Leaf):
            continue
        seen.add(id(value))
        if isinstance(value, Generator):
            found.append(value)
            continue
        if isinstance(value, _FUNCTIONS) or hasattr(value, "__dict__"):
            found.append(value)
        waiting += list(_inside(value))
    return found


_Leaf = (
    str | bytes | int | float | complex | bool | type | types.ModuleType | types.BuiltinFunctionType | np.ndarray | np.generic
    | torch.Tensor | torch.nn.Module | random.SystemRandom
)  # fmt: skip


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, types.MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value)
    elif isinstance(value, Mapping):
        if type(value) is dict and len(value) <= _ITEMS:
            yield from value.values()
    elif isinstance(value, list | tuple):
        if len(value) <= _ITEMS:
            yield from value
    elif hasattr(value, "__dict__"):
        yield from list(vars(value).values())
        for part in type(value).__mro__:
            if _is_of_a_script(part):
                for held in list(vars(part).values()):
                    if isinstance(held, Generator):
                        yield held
                    elif isinstance(held, types.FunctionType):
                        yield from _of_function(held)


def _of_function(function: types.FunctionType) -> Iterator[Any]:
    """Generators that it names, functions that it calls, and objects in its closure; others that it names are not its own."""
    names = _names(function.__code__)
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_full(cell)]
    yield from (held for held in cells if not isinstance(held, _Leaf) and hasattr(held, "__dict__") and _is_of_a_script(type(held)))
    for held in (*cells, *(function.__defaults__ or ()), *(function.__globals__.get(name) for name in names)):
        if isinstance(held, Generator) or (isinstance(held, types.FunctionType) and held.__module__ == function.__module__):
            yield held


def _names(code: types.CodeType) -> list[str]:
    inner = [name for held in code.co_consts if isinstance(held, types.CodeType) for name in _names(held)]
    return [*code.co_names, *inner]


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _is_of_a_script(kind: type) -> bool:
    root = kind.__module__.partition(".")[0]
    return root not in _NO_SCRIPTS
