"""The tree of errors: it crosses processes, and each kind has its exit code."""

from __future__ import annotations

import builtins
import inspect
import pickle

import pytest

from disttrain import errors

ALL = [error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, BaseException)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_pickles_with_its_message(kind):
    copy = pickle.loads(pickle.dumps(kind("what was wrong\n  try  this")))
    assert type(copy) is kind and str(copy) == "what was wrong\n  try  this"


def test_what_a_person_typed_is_a_value_error_and_exits_with_2():
    users = {kind.__name__ for kind in ALL if issubclass(kind, errors.UsageError)}
    assert users == {
        "UsageError", "RunMismatch", "RunNotShared", "RunUnwritable", "DataError", "NonFiniteLoss", "NondeterministicStep",
        "OutOfDeviceMemory", "DeviceAssert",
    }  # fmt: skip
    assert all(kind.exit_code == 2 and issubclass(kind, ValueError) for kind in ALL if kind.__name__ in users)


def test_exit_codes_of_the_other_kinds():
    codes = {kind.__name__: kind.exit_code for kind in ALL if not issubclass(kind, errors.UsageError)}
    assert codes == {
        "DisttrainError": 1,
        "CheckpointError": 3,
        "CheckpointIncomplete": 3,
        "CheckpointCorrupt": 3,
        "CheckpointMismatch": 2,
        "InfrastructureError": 3,
        "NotEnoughWorkers": 3,
        "RunInUse": 3,
        "StorageUnavailable": 3,
        "PoisonBatch": 1,
        "Interrupted": 130,
    }


def test_an_interruption_is_no_ordinary_exception():
    assert issubclass(errors.Interrupted, KeyboardInterrupt) and not issubclass(errors.Interrupted, Exception)


def test_the_docstring_draws_the_tree_as_it_is():
    drawn: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        name = line.strip().split(" ")[0]
        if not line.startswith("    ") or not (hasattr(errors, name) or hasattr(builtins, name)):
            continue
        depth = len(line) - len(line.lstrip())
        path = [entry for entry in path if entry[0] < depth]
        drawn[name] = path[-1][1] if path else None
        path.append((depth, name))
    for name, parent in drawn.items():
        if parent is not None:
            assert parent in [base.__name__ for base in getattr(errors, name).__bases__]
    assert set(drawn) >= {kind.__name__ for kind in ALL}
