"""Every kind of callback at once, while workers and the driver die: what they saw, did and drew is that of a run nobody disturbed."""

import pytest
from launching import SCRIPTS, launch, python

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.leaves_behind("processes")]

SCRIPT = SCRIPTS / "many_callbacks.py"
OPTIONS = ("--virtual-workers", "4", "--checkpoint-every", "4steps")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The report and the curves of one plain process."""
    folder = tmp_path_factory.mktemp("alone")
    report = python(folder, "--virtual-workers", "4", "--marks", str(folder), script=SCRIPT)
    return report, curves(folder / "logs")


def curves(folder) -> dict[str, list[tuple[int, object]]]:
    """Every curve, histogram and text below a log directory as TensorBoard's own reader finds it, `"train/epoch_loss": [(step, value)]`."""
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.util.tensor_util import make_ndarray

    found = {}
    for run in ("", "train", "validation", "run"):
        accumulator = EventAccumulator(str(folder / run), size_guidance={"tensors": 0}).Reload()
        for tag in accumulator.Tags()["tensors"]:
            points = [(event.step, make_ndarray(event.tensor_proto).tolist()) for event in accumulator.Tensors(tag)]
            if tag == "__run_graph__":  # a map in it is written in any order
                points = [(step, GraphDef.FromString(data).SerializePartialToString(deterministic=True)) for step, [data] in points]
            found[f"{run}/{tag}"] = points
    return found


def of_the_training(found: dict) -> dict:
    """What must not depend on who computed it or how long it took."""
    return {tag: points for tag, points in found.items() if not tag.startswith("run/") and "_hparams_" not in tag and "goodput" not in tag}


@pytest.mark.filterwarnings("ignore")  # tensorboard's reader warns of its own dependencies
def test_a_worker_killed_in_mid_epoch_changes_nothing_that_callbacks_see(alone, tmp_path, ray_address):
    report, drawn = alone
    harm = ("--sabotage", "reduction:12:1", "--marks", str(tmp_path / "marks"))
    job = launch(tmp_path, "--workers", "2", *OPTIONS, script=SCRIPT, arguments=harm, address=ray_address)
    done = job.wait()
    assert done.code == 0, done.out
    assert len(job.events("worker lost")) == 1, done.out
    assert done.report == report
    found = curves(job.run_dir / "tensorboard")
    assert of_the_training(found) == of_the_training(drawn)
    ((step, seconds),) = found["run/run/recovery_seconds"]
    assert 8 < step <= 12 and seconds > 0
    recoveries = found["run/run/recoveries"]
    assert [count for _, count in recoveries] == sorted(count for _, count in recoveries) and recoveries[-1][1] == 1
    alive = dict(found["run/run/workers_alive"])
    assert alive[8] == 2 and set(alive.values()) <= {1, 2}
    assert len(found["run/run/checkpoint_seconds"]) >= 2
    for tag, points in found.items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), f"{tag} has doubled steps or goes back: {steps}"


@pytest.mark.filterwarnings("ignore")
def test_a_driver_killed_three_times_leaves_single_unbroken_curves_and_every_counter(alone, tmp_path, ray_address):
    report, drawn = alone
    plan = ("--kill-driver", "2:no-checkpoint,14,after-fit", "--marks", str(tmp_path / "marks"), "--run-dir", str(tmp_path / "run"))
    for _ in range(3):  # before there is a checkpoint; in the middle of an epoch; between fit and evaluate
        killed = launch(tmp_path, "--workers", "1", *OPTIONS, script=SCRIPT, arguments=plan, address=ray_address)
        assert killed.wait().code == -9, killed.text()
    job = launch(tmp_path, "--workers", "2", *OPTIONS, script=SCRIPT, arguments=plan, address=ray_address)
    done = job.wait()
    assert done.code == 0, done.out
    assert "resuming" in done.out and "was finished before" in done.out
    assert done.report == report
    found = curves(job.run_dir / "tensorboard")
    assert of_the_training(found) == of_the_training(drawn)
    for tag, points in found.items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), f"{tag} has doubled steps or goes back: {steps}"
