"""Tokens as their places in a vocabulary: what StringLookup and IntegerLookup have in common."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from disttrain.layers.dtypes import DTYPES
from disttrain.layers.preprocessing import vocabulary as vocabularies
from disttrain.layers.preprocessing.categorical import check_output_mode, encoded_shape
from disttrain.layers.preprocessing.fingerprint import fingerprint64, siphash64
from disttrain.layers.preprocessing.text_layer import TextLayer, hot, tokens_of
from disttrain.layers.symbolic import Shape, SymbolicTensor
from disttrain.layers.weight_budget import reads_a_file

MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")
_OLD_MODES = {"binary": "multi_hot", "tf-idf": "tf_idf"}


class IndexLookup(TextLayer):
    """Base of the layers that look tokens up in a vocabulary; see `StringLookup`.

    Places are, in this order: 0 for `mask_token` if there is one and `output_mode` is "int"; `num_oov_indices` for tokens that the
    vocabulary has not; those that it has.
    """

    _token_type: type = str

    def __init__(
        self,
        max_tokens: int | None,
        num_oov_indices: int,
        mask_token: Any,
        oov_token: Any,
        vocabulary: Any,
        idf_weights: Any,
        invert: bool,
        output_mode: str,
        sparse: bool,
        pad_to_max_tokens: bool,
        oov_method: str,
        salt: Any,
        vocabulary_size: int | None = None,
        has_input_vocabulary: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        owner = type(self).__name__
        output_mode = _OLD_MODES.get(output_mode, output_mode)
        self.output_mode = check_output_mode(output_mode, MODES, owner)
        if max_tokens is not None and max_tokens <= 1:
            raise ValueError(f"{owner}(max_tokens={max_tokens}): expected 2 or more, or None for no bound.")
        if pad_to_max_tokens and max_tokens is None:
            raise ValueError(f"{owner}(pad_to_max_tokens=True): needs max_tokens.")
        if num_oov_indices < 0:
            raise ValueError(f"{owner}(num_oov_indices={num_oov_indices}): expected 0 or more.")
        if oov_method not in ("floormod", "farmhash"):
            raise ValueError(f"{owner}(oov_method={oov_method!r}): expected 'floormod' or 'farmhash'.")
        if sparse:
            raise ValueError(f"{owner}(sparse=True) is not supported: layers take no sparse tensors. Use sparse=False.")
        if invert and output_mode != "int":
            raise ValueError(f"{owner}(invert=True, output_mode={output_mode!r}): tokens are found from 'int' alone.")
        if idf_weights is not None and output_mode != "tf_idf":
            raise ValueError(f"{owner}(idf_weights=..., output_mode={output_mode!r}): the weights belong to 'tf_idf'.")
        if vocabulary is not None and output_mode == "tf_idf" and idf_weights is None:
            raise ValueError(f"{owner}(vocabulary=..., output_mode='tf_idf'): needs idf_weights too.")
        if salt is not None and self._token_type is int and oov_method != "farmhash":
            raise ValueError(f"{owner}(salt={salt!r}): goes with oov_method='farmhash'.")
        self.max_tokens, self.num_oov_indices = max_tokens, int(num_oov_indices)
        self.mask_token, self.oov_token, self.invert = mask_token, oov_token, bool(invert)
        self.pad_to_max_tokens, self.oov_method, self.sparse = bool(pad_to_max_tokens), oov_method, False
        self.salt = vocabularies.two_keys(salt, owner)
        self.idf_weights: NDArray[np.float32] | None = None
        self._tokens: list[Any] = []
        self._places: dict[Any, int] = {}
        self._size: int | None = vocabulary_size
        self._fixed = vocabulary is not None if has_input_vocabulary is None else bool(has_input_vocabulary)
        self._in_config = vocabulary is not None and not isinstance(vocabulary, str | Path)
        self._given_idf: Any = None
        self._of_file: list[Any] | None = None  # a vocabulary that waits for its weights
        self.reset_state()
        if vocabulary is not None:
            if isinstance(vocabulary, str | Path) and reads_a_file():
                raise ValueError(f"{owner}(vocabulary={str(vocabulary)!r}): a file of a model must not lead to another file.")
            self._size = None
            self.set_vocabulary(vocabulary, idf_weights)

    # -- the vocabulary -------------------------------------------------------------------------------------------------------------

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Make the vocabulary of the tokens of `data`: the most frequent first, of equally frequent ones the one that sorts last.

        Args:
            data: an array, lists or a tensor of tokens, in rows that are documents for "tf_idf"; or an iterable of batches, each of them
                (x, y, ...) or x; a DataLoader or a PyDataset will do.
            steps: of the batches, look at so many.

        Raises:
            ValueError: the layer was made with a vocabulary; no data.
        """
        self.reset_state()
        for batch in vocabularies.token_batches(data, steps, self._described()):
            self.update_state(batch)
        self.finalize_state()

    def reset_state(self) -> None:
        """Forget the tokens counted so far."""
        self._counts: Counter[Any] = Counter()
        self._document_counts: Counter[Any] = Counter()
        self._documents = 0

    def update_state(self, data: Any) -> None:
        """Count more tokens; each row is a document, and an array of one axis is one.

        Raises:
            ValueError: the layer was made with a vocabulary.
        """
        if self._fixed:
            raise ValueError(
                f"{self._described()}.adapt: the layer was made with vocabulary=.\n  try  set_vocabulary(...), or leave vocabulary out"
            )
        for row in vocabularies.rows_of(data, self._token_type, self._described()):
            self._counts.update(row)
            if self.output_mode == "tf_idf":
                self._document_counts.update(set(row))
                self._documents += 1

    def finalize_state(self) -> None:
        """Set the vocabulary to the tokens counted; without any, leave it: it may come from a file."""
        if self._fixed or not self._counts:
            return
        for special in (self.mask_token, self.oov_token):
            self._counts.pop(special, None)
        room = None if not self.max_tokens else max(0, self.max_tokens - self._first_token)
        tokens = vocabularies.by_frequency(self._counts)[:room]
        if self.output_mode == "tf_idf":
            found = np.array([self._document_counts[token] for token in tokens], np.float64)
            weights = np.log(1 + self._documents / (1 + found)).astype(np.float32)
            self.idf_weights = self._padded(np.pad(weights, (self._first_token, 0), constant_values=weights.mean() if len(weights) else 0))
        self._set_tokens(tokens)
        self.reset_state()

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Use these tokens, in this order.

        Args:
            vocabulary: a list, an array, or the path of a file with one token a line; with or without the special tokens at its start.
            idf_weights: for "tf_idf" a number for each of them; what has none gets their mean.

        Raises:
            ValueError: none, repeated or too many tokens; a special one that is not at the start.
        """
        if (idf_weights is not None) != (self.output_mode == "tf_idf"):
            expected = "expected idf_weights too" if idf_weights is None else "idf_weights belong to 'tf_idf'"
            raise ValueError(f"{self._described()}.set_vocabulary: output_mode is {self.output_mode!r}: {expected}.")
        given = vocabularies.as_tokens(vocabulary, self._token_type, self._described())
        if not given:
            raise ValueError(f"{self._described()}.set_vocabulary: got no token.")
        special = [self.mask_token] * self._first_oov + [self.oov_token] * self.num_oov_indices
        led = given[: self._first_token] == special
        tokens = given[self._first_token :] if led else given
        repeated = [token for token, count in Counter(tokens).items() if count > 1]
        if repeated:
            raise ValueError(f"{self._described()}.set_vocabulary: got {vocabularies.listed(repeated)} more than once.")
        for name, token in (("mask_token", self.mask_token), *((("oov_token", self.oov_token),) if self.invert else ())):
            if token is not None and token in tokens:
                raise ValueError(
                    f"{self._described()}.set_vocabulary: {name} {token!r} is at place {given.index(token)}.\n"
                    f"  expected  no special token, or all of them at the start: {special}"
                )
        if self.max_tokens is not None and self._first_token + len(tokens) > self.max_tokens:
            size = self._first_token + len(tokens)
            raise ValueError(f"{self._described()}.set_vocabulary: {size} places are more than max_tokens={self.max_tokens}.")
        weights = None
        if idf_weights is not None:
            weights = np.asarray(idf_weights, np.float32)
            if weights.shape != (len(given),):
                raise ValueError(
                    f"{self._described()}.set_vocabulary: idf_weights have shape {weights.shape}, expected one number for each of "
                    f"{len(given)} tokens."
                )
            weights = self._padded(weights if led else np.pad(weights, (self._first_token, 0), constant_values=weights.mean()))
        self._set_tokens(tokens)
        if weights is not None:
            self.idf_weights, self._given_idf = weights, np.asarray(idf_weights, np.float32).tolist()
        self._given = given

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The tokens, each at the place that stands for it; with those of masks and of what is not in the vocabulary, or without."""
        special = [self.mask_token] * self._first_oov + [self.oov_token] * self.num_oov_indices
        return [*(special if include_special_tokens else ()), *self._tokens]

    def vocabulary_size(self) -> int:
        """How many places there are, the special ones included."""
        return self._first_token + len(self._tokens)

    def _set_tokens(self, tokens: list[Any]) -> None:
        size = self._first_token + len(tokens)
        if self.output_mode != "int" and not self.pad_to_max_tokens and self._size not in (None, size):
            raise RuntimeError(
                f"{self._described()}: the vocabulary had {self._size} places and would have {size}, so its outputs another shape.\n"
                "  try  a new layer, or max_tokens= with pad_to_max_tokens=True"
            )
        self._tokens, self._size = tokens, size
        self._places = {token: self._first_token + number for number, token in enumerate(tokens)}

    def _padded(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        missing = self.max_tokens - len(weights) if self.pad_to_max_tokens and self.max_tokens is not None else 0
        return np.pad(weights, (0, max(0, missing)))

    @property
    def _first_oov(self) -> int:
        return 1 if self.mask_token is not None and self.output_mode == "int" else 0

    @property
    def _first_token(self) -> int:
        return self._first_oov + self.num_oov_indices

    # -- looking up -----------------------------------------------------------------------------------------------------------------

    def call(self, inputs: Tensor) -> Any:
        tokens, shape = tokens_of(inputs, getattr(self, "encoding", "utf-8"))
        if self.invert:
            return self._inverted(tokens, shape, inputs)
        indices = self.indices_of(tokens).reshape(shape)
        return self.encoded(indices).to(inputs.device)

    def indices_of(self, tokens: list[Any]) -> NDArray[np.int64]:
        """The place of each token; outside of "int" -1 for `mask_token`.

        Raises:
            ValueError: no vocabulary yet; a token that is not there, where `num_oov_indices` is 0.
        """
        if not self._tokens:
            raise ValueError(f"{self._described()}: has no vocabulary yet.\n  try  layer.adapt(data), or vocabulary=[...]")
        if tokens and not isinstance(tokens[0], self._token_type):
            tokens = [vocabularies.as_token(token, self._token_type, self._described()) for token in tokens]
        places, masked = self._places, self.mask_token is not None
        if self.num_oov_indices == 1:
            found = [places.get(token, self._first_oov) for token in tokens]
        else:
            found = [places[token] if token in places else self._unknown(token) for token in tokens]
        if masked:
            nothing = 0 if self.output_mode == "int" else -1
            found = [nothing if token == self.mask_token else place for token, place in zip(tokens, found, strict=True)]
        if self.num_oov_indices == 0 and any(place == -2 for place in found):
            unknown = [token for token, place in zip(tokens, found, strict=True) if place == -2]
            raise ValueError(
                f"{self._described()}: got {vocabularies.listed(unknown)}, which the vocabulary has not, and num_oov_indices is 0.\n"
                "  try  num_oov_indices=1"
            )
        return np.array(found, np.int64)

    def _unknown(self, token: Any) -> int:
        """The place of a token that is not in the vocabulary; -2 for none."""
        if self.num_oov_indices == 0:
            return -2
        if self._token_type is int and self.oov_method != "farmhash":
            return self._first_oov + int(token) % self.num_oov_indices
        data = str(token).encode()
        number = fingerprint64(data) if self.salt is None else siphash64(data, self.salt)
        return self._first_oov + number % self.num_oov_indices

    def encoded(self, indices: NDArray[np.int64]) -> Tensor:
        """Places as `output_mode` says."""
        if self.output_mode == "int":
            return torch.from_numpy(indices)
        mode = "count" if self.output_mode == "tf_idf" else self.output_mode
        if self.output_mode == "tf_idf" and self.idf_weights is None:
            raise ValueError(f"{self._described()}: has no idf_weights yet.\n  try  layer.adapt(data)")
        return hot(indices, mode, self._depth or 0, DTYPES[self.dtype], self.idf_weights)  # exact counts, whatever computes beyond

    def _inverted(self, places: list[Any], shape: tuple[int, ...], inputs: Tensor) -> Any:
        tokens: dict[int, Any] = {place: token for token, place in self._places.items()}
        if self.mask_token is not None:
            tokens[0] = self.mask_token
        return self._as_output([tokens.get(int(place), self.oov_token) for place in places], shape, inputs)

    def _as_output(self, tokens: list[Any], shape: tuple[int, ...], inputs: Tensor) -> Any:
        return torch.tensor(tokens, dtype=torch.int64).reshape(shape).to(inputs.device)

    @property
    def _depth(self) -> int | None:
        return self.max_tokens if self.pad_to_max_tokens else self._size

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.output_mode == "int":
            return tuple(input_shape)
        if self._depth is None:
            raise RuntimeError(
                f"{self._described()}: has no vocabulary yet, so the size of its outputs is not known.\n"
                "  try  layer.adapt(data) first, or vocabulary=[...]"
            )
        return encoded_shape(tuple(input_shape), self.output_mode, self._depth)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        inputs = args[0] if args else kwargs["inputs"]
        dtype = "int64" if self.output_mode == "int" else self.dtype
        return SymbolicTensor(self.compute_output_shape(inputs.shape), dtype)

    # -- files ----------------------------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "invert": self.invert,
            "max_tokens": self.max_tokens,
            "num_oov_indices": self.num_oov_indices,
            "oov_token": self.oov_token,
            "mask_token": self.mask_token,
            "output_mode": self.output_mode,
            "sparse": False,
            "pad_to_max_tokens": self.pad_to_max_tokens,
            "idf_weights": self._given_idf if self._in_config else None,
            "vocabulary": list(self._given) if self._in_config else None,
            "vocabulary_size": self._size,
            "oov_method": self.oov_method,
            "salt": self.salt,
        }

    def save_own_variables(self, store: dict[str, Any]) -> None:
        if self.output_mode == "tf_idf" and self.idf_weights is not None:
            store["idf_weights"] = self.idf_weights

    def load_own_variables(self, store: dict[str, Any]) -> None:
        if self.output_mode == "tf_idf" and "idf_weights" in store:
            self.idf_weights = np.array(store["idf_weights"], np.float32)
            self._take_from_file()

    def save_assets(self, folder: str) -> None:
        """Write the vocabulary, unless the config holds it."""
        if not self._in_config:
            vocabularies.write(Path(folder) / "vocabulary.txt", self.get_vocabulary(), self._described())

    def load_assets(self, folder: str) -> None:
        """The inverse of `save_assets`."""
        path = Path(folder) / "vocabulary.txt"
        if self._in_config or not path.exists():
            return
        given = vocabularies.read(path, self._token_type, self._size, self._described())
        if len(given) <= self._first_token and not given[self._first_token :]:
            return  # of a layer that was never adapted
        self._of_file = given
        self._take_from_file()

    def _take_from_file(self) -> None:
        """Use the vocabulary of a file; with "tf_idf" once both it and its weights are there, in whatever order they come."""
        given = self._of_file
        if given is None or (self.output_mode == "tf_idf" and self.idf_weights is None):
            return
        self.set_vocabulary(given, self.idf_weights[: len(given)] if self.idf_weights is not None else None)
        self._of_file = None
