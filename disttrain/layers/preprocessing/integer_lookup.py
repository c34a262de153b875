"""Whole numbers as places in a vocabulary."""

from __future__ import annotations

from typing import Any

from disttrain.layers.preprocessing.index_lookup import IndexLookup


class IntegerLookup(IndexLookup):
    """The place of each whole number in a vocabulary, which is given or found by `adapt`.

    Args:
        max_tokens, vocabulary, idf_weights, invert, output_mode, pad_to_max_tokens, sparse: as of `StringLookup`.
        num_oov_indices: how many places there are for numbers that the vocabulary has not: 1 for all of them, more to spread them by
            `oov_method`, 0 to refuse them.
        mask_token: the number that stands for none. None: there is none.
        oov_token: what `invert` gives for a number that the vocabulary had not.
        vocabulary_dtype: "int64".
        oov_method: "floormod": the remainder of the number; "farmhash": its hash.
        salt: with "farmhash", one or two whole numbers: hash by SipHash with that key.

    Input shape: any, of integers. Output shape: the same for "int", int64; else see `CategoryEncoding`.

    Raises:
        ValueError: arguments that do not go together, a vocabulary with repetitions or with reserved tokens in another place; an input
            before there is a vocabulary, or one that it lacks where `num_oov_indices=0`.
        RuntimeError: a vocabulary of another size, when outputs depend on it already.

    Example:
        >>> layer = IntegerLookup(vocabulary=[12, 36])
        >>> layer([[12, 7], [36, 12]])
        tensor([[1, 0],
                [2, 1]])
    """

    _token_type = int

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        salt: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if vocabulary_dtype != "int64":
            raise ValueError(f"IntegerLookup(vocabulary_dtype={vocabulary_dtype!r}): expected 'int64', the only one that Keras has too.")
        super().__init__(
            max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert, output_mode, sparse, pad_to_max_tokens,
            oov_method, salt, name=name, **kwargs,
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "vocabulary_dtype": "int64"}
