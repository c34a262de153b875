"""What `torch_models.py` trains: four models of the hub, made from their settings with nothing downloaded; data; optimizers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

CLASSES, WORDS, LENGTH, SIDE = 10, 8192, 64, 64


@dataclass(frozen=True)
class ZooWorkload:
    """A model with its data.

    Args:
        package: where the model is from.
        batch_size: samples of a batch.
        steps: optimizer steps of one measured epoch: about a second or two of work.
        make: the module.
        optimizer: of its parameters.
        labelled: does it take labels among its inputs, and give the loss itself?
    """

    package: str
    batch_size: int
    steps: int
    make: Callable[[], nn.Module]
    optimizer: Callable[[Any], torch.optim.Optimizer]
    labelled: bool


def _bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification  # late: each model needs its own package alone

    config = BertConfig(
        vocab_size=WORDS, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512, num_labels=CLASSES
    )
    return BertForSequenceClassification(config)


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel  # late: each model needs its own package alone

    return GPT2LMHeadModel(GPT2Config(vocab_size=WORDS, n_positions=LENGTH, n_embd=128, n_layer=2, n_head=2, use_cache=False))


def _resnet() -> nn.Module:
    from torchvision.models import resnet18  # late: each model needs its own package alone

    module: nn.Module = resnet18(num_classes=CLASSES)
    return module


def _vit() -> nn.Module:
    import timm  # late: each model needs its own package alone

    module: nn.Module = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=SIDE, num_classes=CLASSES)
    return module


def _adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-4)


WORKLOADS = {
    "BERT-tiny": ZooWorkload("transformers", 16, 20, _bert, _adamw, labelled=True),
    "GPT-2-tiny": ZooWorkload("transformers", 8, 10, _gpt2, _adamw, labelled=True),
    "ResNet-18": ZooWorkload("torchvision", 16, 8, _resnet, lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), labelled=False),
    "ViT-tiny": ZooWorkload("timm", 16, 10, _vit, _adamw, labelled=False),
}


def samples(name: str) -> tuple[Any, Tensor | None]:
    """(inputs, labels or None where they are among the inputs) of one epoch; the same in every process."""
    workload = WORKLOADS[name]
    count, generator = workload.steps * workload.batch_size, torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    if not workload.labelled:
        return torch.randn(count, 3, SIDE, SIDE, generator=generator), labels
    words = torch.randint(0, WORDS, (count, LENGTH), generator=generator)
    if name.startswith("GPT"):
        return {"input_ids": words, "labels": words}, None
    return {"input_ids": words, "attention_mask": torch.ones_like(words), "labels": labels}, None
