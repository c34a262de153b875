"""What a person is told at the start of a run: what its bits depend on, and how closely they are looked at."""

from __future__ import annotations

import torch

from disttrain.launch.config import RunConfig
from disttrain.orchestrator.replicas import expected_steps
from disttrain.rundir.identity import RunDescription
from disttrain.rundir.timeline import Console


def tell_versions(console: Console, description: RunDescription | None, config: RunConfig) -> None:
    """The run goes on with another torch, or other kernels, than it began with."""
    then, now = {} if description is None else description.versions, str(torch.__version__)
    if then.get("torch", now) != now:
        console.note(f"this run began with torch {then['torch']} and goes on with {now}: its bits may differ")
    if (kernels := then.get("kernels", "own")) != config.kernels:
        console.note(f"this run began with --kernels {kernels} and goes on with {config.kernels}: its bits may differ")


def tell_audits(console: Console, config: RunConfig, virtual_workers: int) -> None:
    """How soon audits find a worker that errs, if there are any."""
    share, workers = config.audit_share, min(config.workers, virtual_workers)
    if not share:
        return
    words = "--audit: one worker has no other to compare with"
    if workers > 1:
        steps = expected_steps(share, workers, virtual_workers, 0.001)
        words = f"audits take about {share:.3g} of the time; a worker that errs in one of 1,000 slices is found after {steps:,.0f} steps"
    console.event("audits", words, share=share)
