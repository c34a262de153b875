"""How a picture, an array or a line of text becomes what the model takes, as in its training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from disttrain.viewers.input_specs import InputSpec, plain, rows_in
from disttrain.viewers.picture_range import note_of_samples, range_of
from disttrain.viewers.refusal import Refusal

FREE_SIDE_PIXELS = 512  # an image whose size the model leaves open is made no larger
_DIGIT_SHARE = 20 / 28  # of the side of an MNIST picture that the digit takes


class Preprocessing:
    """From what a person gives to what the model takes, without the batch axis.

    Pictures, drawings and arrays of bytes get the model's size and channels, then its range (see `picture_range.py`). Arrays of other
    types are taken as they are.

    Args:
        specs: the inputs of the model.
        scales_itself: the model has a Rescaling or Normalization layer.
        function: called with the PIL image, array or text instead of all this; gives an array.
        rescale: a factor for values from 0 to 255.
        mean, std: subtracted and divided by after that, a number or one for each channel.
        samples: of the run, by input name.
        trained: the note that the model has of the pictures of its training.
        centre: place drawings as MNIST places its digits; None: where the pictures of the training lie so.
    """

    def __init__(
        self,
        specs: Sequence[InputSpec],
        *,
        scales_itself: bool = False,
        function: Callable[[Any], Any] | None = None,
        rescale: float | None = None,
        mean: Any = None,
        std: Any = None,
        samples: dict[str, np.ndarray] | None = None,
        trained: dict[str, Any] | None = None,
        centre: bool | None = None,
    ) -> None:
        self.specs, self.function = list(specs), function
        self._mean = None if mean is None else np.asarray(mean, np.float32)
        self._std = None if std is None else np.asarray(std, np.float32)
        note = note_of_samples(samples) or trained
        self._range = range_of(note, rescale=rescale, mean=self._mean, std=self._std, scales_itself=scales_itself)
        self._centres = bool(centre) if centre is not None else note is not None and bool(note["centred"])

    @property
    def about_pictures(self) -> str | None:
        """What is done to a picture or a drawing; None where the model takes none."""
        if len(self.specs) != 1 or self.specs[0].kind != "image":
            return None
        if self.function is not None:
            return "pictures: as preprocess= of launch makes them"
        drawn = "; drawings are placed in the middle, as digits of MNIST are" if self._centres and self._places_digits else ""
        return f"pictures: {self._range.words}{drawn}"

    @property
    def _places_digits(self) -> bool:
        height, width, channels = self.specs[0].size
        return channels == 1 and height is not None and height == width and height <= 64

    @property
    def image_spec(self) -> InputSpec:
        """The input that a picture goes into.

        Raises:
            Refusal: the model has none, or more than one input.
        """
        if len(self.specs) == 1 and self.specs[0].kind == "image":
            return self.specs[0]
        if not self.specs:
            raise Refusal(422, "the model does not tell the shape of its input: give .npy files, or build it before launch")
        found = ", ".join(f"{spec.name} {_told(spec)}" for spec in self.specs)
        raise Refusal(422, f"the model takes no single image: its inputs are {found}; give .npy or .npz files")

    def from_picture(self, image: Any) -> np.ndarray:
        """A PIL image as the model takes it."""
        if self.function is not None:
            return self._called(image)
        spec = self.image_spec
        height, width, channels = spec.size
        image = image.convert({1: "L", 3: "RGB", 4: "RGBA"}.get(channels, "RGB"))
        if height is None or width is None:  # the model takes any size: the picture's own, within reason
            ratio = min(1.0, FREE_SIDE_PIXELS / max(image.size))
            height = height or max(1, round(image.height * ratio))
            width = width or max(1, round(image.width * ratio))
        if image.size != (width, height):
            image = image.resize((width, height), 2)  # bilinear, as Keras's image loaders do
        return self._shaped(np.asarray(image, np.float32), spec)

    def from_drawing(self, grey: np.ndarray) -> np.ndarray:
        """White strokes on black, uint8 (height, width). Drawn larger than the input of the model, for one channel, and where the
        pictures of its training lie so, a drawing is placed as MNIST places its digits: scaled into 20/28 of the side, its centre of
        mass in the middle."""
        from PIL import Image

        if self.function is not None:
            return self._called(Image.fromarray(grey))
        height, width, _ = self.image_spec.size
        if self._centres and self._places_digits and grey.shape != (height, width) and grey.any():
            assert height is not None
            grey = _centred(grey, height)
        return self.from_picture(Image.fromarray(grey))

    def from_array(self, values: np.ndarray, spec: InputSpec) -> np.ndarray:
        """An array, without a batch axis, as one input of the model takes it.

        Raises:
            Refusal: another shape; tokens that the model does not know.
        """
        if self.function is not None and len(self.specs) == 1:
            return self._called(values)
        if spec.kind == "image" and values.dtype == np.uint8:
            return self._from_bytes(values, spec)
        if rows_in(values.shape, spec.inner) != 0:
            raise Refusal(422, f"the array has shape {plain(values.shape)}, {spec.name} takes {plain(spec.inner)}, None for any size")
        if spec.kind == "tokens":
            return _known_tokens(values, spec)
        return values.reshape((*values.shape, 1)) if values.ndim < len(spec.inner) else values

    def from_numbers(self, values: Any) -> np.ndarray:
        """Numbers, perhaps in lists of lists. Tokens are padded with zeros at the end, or cut, where the model wants a fixed length."""
        try:
            array = np.asarray(values, np.float64)
        except (ValueError, TypeError):
            raise Refusal(422, "values: expected numbers, in lists of equal length") from None
        if array.size == 0 or not np.isfinite(array).all():
            raise Refusal(422, "values: expected one number or more, all finite")
        if len(self.specs) != 1:
            raise Refusal(422, f"the model takes {len(self.specs)} inputs: give an .npz file with an array for each")
        spec = self.specs[0]
        if spec.kind == "tokens" and array.ndim == 1:
            length = spec.inner[0] or max(1, array.size)
            array = np.pad(array[:length], (0, max(0, length - array.size)))
        elif array.ndim == 1 and None not in spec.inner and array.size == int(np.prod([size or 1 for size in spec.inner])):
            array = array.reshape([size or 1 for size in spec.inner])
        elif array.ndim == 1 and len(spec.inner) == 2 and array.size % (spec.inner[1] or 1) == 0:
            array = array.reshape(-1, spec.inner[1] or 1)
        return self.from_array(array.astype(np.float32) if spec.kind != "tokens" else array, spec)

    def from_text(self, text: str) -> np.ndarray:
        """A line of text: what `preprocess` makes of it, else token ids with spaces or commas between them."""
        if self.function is not None:
            return self._called(text)
        try:
            return self.from_numbers([float(word) for word in text.replace(",", " ").split()])
        except ValueError:
            raise Refusal(422, self.about_text() or "the model takes no text") from None

    def about_text(self) -> str | None:
        """What a person may type, where the model takes tokens."""
        for spec in self.specs:
            if spec.kind == "tokens" and self.function is None:
                known = f" from 0 to {spec.vocabulary - 1}" if spec.vocabulary else ""
                return f"no layer of the model turns words into tokens: type token ids{known}, such as 12 7 3, or give launch(preprocess=)"
        return None

    def _from_bytes(self, values: np.ndarray, spec: InputSpec) -> np.ndarray:
        from PIL import Image

        if rows_in(values.shape, spec.inner) == 0:
            if spec.channels_axis == 0 and values.ndim == 3:
                values = np.moveaxis(values, 0, -1)
            return self._shaped(values.reshape(values.shape[0], values.shape[1], -1).astype(np.float32), spec)
        if values.ndim == 3 and values.shape[2] == 1:
            values = values[:, :, 0]
        if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)) or 0 in values.shape:
            raise Refusal(422, f"the array has shape {plain(values.shape)}, {spec.name} takes {plain(spec.inner)}, None for any size")
        return self.from_picture(Image.fromarray(values))

    def _shaped(self, pixels: np.ndarray, spec: InputSpec) -> np.ndarray:
        """Values from 0 to 255, (height, width) or (height, width, channels), in the range and the axes of the model."""
        if self._range.refused is not None:
            raise Refusal(422, self._range.refused)
        pixels = pixels * np.float32(self._range.factor) + np.float32(self._range.offset)
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        try:
            pixels = pixels if self._mean is None else pixels - self._mean
            pixels = pixels if self._std is None else pixels / self._std
        except ValueError:
            raise Refusal(422, f"mean= or std= of launch: expected a number or {pixels.shape[2]}, one for each channel") from None
        if spec.channels_axis is None:
            return pixels[:, :, 0]
        return np.moveaxis(pixels, -1, 0) if spec.channels_axis == 0 else pixels

    def _called(self, given: Any) -> np.ndarray:
        assert self.function is not None
        try:
            values = np.asarray(self.function(given))
        except Exception as error:  # a person's own function
            raise Refusal(422, f"preprocess({type(given).__name__}) of launch failed: {type(error).__name__}: {error}") from error
        if len(self.specs) == 1 and values.shape[:1] == (1,) and rows_in(values.shape, self.specs[0].inner) == 1:
            values = values[0]  # it added the batch axis
        if values.dtype.kind not in "biuf" or (self.specs and rows_in(values.shape, self.specs[0].inner) != 0):
            wanted = plain(self.specs[0].inner) if self.specs else "any shape"
            raise Refusal(422, f"preprocess of launch gave {values.dtype} of shape {plain(values.shape)}, the model takes {wanted}")
        return values


def _centred(grey: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    rows, columns = np.flatnonzero(grey.any(axis=1)), np.flatnonzero(grey.any(axis=0))
    cut = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside = max(1, round(side * _DIGIT_SHARE))
    ratio = inside / max(cut.shape)
    height, width = (max(1, round(size * ratio)) for size in cut.shape)
    small = np.asarray(Image.fromarray(cut).resize((width, height), 2), np.float64)
    weight = max(float(small.sum()), 1e-9)
    middle = (float((small.sum(axis=1) @ np.arange(height)) / weight), float((small.sum(axis=0) @ np.arange(width)) / weight))
    top, left = (int(np.clip(round((side - 1) / 2 - centre), 0, side - size)) for centre, size in zip(middle, (height, width), strict=True))
    placed = np.zeros((side, side), np.uint8)
    placed[top : top + height, left : left + width] = np.clip(np.rint(small), 0, 255)
    return placed


def _known_tokens(values: np.ndarray, spec: InputSpec) -> np.ndarray:
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.floor(values)).all()):
        raise Refusal(422, f"{spec.name} takes token ids: expected whole numbers")
    least, most = int(values.min(initial=0)), int(values.max(initial=0))
    if least < 0 or (spec.vocabulary is not None and most >= spec.vocabulary):
        limit = f"0 to {spec.vocabulary - 1}" if spec.vocabulary else "0 or more"
        raise Refusal(422, f"token {least if least < 0 else most} is not known to {spec.name}: expected {limit}")
    return values.astype(np.int64)


def _told(spec: InputSpec) -> str:
    return f"{plain(spec.inner)} ({spec.kind})"
