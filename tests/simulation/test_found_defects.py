"""What the simulation found once, as the smallest run that shows it."""

from __future__ import annotations

from typing import Any

from disttrain.orchestrator import RecoveryPolicy
from disttrain.testing.simulation.call import CallPlan
from disttrain.testing.simulation.run import Outcome, simulate
from disttrain.testing.simulation.scenario import Fault, Scenario

FIT = CallPlan(samples=80, batch=8, epochs=2)


def run(*faults: Fault, calls: tuple[CallPlan, ...] = (FIT,), limits: dict[str, Any] | None = None, **changes: Any) -> Outcome:
    """Two workers, steps of 0.05 s, everything quick; what is not said is as in a quiet run."""
    policy = {"workers": 2, "virtual_workers": 4, "hang_timeout_s": 90.0, **(limits or {})}
    quiet: dict[str, Any] = {
        "seed": 1, "pace": "short", "slow_worker": None, "every_steps": None, "every_s": None, "every_epoch": False, "boot_s": 0.3,
        "open_s": 0.1, "transfer_s": 0.01, "write_s": 0.01, "commit_s": 0.01, "hook_s": 0.001, "latency_s": 0.002, "asks": 0.0,
        "doubles": 0.0,
    }  # fmt: skip
    outcome = simulate(Scenario(policy=RecoveryPolicy(**policy), calls=calls, faults=faults, **{**quiet, **changes}))
    assert outcome.failure is None
    assert len(outcome.struck) == len(faults)
    return outcome


def said(outcome: Outcome, kind: str) -> list[str]:
    return [text for _, known, text in outcome.said if known == kind]


def test_a_run_in_which_nothing_goes_wrong_says_nothing_of_trouble():
    outcome = run()
    assert outcome.endings == ("finished",)
    assert {kind for _, kind, _ in outcome.said} == {"decision", "formed", "committed"}


def test_the_stall_of_a_worker_that_hangs_counts_from_where_it_got_no_further():
    outcome = run(Fault("hang", stage="computing", nth=9))
    (words,) = said(outcome, "recovered")
    assert 88.0 < float(words.split(" in ")[1].split(" s")[0]) < 100.0


def test_the_stall_of_a_group_whose_connections_fail_counts_from_where_it_got_no_further():
    (words,) = said(run(Fault("part", at_s=0.8)), "recovered")
    assert 88.0 < float(words.split(" in ")[1].split(" s")[0]) < 100.0
    assert said(run(Fault("part", at_s=0.8)), "worker lost") == []


def test_members_that_cannot_reach_each_other_while_they_form_are_not_waited_for_by_a_pause_for_ever():
    # the third comes while the two are forming anew after a break, and nothing gets through between them
    faults = (Fault("break", at_s=0.8), Fault("part", stage="sharing", nth=1))
    outcome = run(*faults, limits={"max_workers": 3, "workers": 3, "min_workers": 1, "start_grace_s": 0.05}, transfer_s=1.0)
    assert outcome.endings == ("finished",)


def test_a_worker_that_still_opens_the_job_of_an_earlier_call_is_no_late_starter():
    limits = {"workers": 1, "max_workers": 2, "start_limit_s": 25.0}
    outcome = run(Fault("die", stage="opening", nth=2, delay_s=12.0), calls=(FIT, FIT), limits=limits, open_s=30.0)
    assert said(outcome, "kill") == []


def test_outputs_that_were_lost_with_their_worker_are_not_called_no_step_lost():
    predict = CallPlan("predict", samples=80, batch=8, epochs=1)
    outcome = run(Fault("die", stage="computing", nth=9), calls=(predict,), limits={"virtual_workers": 2})
    (words,) = said(outcome, "recovered")
    assert "no step lost" not in words and "steps are done again" in words


def test_a_mute_worker_whose_process_runs_is_not_killed_because_a_newcomer_wants_to_join():
    slow = {"max_workers": 3, "hang_timeout_s": 300.0}
    outcome = run(Fault("busy", stage="boundary", nth=1, seconds=70.0), Fault("die", at_s=1.2), limits=slow, boot_s=0.3)
    assert said(outcome, "kill") == []


def test_an_answer_that_reaches_a_generation_before_its_report_of_the_boundary_reaches_the_driver_ends_the_call():
    # the last boundary's answer, on its way while the group forms anew; a slow line then brings the report after the answer was obeyed
    faults = (Fault("long_hook", at_s=0.7, seconds=3.0), Fault("break", stage="boundary", nth=2), Fault("slow_link", at_s=1.0, seconds=2.0))
    outcome = run(*faults, calls=(CallPlan(samples=16, batch=8, epochs=1),), asks=0.0)
    assert outcome.endings == ("finished",)


def test_a_newcomer_that_is_ready_after_ctrl_c_does_not_delay_the_stop():
    # steps of 90 s: Ctrl-C in one of them, and the third worker is ready before it ends
    limits = {"workers": 2, "max_workers": 3, "hang_timeout_s": 900.0}
    outcome = run(Fault("die", stage="opening", nth=3), Fault("interrupt", at_s=2.0), limits=limits, pace="minutes", open_s=1.0)
    assert outcome.endings == ("interrupted", "finished")
    (stopped_s,) = [time for time, kind, text in outcome.said if kind == "note"]
    formed = [time for time, kind, _ in outcome.said if kind == "formed"]
    assert len([time for time in formed if stopped_s < time < stopped_s + 110.0]) == 0
