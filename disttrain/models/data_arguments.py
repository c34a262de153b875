"""What a person passed to `fit`, `evaluate` and `predict` as data, made into phases: samples and the batches they come in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from disttrain.data import ArraySource, DatasetSource, Feed, RangeSource, StreamFeed, StreamPlan, feed_of, flatten
from disttrain.data.bad_samples import CHOICES
from disttrain.data.mapped import is_large_map
from disttrain.data.plan import BatchPlan
from disttrain.errors import DataError, UsageError
from disttrain.layers.core.torch_module import TorchModule
from disttrain.layers.layer import Layer
from disttrain.text import is_text


def training_feeds(
    x: Any, y: Any, sample_weight: Any, class_weight: Any, validation_split: float, validation_data: Any
) -> tuple[Feed | StreamFeed, Feed | StreamFeed | None]:
    """(what to train on, what to validate on or None).

    Raises:
        DataError: data that do not fit together, weights twice, a split that leaves nothing.
    """
    if class_weight is not None:
        check_class_weight(class_weight, y, sample_weight)
    feed = feed_of(x, y, sample_weight)
    if validation_data is not None:
        if isinstance(validation_data, tuple | list) and 2 <= len(validation_data) <= 3:
            return feed, feed_of(*validation_data, argument="validation_data")
        return feed, feed_of(validation_data, argument="validation_data")
    if not validation_split:
        return feed, None
    if not 0.0 < validation_split < 1.0:
        raise DataError(f"validation_split={validation_split!r}: expected a fraction between 0 and 1.")
    if isinstance(feed, StreamFeed):
        feed.range(0, 0)
    kept = int(len(feed) * (1.0 - validation_split))
    if kept == 0 or kept == len(feed):
        raise DataError(f"validation_split={validation_split} of {len(feed)} samples leaves nothing on one side.")
    return feed.range(0, kept), feed.range(kept, len(feed))


def check_class_weight(class_weight: Any, y: Any, sample_weight: Any) -> None:
    """Refuse weights of classes beside weights of samples, for several outputs, or that are no numbers by label."""
    if sample_weight is not None:
        raise DataError("class_weight and sample_weight cannot be given together: fold one into the other.")
    if isinstance(y, dict | list | tuple) and any(hasattr(leaf, "shape") for leaf in flatten(y)):
        raise DataError("class_weight is for models with one output.\n  try       sample_weight, with an array for each output")
    if not isinstance(class_weight, dict) or not all(
        isinstance(label, int | np.integer) and isinstance(weight, int | float | np.number) for label, weight in class_weight.items()
    ):
        raise DataError(f"class_weight={class_weight!r}: expected a dict from integer labels to numbers, such as {{0: 1.0, 1: 2.5}}.")


def choose_bad_samples(choice: str, feed: Any, validation: Any) -> None:
    """What becomes of samples that cannot be made.

    Raises:
        DataError: nothing that is known, or "skip" for data whose samples are not made by number.
    """
    if choice not in CHOICES:
        raise DataError(f"on_bad_sample={choice!r}: expected 'raise' or 'skip'.")
    sources = [one.source for one in (feed, validation) if one is not None]
    sources = [source.source if isinstance(source, RangeSource) else source for source in sources]
    if choice == "skip" and (isinstance(feed, StreamFeed) or not isinstance(sources[0], DatasetSource)):
        raise DataError(
            f"on_bad_sample='skip' for a {feed.kind}: expected a map-style Dataset, or a plain DataLoader over one, whose samples are made "
            "one by one, by number."
        )
    for source in sources:
        if isinstance(source, DatasetSource):
            source.skips_bad = choice == "skip"


def check_passes(feed: Any, plan: BatchPlan, epochs: int) -> None:
    """Refuse several epochs of what gives its samples once, where each would be a pass."""
    if isinstance(plan, StreamPlan) and plan.reader.stream.once and plan.steps_per_epoch is None and epochs > 1:
        raise DataError(
            f"epochs={epochs} of a {feed.kind} that is under way, which gives its samples once.\n"
            "  expected  one epoch; or what can be begun again: a generator function (fit(make_batches), not fit(make_batches())), or an\n"
            "            object whose __iter__ begins anew\n"
            "  try       steps_per_epoch=, for one that has no end or is to be spread over the epochs"
        )


def check_text(model: Any, x: Any) -> None:
    """Refuse text for a model without a layer that takes it, and the compilation of one that has some.

    Raises:
        DataError: it has none, or is to be compiled.
    """
    of_text = next((module for module in model.modules() if getattr(module, "_takes_text", False)), None)
    if of_text is not None and getattr(model, "jit_compile", False) is True:
        raise DataError(
            f"compile(jit_compile=True) with {type(of_text).__name__} {of_text.name!r}, which computes in Python on strings and numbers.\n"
            "  try       compile(jit_compile=False), or the layer on the data before fit: layer(x)"
        )
    if of_text is None and any(is_text(leaf) for leaf in flatten(x)):
        raise DataError(
            f"x holds text, and {type(model).__name__} {getattr(model, 'name', '')!r} has no layer that takes text.\n"
            "  try       layers.TextVectorization, StringLookup or Hashing first, in the model or on the data: layer(x)"
        )


def check_validation_freq(validation_freq: Any) -> None:
    """Refuse anything but a number of epochs or a list of them."""
    if isinstance(validation_freq, bool) or not (
        (isinstance(validation_freq, int) and validation_freq > 0)
        or (isinstance(validation_freq, list | tuple | set | range) and all(isinstance(epoch, int) for epoch in validation_freq))
    ):
        raise DataError(f"validation_freq={validation_freq!r}: expected a number of epochs, or the epochs to validate after, from 1.")


def check_row_states(model: Any, plans: list[BatchPlan]) -> None:
    """Refuse batches that a layer with a state for each row of the batch (`stateful=True`) cannot take.

    Raises:
        DataError: a batch of another size, the short last one of a pass among them.
    """
    for layer in model.modules():
        for name in getattr(layer, "_row_states", ()) if isinstance(layer, Layer) else ():
            rows = int(layer._buffers[name].shape[0])
            for plan in plans:
                if isinstance(plan, StreamPlan):
                    if plan.batch_size != rows:
                        raise DataError(
                            f"{layer._described()} keeps a state for each of {rows} rows of the batch, and got {plan.batch_size}."
                        )
                    continue
                short = 0 if plan.drop_last else plan.samples % plan.batch_size
                reached = plan.steps_per_epoch is None or plan.steps_per_epoch >= plan.steps_per_pass
                if plan.batch_size == rows and not (short and reached):
                    continue
                found = f"batch_size={plan.batch_size}"
                if plan.batch_size == rows:
                    found = f"{plan.samples} samples, whose last batch holds {short}"
                raise DataError(
                    f"{layer._described()} keeps a state for each of {rows} rows of the batch, and got {found}.\n"
                    f"  expected  batch_size={rows} and a multiple of {rows} samples"
                )


def refuse_two_losses(model: Any) -> None:
    """Raise where a torch module computes a loss from labels among its inputs, and `compile` was given one too.

    Raises:
        UsageError: it would count twice.
    """
    for layer in model.modules():
        if isinstance(layer, TorchModule) and layer.gave_loss:
            raise UsageError(
                f"{type(layer.module).__name__} computes a loss itself, from labels among its inputs, and compile has one too.\n"
                "  expected  one of them\n"
                "  try       compile(optimizer) without loss=; or labels as y, and not in the dict of inputs"
            )


def missing_targets(x: Any) -> DataError:
    """The error for a loss without targets; `x` are the inputs of a few samples."""
    text = "y is missing, and the compiled loss needs it."
    if isinstance(x, Mapping):
        text += (
            f"\n  expected  (x, y): the data give a dict of {', '.join(map(str, x))}, all of which are inputs\n"
            "  try       a dataset, or a collate_fn, that gives (x, y), where x may be a dict; or a loss that the model computes itself"
        )
    return DataError(text)


def array_targets(feed: Feed | StreamFeed) -> Any:
    """The targets of a feed that holds them all in arrays, None otherwise."""
    source: Any = feed.source
    while isinstance(source, RangeSource):
        source = source.source
    y = source.y if isinstance(source, ArraySource) else None
    return None if any(is_large_map(leaf) for leaf in flatten(y)) else y  # nobody reads a whole file for it
