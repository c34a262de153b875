"""What a call that cannot go on raises in the script's thread."""

from __future__ import annotations

import pytest

from disttrain.controller.ending import user_error
from disttrain.elastic import messages as m

TRACE = 'Traceback (most recent call last):\n  File "train.py", line 7, in call\n    sys.exit(3)\nSystemExit: 3\n'


@pytest.mark.parametrize("error", [SystemExit(3), SystemExit(0), KeyboardInterrupt(), None], ids=repr)
def test_what_ends_a_process_on_a_worker_is_an_error_of_the_script_here(error):
    raised = user_error(m.Failed("w0", 0, 1, 5, error, TRACE))
    assert isinstance(raised, RuntimeError) and str(raised) == "SystemExit: 3"
    assert raised.worker_traceback == TRACE


def test_an_exception_is_raised_as_it_was():
    mine = ArithmeticError("mine")
    assert user_error(m.Failed("w0", 0, 1, 5, mine, TRACE)) is mine
