"""What travels to the workers, and how it arrives."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import traceback

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
