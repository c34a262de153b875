"""Pictures in folders as a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from disttrain.data.folders import Files, Wish, batches_of_files
from disttrain.data.pixels import MODES
from disttrain.layers.geometry import check_data_format
from disttrain.layers.preprocessing.resizing import Resizing

_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_MISSING = ("area", "gaussian", "lanczos3", "lanczos5", "mitchellcubic")


class PictureFiles(Dataset[Any]):
    """Picture number i as float32 from 0 to 255, or (picture, label)."""

    def __init__(self, files: Files, mode: str, resizing: Resizing, channels_first: bool) -> None:
        self.files, self.mode, self.resizing, self.channels_first = files, mode, resizing, channels_first
        self.class_names, self.file_paths = files.class_names, files.paths

    def __len__(self) -> int:
        return len(self.files.paths)

    def __getitem__(self, number: int) -> Any:
        picture = self._picture(self.files.paths[number])
        return picture if self.files.labels is None else (picture, torch.as_tensor(self.files.labels[number]))

    def _picture(self, path: str) -> Tensor:
        from PIL import Image  # late: 50 ms, and most programs read no pictures

        with Image.open(path) as opened:
            image: Image.Image = opened
            if image.mode.startswith("I"):  # 16 bits, of which the upper ones are kept
                image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
            array = np.asarray(image.convert(self.mode), dtype=np.float32)
        pixels = torch.from_numpy(array if array.ndim == 3 else array[..., None])
        resized: Tensor = self.resizing.call(pixels)
        return resized.permute(2, 0, 1).contiguous() if self.channels_first else resized.contiguous()


def image_dataset_from_directory(
    directory: str,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Any = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: Any = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str | None = None,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """The pictures of a folder, whose class is the folder that each is in; float32 from 0 to 255.

    Args:
        directory: with a folder for each class; every worker reads the files, so it must be there on each host.
        labels: "inferred"; None for pictures alone; or an integer for each file in the order of their paths.
        label_mode: "int": int32 `(batch,)`; "binary": float32 `(batch, 1)`; "categorical": one-hot; None: no labels.
        class_names: the folders, in the order of their labels; else as they sort.
        color_mode: "rgb", "rgba" or "grayscale".
        batch_size: None for single samples.
        image_size: (height, width) that they are resized to.
        shuffle: mix the files; else they are in the order of their paths.
        seed: of the order; None takes one from the process seed.
        validation_split: the share of files to validate on.
        subset: "training", "validation" or "both" of that split; both give two datasets.
        interpolation: "bilinear", "nearest" or "bicubic".
        follow_links: into folders that links lead to.
        crop_to_aspect_ratio, pad_to_aspect_ratio: keep proportions: cut off what is too long, or add to what is too short.
        data_format: "channels_last" (also None) or "channels_first".
        format: changes nothing; what comes back is torch's.
        verbose: print what was found.

    Returns:
        Batches that `fit` takes, with `class_names` and `file_paths`: (pictures, labels); without `batch_size` a map-style dataset of
        samples.
    """
    owner = "image_dataset_from_directory"
    if color_mode not in MODES:
        raise ValueError(f"{owner}(color_mode={color_mode!r}): expected 'rgb', 'rgba' or 'grayscale'.")
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    if not isinstance(image_size, list | tuple) or len(image_size) != 2:
        raise ValueError(f"{owner}(image_size={image_size!r}): expected (height, width).")
    if str(interpolation).lower() in _MISSING:
        raise ValueError(f"{owner}(interpolation={interpolation!r}) is not supported: use 'bilinear', 'nearest' or 'bicubic'.")
    height, width = image_size
    crop, pad = bool(crop_to_aspect_ratio), bool(pad_to_aspect_ratio)
    resizing = Resizing(height, width, interpolation, crop, pad, data_format="channels_last")
    channels_first = check_data_format(data_format, owner) == "channels_first"
    wish = Wish(owner, directory, labels, label_mode, class_names, shuffle, seed, validation_split, subset, follow_links, verbose)
    return batches_of_files(wish, _ENDINGS, lambda files: PictureFiles(files, MODES[color_mode], resizing, channels_first), batch_size)
