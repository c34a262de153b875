"""Which token Ray is told of, and when a person is told something."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from disttrain.clusters.ray import tokens
from disttrain.clusters.ray.tokens import MODE, TOKEN, TOKEN_PATH, asks_for_token, found_token, of_another, of_our_own
from disttrain.errors import UsageError

WHERE = "10.0.0.1:6379"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder without a token, and no word of any in the environment."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (MODE, TOKEN, TOKEN_PATH):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def cluster(monkeypatch):
    """A cluster that asks for this token; None: for none; "?": it does not say."""

    def made(wants):
        answer = {None: lambda token: False, "?": lambda token: None}.get(wants, lambda token: token != wants)
        monkeypatch.setattr(tokens, "asks_for_token", lambda where, token=None: answer(token))

    return made


def test_a_ray_of_our_own_has_a_token_that_this_user_alone_reads_and_no_other_run_has(tmp_path, monkeypatch):
    monkeypatch.setenv(TOKEN, "of another cluster")
    for name in "ab":
        (tmp_path / name).mkdir()
    one, other = of_our_own(str(tmp_path / "a")), of_our_own(str(tmp_path / "b"))
    assert one[MODE] == "token" and one[TOKEN] is None
    files = [one[TOKEN_PATH], other[TOKEN_PATH]]
    assert [stat.S_IMODE(os.stat(file).st_mode) for file in files] == [0o600] * 2
    first, second = (Path(file).read_text() for file in files)
    assert len(first) == 64 and first != second


def test_a_token_is_looked_for_where_ray_looks(home, monkeypatch):
    assert found_token() == (None, str(home / ".ray" / "auth_token"))
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("of the home folder\n")
    assert found_token()[0] == "of the home folder"
    (home / "file").write_text("of a file")
    monkeypatch.setenv(TOKEN_PATH, str(home / "file"))
    assert found_token() == ("of a file", str(home / "file"))
    monkeypatch.setenv(TOKEN, "of the environment")
    assert found_token() == ("of the environment", TOKEN)


def test_a_cluster_without_a_token_is_joined_without_one_and_that_is_told_in_a_line(cluster, home):
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("left by an earlier Ray")
    cluster(None)
    variables, note = of_another(WHERE)
    assert variables == {MODE: "disabled"}
    assert note is not None and "10.0.0.1:6379 asks for no token, so whoever reaches it can run code" in note and "\n" not in note


def test_a_cluster_with_a_token_is_joined_with_it(cluster, monkeypatch):
    monkeypatch.setenv(TOKEN, "right")
    cluster("right")
    assert of_another(WHERE) == ({MODE: "token"}, None)


def test_a_cluster_that_asks_for_a_token_that_is_not_here_is_told_at_once(cluster):
    cluster("right")
    with pytest.raises(UsageError, match=r"10\.0\.0\.1:6379 asks for a token(.|\n)*RAY_AUTH_TOKEN_PATH(.|\n)*found     none"):
        of_another(WHERE)


def test_another_token_than_the_clusters_is_told_with_its_place_and_not_shown(cluster, monkeypatch):
    monkeypatch.setenv(TOKEN, "of-another-cluster")
    cluster("right")
    with pytest.raises(UsageError, match="refuses the one in RAY_AUTH_TOKEN") as told:
        of_another(WHERE)
    assert "of-another-cluster" not in str(told.value)


def test_a_token_that_a_cluster_does_not_ask_for_protects_nothing_and_that_is_told(cluster, monkeypatch):
    monkeypatch.setenv(MODE, "token")
    monkeypatch.setenv(TOKEN, "shown for nothing")
    cluster(None)
    variables, note = of_another(WHERE)
    assert variables == {} and note is not None and "asks for no token" in note and "shown for nothing" not in note


def test_a_mode_without_a_token_to_show_is_told_as_that(cluster, monkeypatch):
    monkeypatch.setenv(MODE, "token")
    cluster("?")
    with pytest.raises(UsageError, match=r"RAY_AUTH_MODE=token shows a token to 10\.0\.0\.1:6379, and there is none"):
        of_another(WHERE)


@pytest.mark.parametrize("wants", [None, "?"])
def test_with_a_ray_that_knows_no_tokens_it_is_told_which_one_does(wants, cluster, monkeypatch):
    monkeypatch.setenv(TOKEN, "of the environment")
    cluster(wants)
    _, note = of_another(WHERE, "2.40.0")
    assert note is not None and "Ray 2.40.0 knows none, take 2.52 or newer" in note
    assert "Ray 2.40.0 knows no tokens, so whoever can log in to this machine" in tokens.without("2.40.0")


def test_whether_a_ray_knows_tokens_is_known_by_its_version(monkeypatch):
    pytest.importorskip("ray")
    from disttrain.clusters.ray import compat

    for version, knows in {"2.40.0": False, "2.51.1": False, "2.52.0": True, "2.60.0": True, "3.0.0.dev0": True}.items():
        monkeypatch.setattr(compat.ray, "__version__", version)
        monkeypatch.setattr(compat._raylet, "AuthenticationTokenLoader", object, raising=False)
        assert (compat.without_tokens() is None) == knows, version


@pytest.mark.parametrize("wants", ["right", "?"])
def test_who_sets_the_mode_is_obeyed(wants, cluster, monkeypatch):
    monkeypatch.setenv(MODE, "token")
    monkeypatch.setenv(TOKEN, "right")
    cluster(wants)
    assert of_another(WHERE) == ({}, None)


def test_a_mode_that_shows_no_token_to_a_cluster_that_asks_for_one_is_told(cluster, monkeypatch):
    monkeypatch.setenv(MODE, "disabled")
    monkeypatch.setenv(TOKEN, "right")
    cluster("right")
    with pytest.raises(UsageError, match="found     RAY_AUTH_MODE=disabled"):
        of_another(WHERE)


@pytest.mark.parametrize(("token", "mode"), [("abc", "token"), (None, "disabled")])
def test_where_the_cluster_does_not_say_a_token_that_is_here_is_shown(token, mode, cluster, monkeypatch):
    if token:
        monkeypatch.setenv(TOKEN, token)
    cluster("?")
    assert of_another(None)[0] == {MODE: mode}


def test_nobody_there_is_no_answer():
    assert asks_for_token("127.0.0.1:1") is None and asks_for_token("nonsense") is None
