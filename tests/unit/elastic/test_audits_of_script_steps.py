"""Steps of the script's own are probed at the door and audited as others are: each round of sums of each step that is chosen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from thread_runs import Run, V, X, Y, driven
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

import disttrain as dt
from disttrain import layers
from disttrain.checkpoint import Store, load, read_history
from disttrain.testing.faulty_processor import PRODUCTS, UPDATES, FaultyProcessor, OtherProcessor
from disttrain.training.local import runner
from disttrain.training.step.slice_thread import SliceThread


class Two(dt.Sequential):
    """Two updates a step, the second from what the first has left."""

    def compile(self, first: Any, second: Any) -> None:
        super().compile(loss="sparse_categorical_crossentropy")
        self.first, self.second = first, second

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        weights = self.trainable_weights
        for optimizer, own in ((self.first, weights[:2]), (self.second, weights[2:])):
            self.zero_grad()
            loss = self.compute_loss(x, y, self(x, training=True))
            loss.backward()
            with torch.no_grad():
                optimizer.apply([weight.grad for weight in own], own)
        return {"loss": loss}


def train(epochs: int = 2) -> tuple[str, dict[str, list[float]]]:
    dt.clear_session()
    dt.set_random_seed(7)
    model = Two([dt.Input((6,)), layers.Dense(8, activation="relu"), layers.Dropout(0.3), layers.Dense(3, activation="softmax")])
    model.compile(dt.optimizers.Adam(0.02), dt.optimizers.SGD(0.1, momentum=0.9))
    history = model.fit(X, Y, batch_size=8, epochs=epochs, verbose=0)
    return model.digest(), history.history


@pytest.fixture(scope="module")
def alone() -> tuple[str, dict[str, list[float]]]:
    """The fit in one process."""
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        return train()


@pytest.fixture(autouse=True)
def slices_on_the_processor_of_their_worker(monkeypatch):
    """A slice's thread computes where the thread that starts it does."""
    init, run = SliceThread.__init__, SliceThread._run

    def began(self, *how):
        init(self, *how)
        self.modes = _get_current_dispatch_mode_stack()

    def runs(self):
        with ExitStack() as stack:
            for mode in self.modes:
                stack.enter_context(mode)
            run(self)

    monkeypatch.setattr(SliceThread, "__init__", began)
    monkeypatch.setattr(SliceThread, "_run", runs)


@contextmanager
def on(bad: FaultyProcessor | OtherProcessor, hosts: tuple[str, ...], **options: Any) -> Iterator[Run]:
    processors = {"bad": bad.computing}
    with driven(len(hosts), hosts=hosts, processors=processors, **options) as run:
        yield run


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_audits_change_no_bit(workers, alone, tmp_path):
    with driven(workers, url=str(tmp_path), audit="100%") as run:
        assert train() == alone
        assert not run.events("audit failed") and not run.events("refused")
    store = Store(str(tmp_path))
    assert all(load(store, name).manifest.extra["audited"] for name in read_history(store))


class Once(FaultyProcessor):
    """Errs from the moment on that the test says, once."""

    armed = False

    def strikes(self) -> bool:
        struck, self.armed = self.armed, False
        self.errors += struck
        return struck

    def harm(self, result: torch.Tensor) -> None:
        """All of it: of one lane, a ReLU might leave nothing."""
        result.detach().add_(1.0)


@pytest.mark.parametrize("update", [1, 2], ids=["for the first update", "for the second"])
@pytest.mark.parametrize("part", ["hosts", "audits"])
def test_a_wrong_product_is_found_in_its_round_and_only_the_step_is_done_again(part, update, alone, monkeypatch):
    from disttrain.training.step import scripted

    bad, armed = Once(PRODUCTS, least=8), []
    run_slice = scripted.Rounds.slice

    def watched(self, rank, apply, ask):
        audit = None if self.audit is None else self.audit.audit
        mine = audit is not None and rank == audit.slice and self.workspace.group.rank == 1
        chosen = mine and self.workspace.group.rank == (audit.owner if part == "hosts" else audit.auditor)

        def applied(request):
            apply(request)
            if chosen and not armed and request.mark == update - 1:
                armed.append(True)
                bad.armed = True

        if chosen and not armed and update == 1:
            armed.append(True)
            bad.armed = True
        return run_slice(self, rank, applied, ask)

    monkeypatch.setattr(scripted.Rounds, "slice", watched)
    with on(bad, ("good-1", "bad"), audit="100%", admission=False) as run:
        assert train() == alone
        assert armed and bad.errors == 1
        assert len(run.events("audit failed")) == 1 and not run.events("restart") and len(run.events("formed")) == 1
        assert [(event["kind"], event["erred"]) for event in run.events("verdict")] == [("transient", ["w1"])]


def test_a_worker_whose_products_are_always_wrong_leaves_by_the_word_of_two_others():
    """Something wrong gets into the sums all the same, of slices that were not chosen."""
    with on(OtherProcessor(PRODUCTS), ("good-1", "good-2", "bad"), audit="100%", admission=False) as run:
        train()
        verdicts = run.events("verdict")
        assert verdicts[0]["erred"] == ["w2"]
        assert run.cluster.workers["w2"].dead.is_set()


def test_a_wrong_update_is_seen_at_the_next_step(alone):
    bad = FaultyProcessor(UPDATES, at=frozenset({3}))
    with on(bad, ("good-1", "bad"), audit="1%", admission=False) as run:
        assert train() == alone
        assert bad.errors == 1 and run.events("replicas differ")


@pytest.mark.parametrize("hosts", [("good-1", "good-2", "bad"), ("bad", "good-1")])
def test_a_worker_of_another_processor_stays_outside(hosts, alone):
    with on(OtherProcessor(PRODUCTS), hosts) as run:
        assert train() == alone
        (event,) = run.events("refused")
        assert event["host"] == "bad" and event["tensor"].startswith("gradient/")
