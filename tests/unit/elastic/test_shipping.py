"""What travels to the workers, and how it arrives."""

from __future__ import annotations

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
