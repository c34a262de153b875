"""Runs of the fake GPU, each in a process of its own, since the fake takes a place in torch that there is once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch.utils import backend_registration

ROOT = Path(__file__).resolve().parents[2]


def outcomes_of(what: str) -> dict[str, dict[str, Any]]:
    """What became of every case of "layers" or "steps"; skips the test where torch has no such device."""
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch has no device that is made in Python")
    command = [sys.executable, str(ROOT / "tests" / "support" / "fake_gpu.py"), what]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert run.returncode == 0, run.stderr[-3000:]
    return dict(json.loads(line) for line in run.stdout.splitlines())
