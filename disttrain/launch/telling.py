"""What a person is told at the start of a run: what its bits depend on, and how closely they are looked at."""

from __future__ import annotations

import os
import shlex
from typing import Any

import torch

from disttrain.data.stream_plan import StreamPlan
from disttrain.launch.config import RunConfig
from disttrain.orchestrator.replicas import expected_steps
from disttrain.rundir.identity import RunDescription
from disttrain.rundir.resume import ResumePoint
from disttrain.rundir.timeline import Console
from disttrain.training.job import Job
from disttrain.training.program import Kind


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


def tell_start(console: Console, config: RunConfig, run_dir: str, job: Job, resume: ResumePoint | None) -> None:
    """What a training begins with: where it is kept, who computes, in how many slices, on what, from where."""
    for line in start_lines(config, run_dir, job, resume, cores_here() if config.address is None else None):
        console.note(line)
    tell_audits(console, config, job.virtual_workers)


def start_lines(config: RunConfig, run_dir: str, job: Job, resume: ResumePoint | None, cores: int | None) -> list[str]:
    """The block, a line each.

    Args:
        cores: of this machine, where the workers are to compute on it.
    """
    plan = job.program.plan(Kind.TRAIN)
    each = f"{config.cpus_per_worker} CPU{'s' if config.cpus_per_worker > 1 else ''} each"
    where = "on this machine" if config.address is None else f"on the Ray cluster at {config.address}"
    slices = f"V = {job.virtual_workers} slice{'s' if job.virtual_workers > 1 else ''} of each batch"
    lines = [
        f"run      {shown(run_dir)}",
        f"workers  {config.workers} {where}, {each}; {slices}",
        f"data     {data_words(plan)}, {job.program.epochs} epoch{'s' if job.program.epochs > 1 else ''}",
        f"from     {'the start' if resume is None else f'checkpoint {resume.name}'}",
        f"watch    disttrain view {quoted(run_dir)}   or   disttrain status {quoted(run_dir)}",
    ]
    if cores is not None and config.workers * config.cpus_per_worker > cores:
        share = "core, which they share" if cores == 1 else f"{cores} cores, which they share"
        lines.append(f"note     {config.workers} workers of {each} are more than this machine's {share}")
    return lines


def data_words(plan: Any) -> str:
    """What an epoch is made of; of a stream nobody knows how many samples it has."""
    if isinstance(plan, StreamPlan):
        return "a stream of batches" + ("" if plan.steps_per_epoch is None else f", {plan.steps_per_epoch:,} steps an epoch")
    return f"{plan.samples:,} samples, {plan.known_steps:,} steps of {plan.batch_size} an epoch"


def cores_here() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shown(run_dir: str) -> str:
    """A run directory as a person would write it here."""
    if "://" in run_dir:
        return run_dir
    near = os.path.relpath(run_dir)
    return run_dir if near.startswith("..") else near


def quoted(run_dir: str) -> str:
    """The same, for a shell."""
    return shlex.quote(shown(run_dir))
