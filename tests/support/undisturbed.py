"""What the script of the fault tests reports in one plain process that nobody disturbs: made once, for every test that compares with it."""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any

import pytest
from launching import python


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of `python everything.py --virtual-workers 4`; processes that share the tests share it too."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    report = shared / "undisturbed.json"
    with (shared / "undisturbed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not report.exists():
            told = python(tmp_path_factory.mktemp("alone"), "--virtual-workers", "4")
            report.write_text(json.dumps(told))
    return dict(json.loads(report.read_text()))
