"""What travels to the workers, and how it arrives."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import traceback
from types import ModuleType

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


def elsewhere(shipment: Shipment, **environment: str) -> str:
    """What the packed function gives in a process that has imported nothing."""
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS], input=shipment.pickled, capture_output=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_every_imported_module_goes_by_name_whatever_its_type():
    import torch

    import disttrain.utils

    for module in [*{id(module): module for module in list(sys.modules.values()) if isinstance(module, ModuleType)}.values(), torch.ops.aten]:
        if module.__name__ not in ("__main__", "__mp_main__") and type(module).__module__ not in ("py", "_pytest"):
            assert unpack(pack(module)) is module, module.__name__
    assert type(torch.ops) is not ModuleType and type(disttrain.utils) is not ModuleType  # kinds that pickle as no plain module does


def test_a_function_that_names_torch_and_ops_runs_in_another_process(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\nimport torch\nimport torch.nn.functional as F\nimport disttrain as dt\nfrom disttrain.elastic.shipping import pack\n\n\n"
        "ops, relu = dt.ops, torch.ops.aten.relu\n\n\n"
        "def loss():\n    low = F.relu(torch.ops.aten.neg(torch.ones(2))) + relu(torch.zeros(2))\n"
        "    return float(ops.mean(torch.abs(low + 3))), dt.utils.to_categorical([1]).tolist()\n\n\n"
        "sys.stdout.buffer.write(pack(loss).pickled)\n"
    )
    packed = subprocess.run([sys.executable, str(script)], check=True, capture_output=True).stdout
    assert elsewhere(Shipment(packed, [])) == "(3.0, [[0.0, 1.0]])"


def test_neighbours_that_name_each_other_travel_by_value(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "first_of_ring.py").write_text("import second_of_ring\n\n\ndef answer():\n    return second_of_ring.answer()\n")
    (tmp_path / "second_of_ring.py").write_text("import first_of_ring\n\n\ndef answer():\n    return first_of_ring.__name__\n")
    module = importlib.import_module("first_of_ring")
    for name in ("first_of_ring", "second_of_ring"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "first_of_ring", module)
    monkeypatch.setitem(sys.modules, "second_of_ring", module.second_of_ring)
    assert elsewhere(pack(lambda: module.answer(), tmp_path)) == "first_of_ring"


def test_what_the_script_has_added_to_the_path_travels_by_value_and_what_was_there_goes_by_name(tmp_path, monkeypatch):
    began = tuple(sys.path)
    for folder in ("known", "added"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"module_{folder}.py").write_text("def answer():\n    return __name__\n")
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    known, added = importlib.import_module("module_known"), importlib.import_module("module_added")
    began = (*began, str(tmp_path / "known"))
    assert elsewhere(pack(added.answer, None, began)) == "module_added"
    assert elsewhere(pack(lambda: added.answer(), None, began)) == "module_added"
    assert elsewhere(pack(known.answer, None, began), PYTHONPATH=str(tmp_path / "known")) == "module_known"
    assert len(pack(known.answer, None, began).pickled) < 100 < len(pack(added.answer, None, began).pickled)
