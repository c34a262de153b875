"""Which layers and weights training may change, as values: what a callback freezes or thaws reaches every worker."""

from __future__ import annotations

from torch import nn

Frozen = dict[str, list[str]]
"""`{"layers": paths of those whose `trainable` is False, "weights": names of parameters that take no gradient}`, in JSON types."""


class Trainability:
    """The flags of a model's layers and parameters; the model itself stays as it is built."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = [(name, module) for name, module in model.named_modules() if hasattr(module, "_trainable")]
        self._weights = [(name, p) for name, p in nn.Module.named_parameters(model) if p.is_floating_point()]
        self._seen = self._flags()

    def frozen(self) -> Frozen:
        """What must not be changed, as it is now."""
        return {
            "layers": [name for name, layer in self._layers if not layer._trainable],
            "weights": [name for name, weight in self._weights if not weight.requires_grad],
        }

    def changed(self) -> Frozen | None:
        """The same, if a flag has changed since the last call or `freeze`; else None."""
        flags = self._flags()
        if flags == self._seen:
            return None
        self._seen = flags
        return self.frozen()

    def freeze(self, frozen: Frozen) -> None:
        """Set every flag: False for what is named, True for the rest."""
        layers, weights = set(frozen["layers"]), set(frozen["weights"])
        for name, layer in self._layers:
            layer._trainable = name not in layers  # not by the property, which sets all that lies inside
        for name, weight in self._weights:
            weight.requires_grad_(name not in weights)
        self._seen = self._flags()

    def _flags(self) -> list[bool]:
        return [*(layer._trainable for _, layer in self._layers), *(weight.requires_grad for _, weight in self._weights)]
