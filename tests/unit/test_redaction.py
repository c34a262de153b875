"""What is hidden from people and files, and what is not."""

from __future__ import annotations

import json
import random

import pytest

from disttrain.errors import InfrastructureError
from disttrain.redaction import HIDDEN, forget, hidden, hidden_arguments, hidden_values, remember


@pytest.fixture(autouse=True)
def nothing_remembered():
    forget()
    yield
    forget()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["--api-key", "hunter2", "--lr", "0.1"], ["--api-key", HIDDEN, "--lr", "0.1"]),
        (["--token=abc"], [f"--token={HIDDEN}"]),
        (["--password", "-starts-with-a-dash"], ["--password", HIDDEN]),
        (["--password", "12345"], ["--password", HIDDEN]),
        (["--hf-token", "hf_x"], ["--hf-token", HIDDEN]),
        (["--aws-secret-access-key", "w"], ["--aws-secret-access-key", HIDDEN]),
        (["--secretKey=a=b c"], [f"--secretKey={HIDDEN}"]),
        (["api_key=abc", "WANDB_API_KEY=abc"], [f"api_key={HIDDEN}", f"WANDB_API_KEY={HIDDEN}"]),
        (["--data", "sftp://ann:pw@host/run"], ["--data", f"sftp://ann:{HIDDEN}@host/run"]),
        (["--options", '{"key": "AKIAIOSFODNN7EXAMPLE", "secret": "w/d"}'], ["--options", f'{{"key": "{HIDDEN}", "secret": "{HIDDEN}"}}']),
        (["https://h/b?n=1&X-Amz-Signature=abc&m=2"], [f"https://h/b?n=1&X-Amz-Signature={HIDDEN}&m=2"]),
        (["AccountName=x;AccountKey=abc==;End=1"], [f"AccountName=x;AccountKey={HIDDEN};End=1"]),
        (["https://ghp_0123456789abcdefghij0123456789abcdef@github.com/a/b"], [f"https://{HIDDEN}@github.com/a/b"]),
    ],
)
def test_a_secret_on_a_command_line_is_hidden(given, shown):
    assert list(hidden_arguments(given)) == shown
    assert list(hidden_arguments(shown)) == shown  # and what is hidden stays as it is


@pytest.mark.parametrize(
    "given",
    [
        ["--max-tokens", "512", "--tokenizer", "bert", "--pad-token", "<pad>", "--mask-token=[MASK]"],
        ["--token", "512", "--pass", "2", "--token-dim", "64", "--key", "a", "--sort-key=name"],
        ["--password", "--epochs", "3"],  # a switch, and another option
        ["s3://bucket/run", "a@b.example", "git@github.com:a/b", "--author", "ann", "--monkey=1"],
    ],
)
def test_what_is_no_secret_stays(given):
    assert list(hidden_arguments(given)) == given


@pytest.mark.parametrize(
    "text",
    [
        "no token: set RAY_AUTH_TOKEN; RAY_AUTH_MODE=disabled",
        "step-000000000010-a0001-s0001.json is missing",
        "loss 0.5  accuracy 0.9 (key=5)",
        "expected  --workers of 1 or more\n  try       --workers 1",
    ],
)
def test_words_of_ours_stay_as_they_are(text):
    assert hidden(text) == text


def test_what_was_given_is_hidden_wherever_it_turns_up_later():
    remember(["--api-key", "hunter2", "--options", '{"secret": "wJalrXUtnFEMI/K7MD", "name": "ann"}', "--password", "train"])
    assert (
        hidden("403 Forbidden for hunter2, signed with 'wJalrXUtnFEMI/K7MD' (ann)")
        == f"403 Forbidden for {HIDDEN}, signed with '{HIDDEN}' (ann)"
    )
    assert hidden("train.py hunter22") == "train.py hunter22"  # a short one stands in too many words; another word is another word


def test_values_in_json_are_hidden_without_breaking_it():
    remember(["--password", 'with "quotes"'])
    event = {"reason": 'denied: with "quotes"', "logs": {"token": "abc", "loss": 0.5}, "steps": [1, "sftp://a:b@c"]}
    shown = json.loads(json.dumps(hidden_values(event)))
    assert shown == {"reason": f"denied: {HIDDEN}", "logs": {"token": HIDDEN, "loss": 0.5}, "steps": [1, f"sftp://a:{HIDDEN}@c"]}


def test_an_error_of_ours_does_not_say_the_password_of_a_url():
    assert str(InfrastructureError("sftp://ann:pw@host/run cannot be reached")) == f"sftp://ann:{HIDDEN}@host/run cannot be reached"


def test_any_text_can_be_hidden_in_time():
    random_text = random.Random(0)
    for _ in range(300):
        text = "".join(random_text.choices("=:\"'@/-_ tokenpasword.{}[],;\n\\a1", k=200))
        assert isinstance(hidden(text), str) and len(hidden_arguments(text.split(" "))) == len(text.split(" "))
    for long in ("=" * 100_000, "a" * 100_000, "token=" * 20_000, "://" * 30_000, "a:" * 50_000, "bearer " * 10_000, '"' * 100_000):
        hidden(long)  # quadratic, it would take minutes
