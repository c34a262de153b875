"""Callbacks run once, in the driver, and see metrics over all workers: the same stop, the same files, the same curve."""

import pytest
from launching import SCRIPTS, launch, python

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("processes")]

SCRIPT = SCRIPTS / "with_callbacks.py"


def curve(folder, name: str) -> list[tuple[int, float]]:
    """A scalar as TensorBoard's own reader finds it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    if name in tags["scalars"]:
        return [(event.step, event.value) for event in accumulator.Scalars(name)]
    from tensorboard.util.tensor_util import make_ndarray

    return [(event.step, float(make_ndarray(event.tensor_proto))) for event in accumulator.Tensors(name)]


@pytest.mark.filterwarnings("ignore")  # tensorboard's reader warns of its own dependencies
def test_stopping_saving_and_drawing_are_those_of_one_process(tmp_path, ray_address):
    alone = python(tmp_path / "alone", "--virtual-workers", "4", script=SCRIPT)
    done = launch(tmp_path / "launched", "--workers", "2", "--virtual-workers", "4", script=SCRIPT, address=ray_address).wait()
    assert done.code == 0, done.out
    assert done.report == alone
    assert 0 < alone["stopped"] < 39 and alone["digest"] == alone["best"]
    drawn = curve(tmp_path / "launched" / "board" / "validation", "epoch_loss")
    assert [value for _, value in drawn] == pytest.approx(alone["history"]["val_loss"], rel=1e-6)
    assert drawn == curve(tmp_path / "alone" / "board" / "validation", "epoch_loss")
