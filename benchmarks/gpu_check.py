"""Is disttrain right on this GPU, and how fast? At most 8 minutes on one GPU; each result is printed as it comes.

Each check runs in a process of its own with a limit, so that one that hangs or loses the GPU keeps no other from running. What should hold
and does not is shown as NO, and makes the exit code 1; without a GPU it is 2. `--device cpu` runs the same checks on a CPU, where they
make sense: it tries the checks, and says nothing of GPUs. The report is Markdown, and written anew after each check.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import HERE, Job, ended, workspace

BUDGET_S = 480.0
_HOLDS = {None: "", True: "yes", False: "NO"}
_LEAST_S = 12.0  # with less than that left, a check is not begun


@dataclass(frozen=True)
class Check:
    """One process.

    Args:
        module, function: where it is; given a `Teller`.
        about: in a line.
        limit_s: so long it may take; then it is killed.
    """

    module: str
    function: str
    about: str
    limit_s: float

    def carry_out(self, tell: Any) -> None:
        """In the process of its own."""
        getattr(importlib.import_module(f"gpu.{self.module}"), self.function)(tell)


# In the order in which they would be missed: what takes long comes late, but for the bits.
CHECKS = {
    "versions": Check("versions", "versions", "on what all of this was found", 45),
    "nccl alone": Check("nccl", "alone", "waits and aborts of NCCL with one rank, ten rounds", 75),
    "nccl absent peer": Check("nccl", "absent_peer", "a communicator whose peer never comes, ten rounds", 75),
    "nccl duplicate": Check("nccl", "duplicate", "two ranks on one GPU: NCCL's words", 45),
    "masks": Check("layers", "masks", "what is drawn is the same on a CPU", 40),
    "layers": Check("layers", "every_layer", "every layer twice, and in a second process, with determinism and without", 120),
    "shared": Check("launches", "shared", "two workers on one GPU, one of them killed: bits, seconds, memory", 150),
    "fault index": Check("faults", "index", "a word beyond an Embedding's", 40),
    "fault label": Check("faults", "label", "a label beyond the classes", 40),
    "fault assertion": Check("faults", "assertion", "an assertion inside a kernel", 40),
    "fault memory": Check("faults", "memory", "a batch that does not fit", 40),
    "fault nan": Check("faults", "nan", "a loss that is not finite", 40),
    "syncs": Check("steps", "syncs", "how often the host waits in a step", 60),
    "saves": Check("steps", "saves", "how long a save stops the training", 60),
    "speed": Check("steps", "fast", "beside the loop that a person writes, deterministic", 80),
    "speed, loose": Check("steps", "fast_and_loose", "the same without determinism", 80),
}


@dataclass
class Outcome:
    """What became of a check."""

    name: str
    seconds: float = 0.0
    results: list[dict[str, Any]] = field(default_factory=list)
    trouble: str = ""

    @property
    def verdict(self) -> str:
        """In a word or few."""
        if self.trouble:
            return self.trouble.splitlines()[0]
        wrong = sum(result["holds"] is False for result in self.results)
        return f"{wrong} NO" if wrong else "as it should be"

    @property
    def well(self) -> bool:
        return not self.trouble and all(result["holds"] is not False for result in self.results)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check; the exit code."""
    options = _options(arguments)
    if options.one is not None:
        return _one(options)
    if options.device == "cuda" and (why := _no_gpu()) is not None:
        print(f"gpu-check: {why}; --device cpu tries the checks themselves on a CPU")
        return 2
    names = options.only or list(CHECKS)
    reports = [options.report] if options.report else []
    if "OUT" in os.environ:
        reports.append(Path(os.environ["OUT"]) / "gpu.md")
    began, outcomes = time.monotonic(), []
    with workspace() as folder:
        for name in names:
            left_s = options.budget - (time.monotonic() - began)
            outcomes.append(_carried_out(name, options.device, folder, left_s))
            for report in reports:
                report.write_text(as_markdown(outcomes, options.device, names))
    _table(outcomes, time.monotonic() - began)
    return 0 if all(outcome.well for outcome in outcomes) else 1


def _carried_out(name: str, device: str, folder: Path, left_s: float) -> Outcome:
    check, outcome = CHECKS[name], Outcome(name)
    print(f"\n{name}: {check.about}", flush=True)
    if left_s < _LEAST_S:
        outcome.trouble = "not begun: no time left"
        print(f"  {outcome.trouble}", flush=True)
        return outcome
    own = folder / name.replace(" ", "-").replace(",", "")
    own.mkdir()
    answers = own / "answers.jsonl"
    answers.touch()
    limit_s = min(check.limit_s, left_s)
    command = [sys.executable, str(HERE / "gpu_check.py"), "--one", name, "--device", device, "--answers", str(answers)]
    with Job(name.replace(",", ""), command, own) as job, answers.open() as lines:
        while True:
            code = job.code
            while line := lines.readline():
                outcome.results.append(result := json.loads(line))
                _print(result)
            outcome.seconds = time.time() - job.started
            if code is not None:
                if code:
                    outcome.trouble = f"{ended(code)}\n{job.tail()}"
                break
            if outcome.seconds > limit_s:
                outcome.trouble = f"killed: not done after {limit_s:.0f} s\n{job.tail()}"
                break
            time.sleep(0.05)
    if outcome.trouble:
        print(f"  {outcome.trouble}", flush=True)
    print(f"  ({outcome.seconds:.1f} s)", flush=True)
    return outcome


def _one(options: argparse.Namespace) -> int:
    """In the process of a check: carry it out, and leave without asking the GPU, which may be lost."""
    from gpu.telling import Teller, in_words  # late: torch, which who only waits needs not

    with options.answers.open("a") as answers:
        tell = Teller(answers, options.device, options.answers.parent)
        try:
            CHECKS[options.one].carry_out(tell)
        except Exception as error:
            import traceback  # late: for failures alone

            traceback.print_exc()
            tell.holds("it can be checked", False, in_words(error, 400))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _no_gpu() -> str | None:
    """Why there is nothing to check; None where there is."""
    import torch  # late: see above

    if torch.cuda.is_available():
        return None
    built = "is built without CUDA" if torch.version.cuda is None else "finds no GPU that it can use"
    return f"no GPU here: torch {torch.__version__} {built}"


def _print(result: dict[str, Any]) -> None:
    print(f"  {_HOLDS[result['holds']]:4}{result['what']}{': ' * bool(result['found'])}{result['found']}", flush=True)


def _table(outcomes: Sequence[Outcome], seconds: float) -> None:
    width = max(len(outcome.name) for outcome in outcomes)
    print(f"\n{'check':{width}}  seconds  ")
    for outcome in outcomes:
        print(f"{outcome.name:{width}}  {outcome.seconds:7.1f}  {outcome.verdict}")
    print(f"{sum(outcome.well for outcome in outcomes)} of {len(outcomes)} as they should be, {seconds:.0f} s", flush=True)


def as_markdown(outcomes: Sequence[Outcome], device: str, names: Sequence[str]) -> str:
    """The report."""
    results = [result for outcome in outcomes for result in outcome.results]
    hardware = next((result["found"] for result in results if result["what"] == "GPU"), platform.processor() or platform.machine())
    lines = [
        "# disttrain on a GPU" if device == "cuda" else "# The checks, tried on a CPU",
        "",
        f"`python benchmarks/gpu_check.py --device {device}`, {time.strftime('%Y-%m-%d %H:%M')} UTC{time.strftime('%z')}, {hardware}.",
        f"{sum(outcome.well for outcome in outcomes)} of {len(names)} checks as they should be"
        + (f", {len(names) - len(outcomes)} to come." if len(outcomes) < len(names) else "."),
        "",
    ]
    for outcome in outcomes:
        lines += [f"## {outcome.name}: {outcome.verdict}", "", f"{CHECKS[outcome.name].about}; {outcome.seconds:.0f} s", ""]
        if outcome.results:
            lines += ["| what | found | holds |", "|---|---|---|"]
            lines += [f"| {_cell(one['what'])} | {_cell(one['found'])} | {_HOLDS[one['holds']]} |" for one in outcome.results]
            lines.append("")
        if outcome.trouble:
            lines += ["```", outcome.trouble, "```", ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu tries the checks themselves")
    made.add_argument("--only", nargs="+", choices=list(CHECKS), metavar="CHECK", help=f"of {', '.join(CHECKS)}")
    made.add_argument("--budget", type=float, default=BUDGET_S, metavar="SECONDS", help="for all of them together (%(default).0f)")
    made.add_argument("--report", type=Path, metavar="FILE", help="Markdown; a copy goes to $OUT/gpu.md where OUT is set")
    made.add_argument("--one", choices=list(CHECKS), help=argparse.SUPPRESS)
    made.add_argument("--answers", type=Path, help=argparse.SUPPRESS)
    return made.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
