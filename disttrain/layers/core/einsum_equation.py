"""What an einsum equation such as `"abc,cd->abd"` says about the shapes of a kernel, a bias and an output."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from disttrain.layers.symbolic import Shape

_FORMS = (
    (re.compile(r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)"), None),
    (re.compile(r"\.\.\.([a-zA-Z]+),([a-zA-Z]+)->\.\.\.([a-zA-Z]+)"), "left"),
    (re.compile(r"([a-zA-Z]{2,})\.\.\.,([a-zA-Z]+)->([a-zA-Z]+)\.\.\."), "right"),
)


@dataclass(frozen=True, slots=True)
class Equation:
    """An equation taken apart.

    Args:
        inputs, kernel, outputs: the letters of each, without the dots.
        elided: where `...` stands in input and output: "left", "right", or None.
    """

    inputs: str
    kernel: str
    outputs: str
    elided: str | None

    @property
    def input_axes(self) -> list[int]:
        """The axes of the kernel that are summed over."""
        return [axis for axis, letter in enumerate(self.kernel) if letter not in self.outputs]

    @property
    def output_axes(self) -> list[int]:
        """The axes of the kernel that the output has too."""
        return [axis for axis, letter in enumerate(self.kernel) if letter in self.outputs]

    @property
    def summed_last(self) -> int | None:
        """How many last axes of the input a plain matrix product sums over; None where the equation is no plain matrix product.

        It is one where the kernel has the input's last letters first, then the output's last ones, and nothing else happens.
        """
        if self.elided == "right" or len(set(self.inputs)) < len(self.inputs) or len(set(self.kernel)) < len(self.kernel):
            return None
        summed = len(self.input_axes)
        kept, new = self.inputs[: len(self.inputs) - summed], self.kernel[summed:]
        fits = self.inputs == kept + self.kernel[:summed] and self.outputs == kept + new and not set(kept) & set(self.kernel)
        return summed if fits and summed and new else None


def parse(equation: str, owner: str) -> Equation:
    """The parts of an equation.

    Raises:
        ValueError: another form than `X,Y->Z`, `...X,Y->...Z` or `X...,Y->Z...`; a letter that comes from nowhere.
    """
    found = None
    for pattern, elided in _FORMS:
        match = pattern.fullmatch(equation.replace(" ", "")) if isinstance(equation, str) else None
        if match:
            found = Equation(match[1], match[2], match[3], elided)
    if found is None:
        raise ValueError(
            f"{owner}(equation={equation!r}): expected 'X,Y->Z', '...X,Y->...Z' or 'X...,Y->Z...', with letters for X, Y and Z."
        )
    for letter in found.outputs:
        if letter not in found.inputs + found.kernel:
            raise ValueError(f"{owner}(equation={equation!r}): the output has {letter!r}, which neither the input nor the kernel has.")
    for letter in found.kernel:
        if letter not in found.inputs + found.outputs:
            raise ValueError(f"{owner}(equation={equation!r}): the kernel has {letter!r}, whose size neither input nor output gives.")
    return found


def output_shape(equation: Equation, input_shape: Shape, partial: Sequence[int | None], described: str) -> Shape:
    """The whole shape of the output, `partial` being that without the batch and without what `...` stands for.

    Raises:
        ValueError: the numbers of axes do not fit the equation, or a size that input and output share differs.
    """
    elided = len(input_shape) - len(equation.inputs)
    if elided < 0 or (elided and equation.elided is None):
        raise ValueError(
            f"{described}: got an input of shape {tuple(input_shape)}, expected {len(equation.inputs)} axes"
            + (" or more." if equation.elided else ".")
        )
    if equation.elided == "left":
        shape = (input_shape[0], *input_shape[1:elided], *partial) if elided else (input_shape[0], *partial)
    else:
        shape = (input_shape[0], *partial, *input_shape[len(input_shape) - elided :])
    if len(shape) != len(equation.outputs) + elided:
        raise ValueError(
            f"{described}: output_shape={tuple(partial)} has {len(partial)} axes, which do not fit an input of shape "
            f"{tuple(input_shape)}; the batch and what '...' stands for are left out."
        )
    sizes = dict(_sizes(equation, shape, equation.outputs))
    for letter, size in _sizes(equation, input_shape, equation.inputs):
        if sizes.get(letter) not in (None, size):
            raise ValueError(
                f"{described}: output_shape={tuple(partial)} has {sizes[letter]} for {letter!r}, "
                f"the input of shape {tuple(input_shape)} {size}."
            )
    return shape


def kernel_shape(equation: Equation, input_shape: Shape, whole_output: Shape, described: str) -> tuple[int, ...]:
    """The shape of the kernel: sizes of the output first, then of the input.

    Raises:
        ValueError: a size is not known.
    """
    sizes = _known(equation, input_shape, whole_output)
    found = []
    for letter in equation.kernel:
        size = sizes.get(letter)
        if size is None:
            raise ValueError(f"{described}: the kernel's axis {letter!r} has no known size, with an input of shape {tuple(input_shape)}.")
        found.append(size)
    return tuple(found)


def bias_shape(equation: Equation, bias_axes: str, whole_output: Shape, described: str) -> tuple[int, ...]:
    """The shape of the bias: the sizes of `bias_axes`, and 1 for the axes of the output between and after them.

    Raises:
        ValueError: an axis that the output does not have, or whose size is not known.
    """
    sizes = dict(_sizes(equation, whole_output, equation.outputs))
    for letter in bias_axes:
        if letter not in sizes:
            raise ValueError(f"{described}: bias_axes={bias_axes!r} has {letter!r}, which the output {equation.outputs!r} has not.")
        if sizes[letter] is None:
            raise ValueError(f"{described}: the bias's axis {letter!r} has no known size.")
    first = min(equation.outputs.index(letter) for letter in bias_axes)
    own = [sizes[letter] if letter in bias_axes else 1 for letter in equation.outputs[first:]]
    elided = len(whole_output) - len(equation.outputs)
    return tuple(size for size in own + [1] * (elided if equation.elided == "right" else 0) if size is not None)


def filled(equation: Equation, input_shape: Shape, whole_output: Shape) -> Shape:
    """The shape of the output with the sizes that the input knows in the place of None."""
    sizes = _known(equation, input_shape, whole_output)
    elided = len(whole_output) - len(equation.outputs)
    letters = [""] * elided + list(equation.outputs) if equation.elided == "left" else list(equation.outputs) + [""] * elided
    return tuple(sizes.get(letter) if size is None else size for letter, size in zip(letters, whole_output, strict=True))


def _known(equation: Equation, input_shape: Shape, whole_output: Shape) -> dict[str, int]:
    pairs = [*_sizes(equation, input_shape, equation.inputs), *_sizes(equation, whole_output, equation.outputs)]
    return {letter: size for letter, size in pairs if size is not None}


def _sizes(equation: Equation, shape: Shape, letters: str) -> list[tuple[str, int | None]]:
    start = len(shape) - len(letters) if equation.elided == "left" else 0
    return list(zip(letters, shape[start : start + len(letters)], strict=True))
