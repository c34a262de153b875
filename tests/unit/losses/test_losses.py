"""Numbers marked Keras come from Keras 3.15.1 on its torch backend."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from disttrain import losses
from disttrain.errors import DataError

P = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.2, 0.2, 0.1], [0.0, 1.0, 0.0]])
LOGITS = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.5, 3.0], [2.0, -2.0, 0.0], [0.1, 0.2, 0.3]])
LABELS = torch.tensor([1, 2, 0, 2])
ONE_HOT = torch.eye(3)[LABELS]
WEIGHTS = torch.tensor([1.0, 2.0, 0.0, 0.5])
EVERY = sorted(losses.CLASSES)


def numbers(values: Tensor) -> list[float]:
    return values.reshape(-1).tolist()


def test_sparse_categorical_crossentropy_scales_probabilities_then_clips_them_as_keras_does():
    values = losses.SparseCategoricalCrossentropy(reduction="none")(LABELS, P)
    assert numbers(values) == pytest.approx([0.510826, 1.203973, 0.916291, 16.118095], abs=2e-6)  # Keras; 0.2 / 0.5 in the third row


def test_sparse_categorical_crossentropy_takes_labels_in_a_column_and_logits():
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(loss(LABELS[:, None], LOGITS)) == pytest.approx(np.mean([0.349012, 0.123873, 0.142932, 1.001943]), abs=2e-6)  # Keras


@pytest.mark.parametrize("from_logits", [False, True])
def test_the_short_way_to_the_mean_agrees_with_the_values_and_their_gradients(from_logits):
    loss = losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    outputs = [(LOGITS if from_logits else P).clone().requires_grad_() for _ in range(2)]
    short, long = loss(LABELS, outputs[0]), loss.call(LABELS, outputs[1]).mean()
    short.backward()
    long.backward()
    assert short.item() == pytest.approx(long.item(), rel=1e-6)
    assert torch.allclose(outputs[0].grad, outputs[1].grad, rtol=1e-6)


def test_an_ignored_class_leaves_the_mean_and_the_gradient():
    outputs = P.clone().requires_grad_()
    loss = losses.SparseCategoricalCrossentropy(ignore_class=2)(LABELS, outputs)
    loss.backward()
    assert loss.item() == pytest.approx(0.713558, abs=2e-6)  # Keras
    assert outputs.grad[[1, 3]].abs().sum() == 0


def test_categorical_crossentropy_smooths_towards_all_classes():
    loss = losses.CategoricalCrossentropy(label_smoothing=0.3, reduction="none")
    assert numbers(loss(ONE_HOT, P)) == pytest.approx([0.759316, 1.193437, 0.985605, 14.506287], abs=1e-5)  # Keras
    loss = losses.CategoricalCrossentropy(label_smoothing=0.3, from_logits=True, reduction="none")
    assert numbers(loss(ONE_HOT, LOGITS)) == pytest.approx([0.749012, 0.673873, 0.742932, 1.031943], abs=2e-6)  # Keras


def test_binary_crossentropy_clips_probabilities_and_smooths_towards_a_half():
    p, y = torch.tensor([[0.0], [0.2], [0.9], [1.0]]), torch.tensor([1, 0, 1, 0])
    assert numbers(losses.BinaryCrossentropy(reduction="none")(y, p)) == pytest.approx([16.118095, 0.223144, 0.105361, 15.942385], abs=1e-5)
    smooth = losses.BinaryCrossentropy(label_smoothing=0.2, reduction="none")
    assert numbers(smooth(y, p)) == pytest.approx([14.506287, 0.361773, 0.325083, 14.348145], abs=1e-5)  # Keras, as above
    logits = losses.BinaryCrossentropy(from_logits=True, reduction="none")
    assert numbers(logits(ONE_HOT, LOGITS)) == pytest.approx([0.584484, 0.571937, 0.315668, 0.698964], abs=2e-6)


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [("sum_over_batch_size", 0.383333), ("mean", 0.383333), ("sum", 1.533333), ("mean_with_sample_weight", 0.438095)],
)
def test_weights_multiply_and_the_divisor_depends_on_the_reduction(reduction, expected):
    assert float(losses.MeanAbsoluteError(reduction=reduction)(ONE_HOT, P, WEIGHTS)) == pytest.approx(expected, abs=1e-6)  # Keras


def test_the_slices_of_a_summed_loss_add_up_to_the_sum_over_the_batch():
    loss = losses.MeanAbsoluteError(reduction="sum")
    whole = float(loss(ONE_HOT, P))
    parts = [(ONE_HOT[:1], P[:1], 0.25), (ONE_HOT[1:], P[1:], 0.75)]
    assert sum(float(loss(y, p, None, fraction)) * fraction for y, p, fraction in parts) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize(("targets", "outputs"), [((4,), (4, 1)), ((4, 1), (4,)), ((4, 1), (4, 1)), ((4,), (4,))])
def test_a_last_axis_of_one_may_be_missing_and_is_never_broadcast(targets, outputs):
    y, p = torch.arange(4.0), torch.arange(4.0) + 1.0
    for name in ("mse", "mae", "mape", "msle", "rmse", "huber", "log_cosh", "hinge", "squared_hinge", "poisson", "bce"):
        values = losses.get(name).call(y.reshape(targets), p.reshape(outputs).clamp(0.0, 1.0))
        assert values.shape == (4,), name
    assert float(losses.MeanSquaredError()(y.reshape(targets), p.reshape(outputs), torch.tensor([1.0, 0.0, 0.0, 0.0]))) == 0.25


OF_LABELS = ("CTC", "CategoricalGeneralizedCrossEntropy", "Circle", "SparseCategoricalCrossentropy")


@pytest.mark.parametrize(("targets", "outputs"), [((4, 2), (4, 3)), ((4, 1), (4, 3)), ((4, 3), (4, 1)), ((3,), (4, 3)), ((1, 3), (4, 3))])
@pytest.mark.parametrize("name", [name for name in EVERY if name not in OF_LABELS])
def test_shapes_that_do_not_fit_are_an_error_and_never_broadcast(name, targets, outputs):
    for loss in (losses.get(name), losses.CLASSES[name](reduction="none")):
        with pytest.raises(DataError, match=re.escape(f"y_true has shape {targets}, y_pred has shape {outputs}")):
            loss(torch.zeros(targets), torch.full(outputs, 0.5))


@pytest.mark.parametrize("name", OF_LABELS)
def test_labels_that_do_not_fit_are_an_error(name):
    outputs = torch.full((4, 3, 5) if name == "CTC" else (4, 3), 0.5)
    with pytest.raises(DataError, match=r"ha(ve|s) shape"):
        losses.get(name)(torch.zeros(5, dtype=torch.long), outputs)


def test_one_hot_targets_given_to_the_sparse_loss_are_an_error_that_names_the_other_loss():
    with pytest.raises(DataError, match="try       loss='categorical_crossentropy'"):
        losses.SparseCategoricalCrossentropy()(ONE_HOT, P)


def test_weights_that_do_not_fit_are_an_error():
    with pytest.raises(DataError, match=r"sample_weight has shape \(3,\)"):
        losses.MeanSquaredError()(ONE_HOT, P, torch.ones(3))


@pytest.mark.parametrize("name", EVERY)
def test_every_loss_is_rebuilt_from_its_config(name):
    loss = losses.CLASSES[name](reduction="sum", name="mine")
    again = losses.get({"class_name": name, "config": loss.get_config()})
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


def test_get_takes_names_classes_instances_and_functions():
    assert isinstance(losses.get("MSE"), losses.MeanSquaredError)
    assert isinstance(losses.get(losses.Huber), losses.Huber)
    assert isinstance(losses.get(losses.huber), losses.Huber) and isinstance(losses.get(losses.rmse), losses.RootMeanSquaredError)
    assert isinstance(losses.get({"class_name": "function", "config": "kl_divergence"}), losses.KLDivergence)
    assert [type(losses.get(name)).__name__ for name in ("kld", "MAPE", "bce", "ctc", "cosine_similarity")] == [
        "KLDivergence",
        "MeanAbsolutePercentageError",
        "BinaryCrossentropy",
        "CTC",
        "CosineSimilarity",
    ]
    loss = losses.Huber()
    assert losses.get(loss) is loss
    assert losses.get(None) is None


def test_an_unknown_name_lists_the_nearest_first():
    with pytest.raises(
        ValueError, match=r"'sparse_categorical_crosentropy': no such loss.\n  expected  one of sparse_categorical_crossentropy, "
    ):
        losses.get("sparse_categorical_crosentropy")


def test_a_function_is_a_loss_with_weights_and_reduction():
    def twice(y_true, y_pred):
        return 2.0 * (y_pred - y_true).abs().mean(-1)

    loss = losses.get(twice)
    assert loss.name == "twice"
    assert float(loss(torch.zeros(2), torch.tensor([[1.0], [3.0]]))) == 4.0  # targets lifted to (2, 1), not broadcast to (2, 2)
    assert float(loss(torch.zeros(2, 1), torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0]))) == 3.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.MeanSquaredError(reduction="average"), r"MeanSquaredError\(reduction='average'\)"),
        (lambda: losses.MeanSquaredError(dtype="float8"), r"MeanSquaredError\(dtype='float8'\): expected one of \['bfloat16'"),
        (lambda: losses.MeanSquaredError(dtype=torch.int64), r"dtype=torch.int64"),
        (lambda: losses.Huber(delta=0.0), r"Huber\(delta=0.0\)"),
        (lambda: losses.BinaryCrossentropy(label_smoothing=1.5), r"BinaryCrossentropy\(label_smoothing=1.5\): expected a fraction"),
        (lambda: losses.CategoricalCrossentropy(axis=True), r"CategoricalCrossentropy\(axis=True\): expected a whole number"),
        (lambda: losses.BinaryFocalCrossentropy(alpha=2.0), r"alpha=2.0"),
        (lambda: losses.BinaryFocalCrossentropy(gamma=-1.0), r"gamma=-1.0"),
        (lambda: losses.CategoricalFocalCrossentropy([0.5, -0.5]), "weights of 0 or more"),
        (lambda: losses.CategoricalFocalCrossentropy(gamma=float("nan")), "gamma=nan"),
        (lambda: losses.CategoricalFocalCrossentropy([0.5])(ONE_HOT, P), "one weight for each of the 3 classes"),
        (lambda: losses.CategoricalGeneralizedCrossEntropy(q=1.0), r"q=1.0"),
        (lambda: losses.Circle(gamma=0.0), r"gamma=0.0"),
        (lambda: losses.Tversky(alpha=-1.0), r"Tversky\(alpha=-1.0, beta=0.5\)"),
        (lambda: losses.Dice(axis="all"), r"Dice\(axis='all'\)"),
        (lambda: losses.SparseCategoricalCrossentropy(axis=2)(LABELS, P), r"axis=2, y_pred has shape \(4, 3\)"),
        (lambda: losses.get(3), r"loss=3: expected a name"),
    ],
)
def test_what_is_wrong_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_own_loss_has_a_name_in_small_letters_and_gets_tensors():
    class HalfMSELoss(losses.Loss):
        def call(self, y_true, y_pred):
            return 0.5 * (y_true - y_pred).square().mean(-1)

    loss = HalfMSELoss()
    assert loss.name == "half_mse_loss" and repr(loss) == "<HalfMSELoss name='half_mse_loss' reduction='sum_over_batch_size'>"
    assert float(loss([[0.0]], np.array([[2.0]], dtype="float32"))) == 2.0
    with pytest.raises(NotImplementedError, match="Loss must define call"):
        losses.Loss()([0.0], [0.0])


def test_serialize_writes_keras_s_config_and_leaves_what_it_does_not_know():
    written = losses.serialize(losses.Huber(2.0))
    assert written["module"] == "keras.losses" and written["class_name"] == "Huber" and written["config"]["delta"] == 2.0
    assert losses.get(written).get_config() == losses.Huber(2.0).get_config()
    own = losses.FunctionLoss(lambda y, p: (y - p).abs())
    assert losses.serialize(own) is own and losses.serialize(None) is None
