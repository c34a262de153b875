"""Common kernels are chosen before torch loads, in every process that computes, or refused."""

import json
import subprocess
import sys

import pytest

from disttrain.errors import UsageError
from disttrain.launch.config import RunConfig
from disttrain.launch.kernels import COMMON, environment, settle


def test_own_kernels_need_nothing():
    settle("own")
    assert environment("own") == {}


def test_common_ones_come_too_late_once_torch_is_loaded(monkeypatch):
    for name in COMMON:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="too late"):
        settle("common")
    for name, value in COMMON.items():
        monkeypatch.setenv(name, value)
    settle("common")  # whoever started this process saw to it


def test_a_process_that_settles_first_computes_with_them():
    script = (
        "import json, os; from disttrain.launch.kernels import settle; settle('common'); import torch; "
        "print(json.dumps([torch.backends.cpu.get_cpu_capability(), os.environ['MKL_CBWR'], os.environ['ONEDNN_MAX_CPU_ISA']]))"
    )
    found = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    assert found == ["AVX2", "COMPATIBLE", "AVX2"]


def test_other_kernels_are_refused():
    with pytest.raises(UsageError, match="--kernels 'best': expected own or common"):
        RunConfig(kernels="best")
