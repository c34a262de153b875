"""README's first script runs as it is printed, and learns."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_first_block_runs_as_printed_and_learns(tmp_path, monkeypatch):
    (code,) = re.findall(r"^```python\n(# train\.py\n.*?)^```", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "train.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    made = runpy.run_path("train.py", run_name="__main__")
    assert made["model"].evaluate(made["x"], made["y"], verbose=0, return_dict=True)["accuracy"] > 0.9


def test_the_line_for_a_cpu_machine_installs_the_build_that_is_tested():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (build,) = re.findall(r"^TORCH_CPU_BUILD := (.*)$", makefile, re.MULTILINE)
    (index,) = re.findall(r"^TORCH_CPU_INDEX \?= (.*)$", makefile, re.MULTILINE)
    assert f"pip install . {build} --extra-index-url {index} " in README


def test_each_extra_for_users_is_named():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for name in set(extras) - {"dev", "docs", "bench", "bench-hub", "stores"}:
        assert f"[{name}]" in README
