"""Workers killed by SIGKILL at random moments and at exact places: one digest, no step lost, no process left."""

import os
import random
import signal
import time

import pytest
from launching import ended, launch

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.leaves_behind("processes")]

OPTIONS = ("--virtual-workers", "4", "--seed", "3", "--checkpoint-every", "3steps")


def whole(status, size, most=None):
    """Do so many workers train, every one of them alive?"""
    workers = status["workers"]
    fits = status["kind"] == "fit" and status["phase"] == "running" and size <= len(workers) <= (most or size)
    return fits and not any(ended(worker["pid"]) for worker in workers)


class Gates:
    """Steps whose update waits until the gate is open: nothing is over before what a test waits for has come, however busy the machine."""

    def __init__(self, job, marks, steps):
        self.job, self.marks, self.closed, self.done = job, marks, list(steps), 0

    def open(self, last):
        """All of them up to this step."""
        while self.closed and self.closed[0] <= last:
            self.done = self.closed.pop(0)
            (self.marks / f"gate-{self.done}").touch()

    def until(self, condition):
        """The first status for which `condition` holds; where a group can only change once its members have done a step, they do one."""

        def holds(status):
            if condition(status):
                return True
            asks = [event["time"] for event in self.job.events("decision") if "joins at the next boundary" in event["because"]]
            lost = [event["time"] for event in self.job.events("worker lost")]
            formed = [event["time"] for event in self.job.events("formed")]
            if formed and max([*asks, *lost, 0.0]) > formed[-1] and status["step"] >= self.done:
                self.open(self.closed[0])
            return False

        return self.job.wait_for(holds)


def acts(*harm, gates, marks):
    return ("--sabotage", ",".join([*harm, *(f"gate:{step}:any" for step in gates)]), "--marks", str(marks))


def test_a_worker_that_dies_at_a_place_costs_no_step_and_no_bit(alone, tmp_path, ray_address):
    # What only one of a group can do, such as the second shard of a checkpoint, waits until others have come.
    # A gate holds the step after the checkpoint too, for a shard is written while steps go on.
    marks, steps = tmp_path / "marks", (1, 2, 3, 6, 7, 8, 10, 11, 12, 13)
    harm = acts("reduction:4:2", "optimizer:5:1", "checkpoint:9:1", "reduction:14:0", gates=steps, marks=marks)
    job = launch(tmp_path, "--workers", "3", *OPTIONS, arguments=harm, address=ray_address)
    gates = Gates(job, marks, steps)
    gates.until(lambda s: whole(s, 3))
    gates.open(3)
    job.wait_for(lambda s: len(job.events("worker lost")) == 2)
    gates.until(lambda s: whole(s, 2, 3))
    gates.open(8)
    job.wait_for(lambda s: len(job.events("worker lost")) == 3)
    gates.open(10)
    gates.until(lambda s: whole(s, 2, 3))
    gates.open(13)
    done = job.wait()
    assert done.code == 0, done.out
    assert len(list(marks.glob("done-*"))) == 4, f"not every act happened\n{done.out}"
    assert done.report == alone
    assert len(job.events("worker lost")) == 4 and not job.events("restart")


def test_two_at_once_and_two_of_four_killed_at_random_moments_come_back_and_change_nothing(alone, tmp_path, ray_address):
    chance = random.Random(7)
    marks, steps = tmp_path / "marks", (1, 2, 3, 4, *range(6, 18))
    harm = acts("reduction:5:0", "reduction:5:2", gates=steps, marks=marks)
    job = launch(tmp_path, "--workers", "4", *OPTIONS, arguments=(*harm, "--delay", "0.2"), address=ray_address)
    gates = Gates(job, marks, steps)
    gates.until(lambda s: whole(s, 4))
    gates.open(4)
    job.wait_for(lambda s: len(job.events("worker lost")) == 2)
    for _ in range(2):
        now = gates.until(lambda s: whole(s, 4))
        victim = chance.choice(now["workers"])["pid"]
        gates.open(gates.closed[0])
        time.sleep(chance.random() * 0.3)
        os.kill(victim, signal.SIGKILL)
        gates.until(lambda s, dead=victim: all(worker["pid"] != dead for worker in s["workers"]))
    gates.until(lambda s: whole(s, 4))
    gates.open(17)
    done = job.wait()
    assert done.code == 0, done.out
    assert done.report == alone
    assert len(job.events("worker lost")) == 4 and not job.events("restart")
    sizes = [len(event["members"]) for event in job.events("formed")]
    assert 2 in sizes and 3 in sizes and sizes.count(4) >= 3, f"nobody came back: {sizes}"


def test_a_stopped_worker_is_replaced_and_when_every_worker_dies_at_once_the_newest_checkpoint_goes_on(alone, tmp_path, ray_address):
    marks, steps = tmp_path / "marks", range(1, 17)
    job = launch(tmp_path, "--workers", "2", *OPTIONS, arguments=acts(gates=steps, marks=marks), address=ray_address)
    gates = Gates(job, marks, steps)
    stopped = gates.until(lambda s: whole(s, 2))["workers"][1]["pid"]
    os.kill(stopped, signal.SIGSTOP)
    gates.open(gates.closed[0])
    gates.until(lambda s: job.events("kill") and whole(s, 2) and all(worker["pid"] != stopped for worker in s["workers"]))
    gates.open(10)
    now = job.wait_for(lambda s: whole(s, 2) and s["step"] == gates.done and job.commits())
    for worker in now["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)
    gates.open(16)
    done = job.wait()
    assert done.code == 0, done.out
    assert done.report == alone
    assert job.events("restart")
