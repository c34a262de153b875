"""Sentences as sequences of places in a vocabulary, or as counts of its words."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.layers.preprocessing import vocabulary as vocabularies
from disttrain.layers.preprocessing.categorical import check_output_mode
from disttrain.layers.preprocessing.index_lookup import MODES
from disttrain.layers.preprocessing.string_lookup import StringLookup
from disttrain.layers.preprocessing.text_layer import TextLayer
from disttrain.layers.symbolic import Shape, SymbolicTensor
from disttrain.text import strings_of

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)  # letters of ASCII alone, as in Keras
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WORD = re.compile(r"[^ \t\n\v\f\r]+")
_STANDARDS = ("lower_and_strip_punctuation", "lower", "strip_punctuation")
_SPLITS = ("whitespace", "character")


class TextVectorization(TextLayer):
    """Standardize each string, split it into words, make n-grams of them, and look them up in a vocabulary that `adapt` finds.

    Args:
        max_tokens: the size of the vocabulary at most, its special tokens included: "" for padding (with "int") and "[UNK]".
        standardize: "lower_and_strip_punctuation", "lower", "strip_punctuation", None, or a function of an array of strings that gives
            one. Lower are the letters of ASCII.
        split: "whitespace", "character", None, or a function of an array of strings that gives a list of words for each.
        ngrams: None; n for n-grams of 1 to n words; or a tuple of numbers of words.
        output_mode: "int": places, padded with 0; "multi_hot", "count", "tf_idf": one vector for a string, see `StringLookup`; "one_hot": a
            vector for each word, zeros after the last.
        output_sequence_length: with "int", how long sequences become by cutting and padding; None: as long as the longest of the call,
            which in a step is that of the slice.
        pad_to_max_tokens, vocabulary, idf_weights, encoding: as of `StringLookup`.
        sparse, ragged: are refused; layers take dense tensors.

    Input shape: `(batch,)` or `(batch, 1)`, of strings; an Input of `dtype="string"`. Output shape: `(batch, length)` int64 with "int",
    else `(batch, tokens)`.

    Raises:
        ValueError: an unknown `standardize`, `split` or `output_mode`, `sparse=True` or `ragged=True`, arguments that do not go together;
            strings of another shape than `(batch,)` or `(batch, 1)`; an input before there is a vocabulary.

    Example:
        >>> layer = TextVectorization(output_sequence_length=4)
        >>> layer.adapt(["foo bar", "bar baz", "baz bada boom"])
        >>> layer([["foo qux bar"], ["qux baz"]])
        tensor([[4, 1, 3, 0],
                [1, 2, 0, 0]])
    """

    _wants_text = True

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: str | Callable[..., Any] | None = "lower_and_strip_punctuation",
        split: str | Callable[..., Any] | None = "whitespace",
        ngrams: int | Sequence[int] | None = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        vocabulary_size: int | None = None,
        has_input_vocabulary: bool | None = None,
        **kwargs: Any,
    ) -> None:
        if str(kwargs.get("dtype")) == "string" or (isinstance(kwargs.get("dtype"), dict) and "string" in str(kwargs["dtype"])):
            kwargs.pop("dtype")  # as older files have it
        super().__init__(name=name, **kwargs)
        output_mode = {"binary": "multi_hot", "tf-idf": "tf_idf"}.get(output_mode, output_mode)
        self.output_mode = check_output_mode(output_mode, MODES, "TextVectorization")
        for argument, value, known in (("standardize", standardize, _STANDARDS), ("split", split, _SPLITS)):
            if value is not None and value not in known and not callable(value):
                raise ValueError(f"TextVectorization({argument}={value!r}): expected one of {', '.join(known)}, a function or None.")
        if sparse or ragged:
            given = "sparse=True" if sparse else "ragged=True"
            raise ValueError(f"TextVectorization({given}) is not supported: layers take dense tensors. Use False; sequences are padded.")
        if output_sequence_length is not None and (output_mode != "int" or not isinstance(output_sequence_length, int)):
            raise ValueError(
                f"TextVectorization(output_sequence_length={output_sequence_length!r}): expected a whole number, with output_mode='int'."
            )
        self.standardize, self.split = standardize, split
        self.ngrams = ngrams if ngrams is None or isinstance(ngrams, int) else tuple(ngrams)
        if not (self.ngrams is None or all(isinstance(n, int) and n > 0 for n in self._sizes)):
            raise ValueError(f"TextVectorization(ngrams={ngrams!r}): expected a whole number, a tuple of them, or None.")
        self.output_sequence_length, self.encoding = output_sequence_length, encoding
        self._lookup_layer = StringLookup(
            max_tokens, vocabulary=vocabulary, idf_weights=idf_weights, pad_to_max_tokens=pad_to_max_tokens, mask_token="",
            output_mode=output_mode, encoding=encoding, dtype=self.dtype_policy, vocabulary_size=vocabulary_size,
            has_input_vocabulary=has_input_vocabulary,
        )  # fmt: skip

    @property
    def _sizes(self) -> tuple[int, ...]:
        return tuple(range(1, self.ngrams + 1)) if isinstance(self.ngrams, int) else tuple(self.ngrams or ())

    # -- the vocabulary -------------------------------------------------------------------------------------------------------------

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Make the vocabulary of the words of `data`: the most frequent first, of equally frequent ones the one that sorts last.

        Args:
            data: an array or a list of strings, or an iterable of batches, each of them (x, y, ...) or x; a DataLoader or a PyDataset will
                do.
            batch_size: changes nothing.
            steps: of the batches, look at so many.
        """
        self.reset_state()
        for batch in vocabularies.token_batches(data, steps, self._described()):
            self.update_state(batch)
        self.finalize_state()

    def update_state(self, data: Any) -> None:
        """Count the words of more strings."""
        words, _ = self._words(strings_of(data.numpy() if hasattr(data, "numpy") and not isinstance(data, Tensor) else data, self.encoding))
        lookup = self._lookup_layer
        for row in words:
            lookup.update_state(row)

    def finalize_state(self) -> None:
        """Set the vocabulary to the words counted."""
        self._lookup_layer.finalize_state()

    def reset_state(self) -> None:
        """Forget the words counted so far."""
        self._lookup_layer.reset_state()

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Use these words; see `StringLookup.set_vocabulary`."""
        self._lookup_layer.set_vocabulary(vocabulary, idf_weights)

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The words, each at the place that stands for it."""
        return self._lookup_layer.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """How many places there are."""
        return self._lookup_layer.vocabulary_size()

    # -- words ----------------------------------------------------------------------------------------------------------------------

    def _words(self, texts: Any) -> tuple[list[list[str]], tuple[int, ...]]:
        """(the words, or n-grams, of each string; the shape without the words)."""
        if callable(self.standardize):
            texts = np.asarray(self.standardize(texts))
        if self.split is None:
            if texts.ndim == 0:
                texts = texts.reshape(1)
            rows = texts.reshape(-1, texts.shape[-1]).tolist()
            return [self._in_ngrams([self._standard(word) for word in row]) for row in rows], texts.shape[:-1]
        if texts.ndim > 1:
            if texts.ndim > 2 or texts.shape[-1] != 1:
                raise ValueError(
                    f"{self._described()}: got strings of shape {texts.shape}, expected (batch,) or (batch, 1).\n"
                    "  try  split=None for what is split into words already, or one layer for each column"
                )
            texts = texts[:, 0]
        if callable(self.split):
            standard = np.array([self._standard(text) for text in texts.reshape(-1).tolist()], dtype=str).reshape(texts.shape)
            rows = [list(map(str, row)) for row in self.split(standard)]
        elif self.split == "character":
            rows = [list(self._standard(text)) for text in texts.reshape(-1).tolist()]
        else:
            rows = [_WORD.findall(self._standard(text)) for text in texts.reshape(-1).tolist()]
        return [self._in_ngrams(row) for row in rows], texts.shape

    def _standard(self, text: str) -> str:
        if self.standardize in ("lower", "lower_and_strip_punctuation"):
            text = text.translate(_LOWER)
        if self.standardize in ("strip_punctuation", "lower_and_strip_punctuation"):
            text = text.translate(_NO_PUNCTUATION)
        return text

    def _in_ngrams(self, words: list[str]) -> list[str]:
        if self.ngrams is None:
            return words
        return [" ".join(words[start : start + size]) for size in self._sizes for start in range(len(words) - size + 1)]

    def call(self, inputs: Tensor) -> Tensor:
        words, shape = self._words(strings_of(inputs, self.encoding))
        lookup = self._lookup_layer
        places = [lookup.indices_of(row) for row in words]
        if self.output_mode == "int":
            length = self.output_sequence_length
            if length is None:
                length = max((len(row) for row in places), default=0)
            padded = np.zeros((len(places), length), np.int64)
            for number, row in enumerate(places):
                padded[number, : len(row)] = row[:length]
            return torch.from_numpy(padded.reshape(*shape, length)).to(inputs.device)
        length = max((len(row) for row in places), default=0)
        filled = np.full((len(places), length), -1, np.int64)
        for number, row in enumerate(places):
            filled[number, : len(row)] = row
        return lookup.encoded(filled.reshape(*shape, length) if shape else filled.reshape(-1)).to(inputs.device)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = tuple(input_shape)
        if self.output_mode == "int":
            inner = shape[:-1] if (len(shape) > 1 if self.split is not None else len(shape) > 0) else shape
            length = self.output_sequence_length
            if self.split is None and length is None and self.ngrams is None:
                length = shape[-1] if shape else 1
            return (*inner, length)
        rows = () if not shape else shape[:-1] if self.split is None and len(shape) > 1 else shape[:1]
        depth = self._lookup_layer.compute_output_shape((None,))[-1]
        return (*rows, None, depth) if self.output_mode == "one_hot" else (*rows, depth)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        inputs = args[0] if args else kwargs["inputs"]
        dtype = "int64" if self.output_mode == "int" else self._lookup_layer.dtype
        return SymbolicTensor(self.compute_output_shape(inputs.shape), dtype)

    # -- files ----------------------------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        lookup = self._lookup_layer.get_config()
        return {
            **super().get_config(),
            "max_tokens": lookup["max_tokens"],
            "standardize": self.standardize,
            "split": self.split,
            "ngrams": self.ngrams,
            "output_mode": self.output_mode,
            "output_sequence_length": self.output_sequence_length,
            "pad_to_max_tokens": lookup["pad_to_max_tokens"],
            "sparse": False,
            "ragged": False,
            "vocabulary": lookup["vocabulary"],
            "idf_weights": lookup["idf_weights"],
            "encoding": self.encoding,
            "vocabulary_size": lookup["vocabulary_size"],
        }

    def save_own_variables(self, store: dict[str, Any]) -> None:
        self._lookup_layer.save_own_variables(store)

    def load_own_variables(self, store: dict[str, Any]) -> None:
        self._lookup_layer.load_own_variables(store)

    def save_assets(self, folder: str) -> None:
        """Write the vocabulary, unless the config holds it."""
        self._lookup_layer.save_assets(folder)

    def load_assets(self, folder: str) -> None:
        """The inverse of `save_assets`."""
        self._lookup_layer.load_assets(folder)
