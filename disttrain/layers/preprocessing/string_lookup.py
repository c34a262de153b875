"""Strings as places in a vocabulary."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.context import innermost
from disttrain.layers.preprocessing.index_lookup import IndexLookup
from disttrain.text import strings_of, text_tensor


class StringLookup(IndexLookup):
    """The place of each string in a vocabulary, which is given or found by `adapt`.

    Args:
        max_tokens: the size of the vocabulary at most, special tokens included; None for no bound.
        num_oov_indices: how many places there are for strings that the vocabulary has not: 1 for all of them, more to spread them by their
            hash, 0 to refuse them.
        mask_token: what stands for no string: place 0 with "int", nothing at all with the other modes. None: there is none.
        oov_token: what `invert` gives for a string that the vocabulary had not.
        vocabulary: a list of strings, or the path of a file with one a line; None: `adapt` finds it.
        idf_weights: with "tf_idf", a number for each string of `vocabulary`.
        invert: give the string at each place. Called by itself, as on what `predict` gave, it returns an array of strings.
        output_mode: "int": the place; "one_hot", "multi_hot", "count": as `CategoryEncoding` encodes it; "tf_idf": counts times
            `log(1 + documents / (1 + documents with the string))`.
        pad_to_max_tokens: encode as vectors of `max_tokens` elements, however many strings there are.
        sparse: is refused; torch's sparse tensors are no inputs of other layers.
        encoding: of bytes.
        salt: one or two whole numbers: hash by SipHash with that key, not by FarmHash.

    Input shape: any, of strings; an Input of `dtype="string"`. Output shape: the same for "int", int64; else see `CategoryEncoding`.

    Raises:
        ValueError: arguments that do not go together, a vocabulary with repetitions or with reserved tokens in another place; an input
            before there is a vocabulary, or one that it lacks where `num_oov_indices=0`.
        RuntimeError: a vocabulary of another size, when outputs depend on it already.

    Example:
        >>> layer = StringLookup(vocabulary=["a", "b"])
        >>> layer([["a", "z"], ["b", "a"]])
        tensor([[1, 0],
                [2, 1]])
        >>> layer.get_vocabulary()
        ['[UNK]', 'a', 'b']
    """

    _wants_text = True

    _calls_itself = True  # its `forward` takes text, and calls as any layer

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        salt: Any = None,
        oov_method: str = "floormod",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert, output_mode, sparse, pad_to_max_tokens,
            oov_method, salt, name=name, **kwargs,
        )  # fmt: skip
        self.encoding = encoding

    def _as_output(self, tokens: list[Any], shape: tuple[int, ...], inputs: Tensor) -> Any:
        return text_tensor(tokens).reshape(*shape, -1) if tokens else text_tensor([""])[:0].reshape(*shape, 1)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        outermost = innermost() is None
        found = super().forward(*args, **kwargs)
        return strings_of(found) if self.invert and outermost and isinstance(found, Tensor) else found

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        if self.invert:
            raise ValueError(
                f"{self._described()}: invert=True gives strings, which no model computes with.\n"
                "  try  the layer by itself on what the model gives: layer(model.predict(x).argmax(-1))"
            )
        return super().compute_output_spec(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "encoding": self.encoding}
