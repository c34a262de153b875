"""What travels to the workers, and how it arrives."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from disttrain.elastic.shipping import Shipment, pack, unpack


def test_a_function_of_the_script_fails_elsewhere_with_the_lines_of_the_script(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\nfrom disttrain.elastic.shipping import pack\n\n\n"
        "def outer():\n    def inner():\n        raise ArithmeticError('a mistake')\n    return inner\n\n\n"
        "sys.stdout.buffer.write(pack(outer).pickled)\n"
    )
    packed = subprocess.run([sys.executable, str(script)], check=True, capture_output=True).stdout
    function = unpack(Shipment(packed, []))
    try:
        function()()
    except ArithmeticError as error:
        shown = "".join(traceback.format_exception(error))
    assert f"File \"{script}\", line 7, in inner\n    raise ArithmeticError('a mistake')" in shown
    assert unpack(pack(function))().__code__.co_filename == str(script)


def test_a_second_pack_resolves_no_file_that_the_first_one_has_seen(tmp_path, monkeypatch):
    pack(1, tmp_path)
    resolved = []
    monkeypatch.setattr(os.path, "realpath", lambda path, own=os.path.realpath: resolved.append(path) or own(path))
    pack(1, tmp_path)
    assert [path for path in resolved if os.path.isabs(path)] == [tmp_path]


def test_a_module_beside_the_script_that_is_imported_later_travels_by_value_too(tmp_path, monkeypatch):
    real, linked = tmp_path / "real", tmp_path / "linked"
    real.mkdir()
    linked.symlink_to(real)  # the script was started through a link
    monkeypatch.syspath_prepend(str(linked))
    for name in ("first_neighbour", "second_neighbour"):
        (real / f"{name}.py").write_text("def answer():\n    return __name__\n")
        module = importlib.import_module(name)
        shipment = pack(module.answer, real)
        monkeypatch.delitem(sys.modules, name)
        (real / f"{name}.py").unlink()  # as on a machine that has no such file
        assert unpack(shipment)() == name


# -- modules ----------------------------------------------------------------------------------------------------------------------------

IN_ANOTHER_PROCESS = "import pickle, sys; function = pickle.loads(sys.stdin.buffer.read()); print(function())"
LOSS = """
import torch
import torch.nn.functional as F
import disttrain as dt

ops, relu = dt.ops, torch.ops.aten.relu

def loss():
    low = F.relu(torch.ops.aten.neg(torch.ones(2))) + relu(torch.zeros(2))
    return float(ops.mean(torch.abs(low + 3))), dt.utils.to_categorical([1]).tolist()
"""


def test_a_function_that_names_torch_and_ops_runs_in_another_process():
    names = {"__name__": "__main__"}
    exec(LOSS, names)
    packed = pack(names["loss"]).pickled
    done = subprocess.run([sys.executable, "-c", IN_ANOTHER_PROCESS], input=packed, capture_output=True)
    assert done.stdout.decode().strip() == "(3.0, [[0.0, 1.0]])", done.stderr.decode()


def test_every_imported_module_goes_by_name_whatever_its_type():
    import disttrain.utils
    import torch

    kinds = {type(module) for module in list(sys.modules.values()) if isinstance(module, ModuleType)}
    assert {ModuleType, type(torch.ops), type(disttrain.utils)} <= kinds  # some pickle as no plain module does
    found = {id(module): module for module in list(sys.modules.values()) if isinstance(module, ModuleType)}
    for module in [*found.values(), torch.ops.aten]:
        if module.__name__ not in ("__main__", "__mp_main__"):
            assert unpack(pack(module)) is module, module.__name__


def imported(monkeypatch: pytest.MonkeyPatch, folder: Path, **texts: str) -> list[ModuleType]:
    """Modules with these texts, from files in `folder`, which is on the path."""
    folder.mkdir(exist_ok=True)
    monkeypatch.syspath_prepend(str(folder))
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    modules = [importlib.import_module(name) for name in texts]
    for module in modules:
        monkeypatch.setitem(sys.modules, module.__name__, module)  # so that it goes with the test
    return modules


def as_elsewhere(monkeypatch: pytest.MonkeyPatch, shipment: Shipment, folder: Path) -> Any:
    """Unpacked as on a machine that has no such files."""
    for name in [path.stem for path in folder.glob("*.py")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(folder)])
    return unpack(shipment)


def test_neighbours_that_name_each_other_travel_by_value(tmp_path, monkeypatch):
    first, _ = imported(
        monkeypatch, tmp_path, first_of_ring="import second_of_ring\n\n\ndef answer():\n    return second_of_ring.answer()\n",
        second_of_ring="import first_of_ring\n\n\ndef answer():\n    return first_of_ring.__name__\n",
    )  # fmt: skip
    assert as_elsewhere(monkeypatch, pack(lambda: first.answer(), tmp_path), tmp_path)() == "first_of_ring"


def test_what_was_found_by_a_path_of_the_script_travels_by_value_and_what_was_there_before_by_name(tmp_path, monkeypatch):
    text = "def answer():\n    return __name__\n"
    (known,) = imported(monkeypatch, tmp_path / "known", module_known=text)
    began = tuple(sys.path)
    (added,) = imported(monkeypatch, tmp_path / "added", module_added=text)
    shipment = pack((added.answer, lambda: added.answer(), known.answer), None, began)
    one, other, by_name = as_elsewhere(monkeypatch, shipment, tmp_path / "added")
    assert one() == other() == "module_added" and one is not added.answer
    assert by_name is known.answer
    with pytest.raises(ModuleNotFoundError):
        as_elsewhere(monkeypatch, pack(known.answer, None, began), tmp_path / "known")
