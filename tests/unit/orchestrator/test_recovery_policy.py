"""The numbers of patience check each other."""

from typing import Any

import pytest

from disttrain.orchestrator import RecoveryPolicy


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"workers": 0}, "RecoveryPolicy(workers=0): expected 1 or more."),
        ({"poison_limit": 0}, "RecoveryPolicy(poison_limit=0): expected 1 or more."),
        ({"spares": -1}, "RecoveryPolicy(spares=-1): expected 0 or more."),
        ({"stop_limit_s": 0.0}, "RecoveryPolicy(stop_limit_s=0.0): expected a number of seconds above 0."),
        ({"wait_s": float("nan")}, "RecoveryPolicy(wait_s=nan): expected a number of seconds above 0."),
        ({"min_workers": 5}, "RecoveryPolicy(min_workers=5): expected at most workers=4."),
        ({"max_workers": 3}, "RecoveryPolicy(max_workers=3): expected at least workers=4."),
        ({"min_workers": 3, "virtual_workers": 2}, "RecoveryPolicy(min_workers=3): expected at most virtual_workers=2; "),
    ],
)
def test_a_policy_that_cannot_work_is_refused(wrong: dict[str, Any], message: str):
    with pytest.raises(ValueError) as caught:
        RecoveryPolicy(**({"workers": 4, "virtual_workers": 8} | wrong))
    assert str(caught.value).startswith(message)


def test_sizes_follow_from_workers_and_virtual_workers():
    assert RecoveryPolicy(workers=4, virtual_workers=8).member_limit == 4
    wide = RecoveryPolicy(workers=4, max_workers=10, virtual_workers=8, spares=1)
    assert (wide.first_members, wide.member_limit, wide.process_limit) == (4, 8, 11)
    assert RecoveryPolicy(workers=4, virtual_workers=2).first_members == 2
