"""`disttrain simulate`: what it prints, and what it refuses."""

from __future__ import annotations

import json

import pytest

from disttrain import cli

QUICK = ("--step", "2s", "--seeds", "2", "--time", "2d")


def run(*arguments: str) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["simulate", *arguments])
    return int(ended.value.code or 0)


def test_it_says_the_goodput_where_the_rest_went_and_what_to_choose(capsys):
    assert run("--workers", "4096", "--mtbf", "3h", "--checkpoint", "60s", "--outage", "30d", *QUICK) == 0
    told = capsys.readouterr().out
    for words in ("4096 workers and 0 spares", "every 3h", "goodput 99.", "recovery", "waiting for workers", "redone steps", "saves"):
        assert words in told
    assert "save every 17min (Young and Daly's formula: 17min)" in told and "the fewest within 0.1 % of the best" in told
    assert "2 runs of 2d" in told and "Try a larger --min-workers" in told


def test_json_has_the_model_the_shares_and_all_that_was_compared(capsys):
    code = run(
        "--workers", "64", "--mtbf-per-worker", "4d", "--state", "10GB", "--bandwidth", "5GB/s", "--save-stall", "500ms",
        "--checkpoint", "100steps", "--spares", "1", "--json", *QUICK,
    )  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert code == 0 and found["model"]["mtbf_s"] == 4 * 86400 / 64 and found["model"]["checkpoint_s"] == 200.0
    assert found["model"]["state_bytes"] / found["model"]["bandwidth"] == 2.0 and found["model"]["save_stall_s"] == 0.5
    assert sum(found["shares"].values()) == pytest.approx(1.0) and 0.5 < found["goodput"] < 1.0
    assert found["seeds"] == 2 and found["simulated_seconds"] == 2 * 86400 and found["failures"] > 30
    assert [choice["value"] for choice in found["spares"]["compared"]] == [0, 1, 2, 4, 8]
    assert found["checkpoint_seconds"]["best"] in [choice["value"] for choice in found["checkpoint_seconds"]["compared"]]
    assert found["gave_up"] is None


def test_where_nothing_is_ever_lost_at_once_no_interval_is_recommended(capsys):
    assert run("--workers", "8", "--mtbf", "10h", "--outage", "never", *QUICK) == 0
    assert "Nothing is ever redone here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--mtbf", "often"), "--mtbf 'often'"),
        (("--mtbf", "3"), "--mtbf '3': expected a duration above 0 with its unit"),
        (("--mtbf", "3h", "--mtbf-per-worker", "3h"), "expected one of them"),
        (("--state", "10"), "--state '10': expected a size"),
        (("--bandwidth", "fast"), "--bandwidth 'fast'"),
        (("--checkpoint", "now"), "--checkpoint 'now'"),
        (("--outage", "sometimes"), "--outage 'sometimes'"),
        (("--min-workers", "9"), "--min-workers 9 is more than --workers 8"),
        (("--virtual-workers", "4"), "--virtual-workers 4 for --workers 8"),
        (("--seeds", "0"), "--seeds 0"),
        (("--spares", "-1"), "--spares -1"),
        (("--epoch-steps", "0"), "--epoch-steps 0"),
        (("--spare", "1"), "--spare"),
    ],
)
def test_wrong_use_is_told_in_a_few_words_and_exits_with_2(arguments, words, capsys):
    assert run("--workers", "8", "--step", "2s", *arguments) == 2
    told = capsys.readouterr().err
    assert words in told and "Traceback" not in told
