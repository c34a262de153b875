"""Workers on processors that err as real ones do: each error is seen, mended and told of, and the run ends with the undisturbed bits."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from thread_runs import Run, V, driven, train, wait_until

import disttrain as dt
from disttrain.checkpoint import Store, load, read_history
from disttrain.collectives import GroupBroken
from disttrain.elastic import transfer
from disttrain.elastic.messages import Ready
from disttrain.errors import InfrastructureError, NondeterministicStep
from disttrain.orchestrator.replicas import expected_steps
from disttrain.testing.fake_cluster import FaultPlan
from disttrain.testing.faulty_processor import PRODUCTS, SUMS, UPDATES, FaultyProcessor, OtherProcessor
from disttrain.training.local import runner
from disttrain.training.program import Kind
from disttrain.training.step.slice_work import SliceWork
from disttrain.training.step.workspace import Workspace

HOSTS = ("good-1", "good-2", "bad")  # w0, w1 and w2 in their order


@pytest.fixture(scope="module")
def alone() -> tuple[str, dict[str, list[float]]]:
    """The fit in one process."""
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        return train()


@contextmanager
def on(bad: FaultyProcessor | OtherProcessor, hosts=HOSTS, **options) -> Iterator[Run]:
    """A run of a worker on each host, one of which errs and comes last. The door stays open: what is seen is seen later."""
    found: list[Run] = []

    @contextmanager
    def last() -> Iterator[None]:
        wait_until(lambda: found, 120.0)
        others = [worker for name, worker in found[0].cluster.workers.items() if found[0].cluster._placed[name] != "bad"]
        wait_until(lambda: all(Ready in worker.reported for worker in others), 120.0)
        with bad.computing():
            yield

    with driven(len(hosts), hosts=hosts, processors={"bad": last}, **{"admission": False, **options}) as run:
        found.append(run)
        yield run


def verdicts(run) -> list[tuple[str, list[str]]]:
    return [(event["kind"], event["erred"]) for event in run.events("verdict")]


# -- digests ----------------------------------------------------------------------------------------------------------------------------


def test_a_commit_holds_the_digest_of_every_tensor_that_the_workers_agreed_on(alone, tmp_path):
    with driven(3, url=str(tmp_path)) as run:
        assert train() == alone
        assert not run.events("replicas differ")
    store = Store(str(tmp_path))
    for name in read_history(store):
        loaded = load(store, name)
        digests = loaded.manifest.extra["digests"]
        kept = [key for key in loaded.arrays if not key.startswith("callbacks/")]
        assert sorted(digests) == sorted([*kept, "meta"]) and all(re.fullmatch("[0-9a-f]{32}", digest) for digest in digests.values())
        whole = {piece.piece.tensor: piece.digest for file in loaded.manifest.files for piece in file.pieces}
        assert all(digests[key] == whole[key] for key in kept if loaded.arrays[key].shape == ())  # the manifest's own, of the same bytes


@pytest.mark.parametrize("operations", [UPDATES, SUMS], ids=["in the update", "in the reduction"])
def test_an_error_of_one_of_three_is_mended_and_laid_at_its_door(operations, alone):
    bad = FaultyProcessor(operations, at=frozenset({3}), least=16)
    with on(bad) as run:
        assert train() == alone
        assert bad.errors == 1
        assert verdicts(run) == [("transient", ["w2"])]
        assert run.events("replicas differ")[0]["outvoted"] == ["w2"]
        assert run.events("verdict")[0]["hosts"] == ["bad"]
    assert any("w2 (on bad) had erred, once" in note for note in run.notes)


def test_the_first_tensor_that_differs_is_named(alone):
    bad = FaultyProcessor(UPDATES, at=frozenset({3}))
    with on(bad) as run:
        assert train() == alone
        (event,) = run.events("replicas differ")
    assert event["tensor"].split("/")[0] in ("model", "optimizer")
    assert any(f"first in {event['tensor']}" in note for note in run.notes)


def test_of_two_workers_the_one_that_erred_is_known_if_every_step_is_compared(alone):
    bad = FaultyProcessor(UPDATES, at=frozenset({4}))
    with on(bad, hosts=("good-1", "bad"), digest_every=1) as run:
        assert train() == alone
        assert bad.errors == 1 and verdicts(run) == [("transient", ["w1"])]


def test_of_two_workers_it_is_said_that_nobody_can_tell_where_only_checkpoints_are_compared(alone):
    bad = FaultyProcessor(UPDATES, at=frozenset({2}))
    with on(bad, hosts=("good-1", "bad")) as run:
        assert train() == alone
        assert verdicts(run) == [("transient", [])]
    assert any("cannot be told" in note for note in run.notes)


def test_after_a_checkpoint_the_run_goes_back_to_that_and_not_to_the_start(alone):
    bad = FaultyProcessor(UPDATES, at=frozenset({5}))
    with on(bad) as run:
        assert train() == alone
        (event,) = run.events("restart")
        assert event["restore"] is not None and event["tick"] == 5


def test_a_worker_that_errs_again_and_again_is_replaced_and_its_host_avoided(alone):
    bad = FaultyProcessor(UPDATES, rate=1.0)
    with on(bad) as run:
        assert train() == alone
        assert verdicts(run)[0] == ("persistent", ["w2"])
        assert run.cluster.workers["w2"].dead.is_set()
        formed = run.events("formed")[-1]["members"]
    assert "w2" not in formed


def test_a_host_that_errs_twice_gets_no_worker_any_more(alone):
    bad = FaultyProcessor(UPDATES, at=frozenset({2, 9}))
    with on(bad, digest_every=1) as run:
        assert train() == alone
        assert bad.errors == 2
        (event,) = run.events("host avoided")
        assert event["hosts"] == ["bad"] and run.cluster.avoided == {"bad"}
        assert all(run.cluster._placed[worker] != "bad" for worker in run.cluster.workers if worker not in ("w0", "w1", "w2"))


def test_two_that_differ_in_the_same_way_each_time_end_the_run_with_words():
    words = "in the same way each time, and no more than half of them agree"
    with pytest.raises(InfrastructureError, match=words), on(OtherProcessor(UPDATES), hosts=("good-1", "bad")):
        train()


def with_chance(generator: torch.Generator):
    """Adam's `apply_to`, which then draws from a generator that nobody seeds for the step."""
    plain = dt.optimizers.Adam.apply_to

    @torch.no_grad()
    def apply(self, params, *rest):
        plain(self, params, *rest)
        params[0].view(-1)[0] += torch.rand((), generator=generator)

    return apply


def test_a_step_that_is_not_deterministic_is_named_by_its_first_tensor(monkeypatch):
    monkeypatch.setattr(dt.optimizers.Adam, "apply_to", with_chance(torch.Generator()))
    with pytest.raises(NondeterministicStep, match=r"not deterministic.*first in model/"), driven(2, admission=False):
        train()


@pytest.mark.parametrize(("options", "seen"), [({"digest_every": 100}, True), ({"audit": "1%"}, True), ({}, False)])
def test_a_step_that_one_worker_alone_had_done_when_the_group_broke_is_done_again_and_compared(options, seen, alone, monkeypatch):
    """Else its state is everybody's from then on, and nobody differs: what `{}` is the control for."""
    reduce, ahead, broken = Workspace.reduce, threading.Event(), []

    def breaks(self, kind, *how, **more):
        total = reduce(self, kind, *how, **more)
        updates = self.replica.optimizer.calls if kind is Kind.TRAIN else 0
        if updates == 3 and self.group.rank == 0 and not broken:
            broken.append(updates)
            assert ahead.wait(300)
            raise GroupBroken("its connection broke, after the other had the sum")
        return total

    def steps(self, *how, **more):
        if self.group.rank == 1 and self.replica.optimizer.calls == 4:
            ahead.set()
        return begin(self, *how, **more)

    begin = Workspace.begin_reduction
    monkeypatch.setattr(Workspace, "reduce", breaks)
    monkeypatch.setattr(Workspace, "begin_reduction", steps)
    bad = FaultyProcessor(UPDATES, at=frozenset({4}))
    with on(bad, hosts=("good-1", "bad"), **options) as run:
        assert (train() == alone) == seen
        assert bad.errors == 1 and broken
        assert verdicts(run) == ([("transient", ["w1"])] if seen else [])


# -- audits -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_audits_change_no_bit(workers, alone):
    with driven(workers, audit="50%") as run:
        assert train() == alone
        assert not run.events("audit failed")


@pytest.mark.parametrize("product", [8, 18], ids=["of the worker that hosts the slice", "of the one that audits it"])
def test_a_wrong_product_is_found_before_it_is_used_and_nothing_is_rolled_back_but_the_step(product, alone):
    bad = FaultyProcessor(PRODUCTS, at=frozenset({product}), least=8)
    with on(bad, hosts=("good-1", "bad"), audit="100%") as run:
        assert train() == alone
        assert bad.errors == 1
        assert len(run.events("audit failed")) == 1 and verdicts(run) == [("transient", ["w1"])]
        assert not run.events("restart") and len(run.events("formed")) == 1


def test_a_processor_that_errs_in_its_products_is_found_within_a_few_times_the_expected_steps():
    bad = FaultyProcessor(PRODUCTS, rate=0.02, least=8)
    with on(bad, hosts=("good-1", "bad"), audit="100%") as run:
        train(epochs=20)
        (first, *_) = run.events("audit failed")
    products = 2 + 3  # of a slice: those of two layers forward, and backward but for the gradient of the samples
    expected = expected_steps(1.0, 2, V, 1 - (1 - 0.02) ** products)
    assert first["tick"] / 5 * 3 < 8 * expected  # three of five ticks are training steps


def test_a_worker_whose_products_are_always_wrong_is_replaced_by_the_word_of_two_others(alone):
    with on(OtherProcessor(PRODUCTS), audit="100%") as run:
        train()
        assert verdicts(run)[0] == ("persistent", ["w2"])
        assert run.cluster.workers["w2"].dead.is_set()


def test_a_wrong_update_is_seen_at_the_next_step_where_pieces_of_the_state_are_compared(alone):
    bad = FaultyProcessor(UPDATES, at=frozenset({5}))
    with on(bad, audit="1%") as run:
        assert train() == alone
        assert run.events("replicas differ")[0]["tick"] == 7  # the state that the fifth update has left, before the epoch's end


def test_a_commit_says_whether_audits_have_passed_since_the_one_before(alone, tmp_path):
    with driven(2, url=str(tmp_path), audit="100%"):
        train()
    store = Store(str(tmp_path))
    assert all(load(store, name).manifest.extra["audited"] for name in read_history(store))


# -- negative controls: what is broken on purpose must be seen --------------------------------------------------------------------------


def test_a_broken_transfer_of_the_state_is_seen(alone, monkeypatch):
    broken = []

    def share(replica, group, source, behind, progressed=lambda: None):
        transfer.share_state(replica, group, source, behind, progressed)
        if group.rank != source and behind[group.rank] and not broken:
            broken.append(group.rank)
            replica.state.flat_params[0][1] += 1.0

    monkeypatch.setattr("disttrain.elastic.member.share_state", share)
    with driven(3, FaultPlan().kill("w1", 6), digest_every=1) as run:
        assert train() == alone
        assert broken and run.events("replicas differ")


def test_slices_that_are_skipped_are_seen_by_an_audit(alone, monkeypatch):
    contribute, skipped = SliceWork.contribute, []

    def skip(self, *how):
        contribution = contribute(self, *how)
        workspace = self._workspace
        if workspace.group.rank == 1 and workspace.replica.optimizer.iterations == 2 and not (skipped and skipped[0] is not self):
            skipped.append(self)  # all of one attempt
            contribution.buffer.zero_()
        return contribution

    monkeypatch.setattr(SliceWork, "contribute", skip)
    with driven(2, audit="100%", admission=False) as run:
        assert train() == alone
        assert skipped and run.events("audit failed")
