"""Losses of torch in `compile`: the number that torch gives, whatever the slices."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch_cases
from torch import nn

import disttrain as dt
from disttrain import losses, torch_losses
from disttrain.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss by both")  # torch's, of KLDivLoss
RANDOM = np.random.default_rng(0)
OUTPUTS = torch.from_numpy(RANDOM.normal(size=(6, 4)).astype("float32"))
LABELS = torch.tensor([0, 3, 1, 1, 2, 0])


def test_every_loss_of_torch_is_known_or_refused_by_name():
    classes = {name for name in dir(nn) if name.endswith("Loss")}
    functions = {name for name in dir(F) if name.endswith(("_loss", "cross_entropy", "kl_div", "_with_logits"))}
    tried = {name.split(",")[0] for name in torch_cases.LOSSES}
    assert tried <= classes | functions
    for name in sorted((classes | functions) - tried):
        with pytest.raises(ValueError, match=f"loss={name}: it needs"):
            losses.get(getattr(nn, name, None) or getattr(F, name))


def logged(loss: Any, x: np.ndarray, y: np.ndarray, net: nn.Module, virtual_workers: int = 1, **arguments: Any) -> float:
    dt.set_virtual_workers(virtual_workers)
    try:
        model = dt.Sequential([net])
        model.compile(dt.optimizers.SGD(0.0), loss)
        return model.fit(x, y, batch_size=len(x), shuffle=False, verbose=0, **arguments).history["loss"][0]
    finally:
        dt.set_virtual_workers(1)


@pytest.mark.parametrize("name", torch_cases.LOSSES)
def test_the_loss_logged_is_that_of_torch(name: str):
    case = torch_cases.LOSSES[name]
    task = torch_cases.loss_task(name)
    ends = {"sigmoid": nn.Sigmoid(), None: nn.Identity()}
    net = nn.Sequential(nn.Linear(torch_cases.FEATURES, torch_cases.CLASSES), ends.get(case.activation, nn.LogSoftmax(-1)))
    expected = float(case.make()(net(torch.from_numpy(task.x)), torch.from_numpy(task.y)).detach())
    assert logged(case.make(), task.x, task.y, net) == expected  # to the last bit
    for virtual_workers in (2, 3):
        assert logged(case.make(), task.x, task.y, net, virtual_workers) == pytest.approx(expected, rel=2e-6)


def test_a_batch_norm_of_labels_weighs_slices_by_what_counts_in_them():
    loss = nn.CrossEntropyLoss(ignore_index=0)
    x, y = (
        RANDOM.normal(size=(8, 3)).astype("float32"),
        np.array([0, 0, 0, 1, 1, 2, 2, 1]),
    )  # one counts in the first half, four in the second
    net = nn.Linear(3, 3)
    values = F.cross_entropy(net(torch.from_numpy(x)).detach(), torch.from_numpy(y), reduction="none", ignore_index=0)
    assert logged(loss, x, y, net, 2) == pytest.approx(float(values.sum() / 5), rel=1e-6)


def test_gradients_over_slices_are_those_of_torch_over_the_batch():
    x, y = RANDOM.normal(size=(9, 3)).astype("float32"), np.array([0, 0, 0, 1, 1, 2, 2, 1, 0])
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.1, 1.0, 5.0]), ignore_index=1)
    plain, net = nn.Linear(3, 3), nn.Linear(3, 3)
    net.load_state_dict(plain.state_dict())
    loss(plain(torch.from_numpy(x)), torch.from_numpy(y)).backward()
    dt.set_virtual_workers(4)
    try:
        model = dt.Sequential([net])
        model.compile(dt.optimizers.SGD(1.0), loss)
        model.fit(x, y, batch_size=9, shuffle=False, verbose=0)
    finally:
        dt.set_virtual_workers(1)
    torch.testing.assert_close(plain.weight.data - plain.weight.grad, net.weight.data, rtol=1e-5, atol=1e-6)


def test_a_slice_of_which_nothing_counts_adds_nothing():
    x, y = RANDOM.normal(size=(4, 3)).astype("float32"), np.array([-100, -100, 1, 2])
    net = nn.Linear(3, 3)
    expected = float(nn.CrossEntropyLoss()(net(torch.from_numpy(x)).detach(), torch.from_numpy(y)))
    assert logged(nn.CrossEntropyLoss(), x, y, net, 2) == pytest.approx(expected, rel=1e-6)


def test_weights_of_samples_multiply_the_values_and_leave_torchs_divisor():
    weight = torch.tensor([1.0, 2.0, 0.0, 1.0, 0.5, 3.0])
    of_class = torch.tensor([1.0, 2.0, 3.0, 4.0])
    values = F.cross_entropy(OUTPUTS, LABELS, weight=of_class, reduction="none")
    found = losses.get(nn.CrossEntropyLoss(weight=of_class))(LABELS, OUTPUTS, weight)
    torch.testing.assert_close(found, (values * weight).sum() / of_class[LABELS].sum())
    found = losses.get(nn.MSELoss())(OUTPUTS + 1, OUTPUTS, weight)
    torch.testing.assert_close(found, weight.sum() * 4 / 24)
    found = losses.get(nn.MSELoss(reduction="sum"))(OUTPUTS + 1, OUTPUTS, weight, 0.5)
    torch.testing.assert_close(found, weight.sum() * 4 / 0.5)


@pytest.mark.parametrize("virtual_workers", [1, 2])
def test_class_weight_reaches_a_loss_of_torch(virtual_workers: int):
    x, y = RANDOM.normal(size=(8, 3)).astype("float32"), np.array([0, 1, 1, 1, 0, 1, 0, 1])
    net = nn.Linear(3, 2)
    values = F.cross_entropy(net(torch.from_numpy(x)).detach(), torch.from_numpy(y), reduction="none")
    expected = float((values * torch.from_numpy(np.where(y == 1, 3.0, 1.0))).mean())
    assert logged(nn.CrossEntropyLoss(), x, y, net, virtual_workers, class_weight={1: 3.0}) == pytest.approx(expected, rel=1e-6)


def test_a_loss_for_each_output():
    inputs = dt.Input((3,))
    model = dt.Model(inputs, {"label": dt.layers.Dense(3)(inputs), "value": dt.layers.Dense(1)(inputs)})
    model.compile(dt.optimizers.SGD(0.0), {"label": nn.CrossEntropyLoss(), "value": F.l1_loss}, loss_weights={"label": 2.0, "value": 0.5})
    x, label, value = RANDOM.normal(size=(6, 3)).astype("float32"), np.array([0, 1, 2, 2, 1, -100]), np.ones((6, 1), "float32")
    found = model.evaluate(x, {"label": label, "value": value}, batch_size=6, verbose=0, return_dict=True)
    outputs = {name: output.detach() for name, output in model(torch.from_numpy(x)).items()}
    expected = F.cross_entropy(outputs["label"], torch.from_numpy(label)), F.l1_loss(outputs["value"], torch.from_numpy(value))
    assert found["label_loss"] == pytest.approx(float(expected[0]), rel=1e-6) and found["value_loss"] == pytest.approx(float(expected[1]))
    assert found["loss"] == pytest.approx(float(2 * expected[0] + 0.5 * expected[1]), rel=1e-6)


def test_targets_are_brought_to_what_torch_wants():
    column = losses.get(nn.CrossEntropyLoss())
    assert float(column(LABELS[:, None].float(), OUTPUTS)) == float(F.cross_entropy(OUTPUTS, LABELS))
    hot = F.one_hot(LABELS, 4)
    assert float(column(hot, OUTPUTS)) == float(F.cross_entropy(OUTPUTS, hot.float()))
    one = OUTPUTS[:, :1]
    assert float(losses.get(nn.MSELoss())(torch.ones(6), one)) == float(((one - 1) ** 2).mean())  # torch alone would broadcast to (6, 6)
    assert float(losses.get(nn.BCEWithLogitsLoss())(torch.ones(6, dtype=torch.int64), one)) == float(
        F.binary_cross_entropy_with_logits(one, torch.ones(6, 1))
    )


@pytest.mark.parametrize(
    ("loss", "targets", "says"),
    [
        (nn.MSELoss(), torch.ones(6, 3), r"targets have shape \(6, 3\), the outputs \(6, 4\)"),
        (nn.CrossEntropyLoss(), torch.ones(6, 3), r"labels \(6,\): torch's classes are axis 1"),
        (nn.NLLLoss(), torch.ones(6, 4), r"labels \(6,\)"),
    ],
)
def test_targets_of_another_shape_are_refused(loss: Any, targets: torch.Tensor, says: str):
    with pytest.raises(DataError, match=says):
        losses.get(loss)(targets, OUTPUTS)


def test_a_label_that_is_no_class_is_refused_before_training():
    model = dt.Sequential([nn.Linear(3, 4)])
    model.compile("sgd", nn.CrossEntropyLoss())
    with pytest.raises(DataError, match=r"labels from 0 to 4.\n  expected  0 to 3"):
        model.fit(np.zeros((3, 3), "float32"), np.array([0, 4, -100]), verbose=0)


def test_a_mask_takes_its_steps_out_of_value_and_divisor():
    outputs = OUTPUTS.reshape(2, 3, 4).transpose(1, 2).contiguous()  # (rows, classes, steps)
    labels, mask = LABELS.reshape(2, 3), torch.tensor([[True, False, True], [True, True, False]])
    expected = F.cross_entropy(outputs, labels.masked_fill(~mask, -100))
    outputs._keras_mask = mask
    torch.testing.assert_close(losses.get(nn.CrossEntropyLoss())(labels, outputs), expected)


# -- the order of arguments ---------------------------------------------------------------------------------------------------------------


class Focal(nn.Module):
    def forward(self, logits, target):
        return ((1 - logits.sigmoid()) * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean()


class Reversed(nn.Module):
    def forward(self, y_true, y_pred):
        return (y_true - 2 * y_pred).mean()


class Unclear(nn.Module):
    def forward(self, a, b):
        return (a - b).mean()


class Subclass(nn.MSELoss):
    pass


class Scaled(nn.MSELoss):
    def forward(self, a, b):
        return 3 * super().forward(a, 2 * b)


def test_a_module_of_the_scripts_own_is_called_as_its_parameters_say():
    y = torch.ones(6, 4)
    assert float(losses.get(Focal())(y, OUTPUTS)) == float(Focal()(OUTPUTS, y))
    assert float(losses.get(Reversed())(y, OUTPUTS)) == float((y - 2 * OUTPUTS).mean())
    assert float(losses.get(Subclass())(y, OUTPUTS)) == float(F.mse_loss(OUTPUTS, y))
    assert float(losses.get(Scaled())(y, OUTPUTS)) == float(3 * F.mse_loss(OUTPUTS, 2 * y))
    assert float(losses.get(Scaled(reduction="sum"))(y, OUTPUTS, None, 0.5)) == float(6 * F.mse_loss(OUTPUTS, 2 * y, reduction="sum"))


def test_a_module_that_does_not_tell_or_that_would_learn_is_refused():
    with pytest.raises(ValueError, match=r"loss=Unclear: do outputs or targets come first in forward\(a, b\)"):
        losses.get(Unclear())
    learns = Focal()
    learns.scale = nn.Parameter(torch.ones(()))
    with pytest.raises(ValueError, match="loss=Focal: the module has weights of its own"):
        losses.get(learns)


def test_functions_are_called_as_in_keras_unless_they_plainly_say_otherwise():
    def dice(pred, target):
        return pred - target

    assert float(losses.get(lambda p, t: (2 * p - t).mean())(torch.ones(6, 4), OUTPUTS)) == float((2 - OUTPUTS).mean())
    with pytest.raises(ValueError, match=r"loss=dice\(pred, target\)(.|\n)*lambda y_true, y_pred: dice\(y_pred, y_true\)"):
        losses.get(dice)
    with pytest.raises(ValueError, match=r"torch\.nn\.functional\.relu: it is no loss"):
        losses.get(F.relu)


def test_arguments_that_torch_has_given_up_and_weights_by_sample_are_refused():
    with pytest.raises(ValueError, match="size_average or reduce"):
        losses.get(functools.partial(F.mse_loss, size_average=False))
    with pytest.raises(ValueError, match="first axis is that of a batch"):
        losses.get(nn.BCELoss(weight=torch.ones(6, 1)))


def test_a_loss_of_torch_is_a_metric_too():
    model = dt.Sequential([nn.Linear(3, 4)])
    model.compile(
        "sgd", nn.CrossEntropyLoss(), metrics=[nn.CrossEntropyLoss(ignore_index=1), nn.KLDivLoss], weighted_metrics=[F.cross_entropy]
    )
    metric = dt.metrics.get(nn.CrossEntropyLoss(ignore_index=1))
    metric.update_state(LABELS[:2], OUTPUTS[:2])
    metric.update_state(LABELS[2:], OUTPUTS[2:])
    assert float(metric.result()) == pytest.approx(float(F.cross_entropy(OUTPUTS, LABELS, ignore_index=1)), rel=1e-6)
    summed = dt.metrics.get(functools.partial(F.mse_loss, reduction="sum"))
    summed.update_state(OUTPUTS + 1, OUTPUTS, torch.tensor([1.0, 2.0, 0.0, 0.0, 0.0, 0.0]))
    assert float(summed.result()) == pytest.approx(12.0, rel=1e-6)


def test_what_torch_divides_by_is_told_by_label():
    shares = torch_losses.divisor_shares(torch.tensor([0, 2, -100]), torch.tensor([0.5, 1.0, 3.0]), -100, torch.float64)
    assert shares.tolist() == [0.5, 3.0, 0.0]
