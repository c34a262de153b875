"""What Keras has that is not here, and what to use: asked by the modules for names that they have not."""

from __future__ import annotations

_IN_DATASET = "torchvision.transforms.v2.{} in the Dataset's __getitem__: an image's draws are then the same on any number of workers"
_QUANTIZED = "torch.ao.quantization, or torchao, on the plain module that model.module_state_dict() loads into"
_NO_SCOPES = "nothing: what a layer computes is known by calling it on Input"

INSTEAD: dict[str, dict[str, str]] = {
    "": {
        "Function": "Model(inputs, outputs), whose layers are the operations",
        "Operation": "a Layer of your own",
        "Quantizer": _QUANTIZED,
        "RematScope": "torch.utils.checkpoint.checkpoint in the layer's call: what it computes again draws the same",
        "StatelessScope": "model.stateless_call(...), or model.get_state_tree() and set_state_tree(...)",
        "SymbolicScope": _NO_SCOPES,
        "applications": """layers.TorchModule(torchvision.models.resnet18(...)), or a model of timm
       or model.save("model.keras") with Keras, then disttrain.load_model("model.keras")""",
        "datasets": "torchvision.datasets or keras.datasets: fit() takes arrays and DataLoaders",
        "device": "disttrain.set_device(...), for the whole run",
        "distillation": "a train_step of your own that calls the teacher: docs/coming-from-keras.md",
        "distribution": "disttrain launch SCRIPT --workers N; layers that lie on several devices are not here",
        "export": "model.export(path, format='torch' or 'onnx')",
        "legacy": "the names of Keras 3; files of Keras 2 load by load_model",
        "preprocessing": "disttrain.utils, such as image_dataset_from_directory, pad_sequences, timeseries_dataset_from_array",
        "quantizers": _QUANTIZED,
        "remat": "torch.utils.checkpoint.checkpoint in the layer's call: what it computes again draws the same",
        "version": "disttrain.__version__",
        "visualization": "disttrain view MODEL_OR_RUN",
        "wrappers": "a class of your own with fit and predict around the model, as scikit-learn asks of estimators",
    },
    "callbacks": {
        "OrbaxCheckpoint": "disttrain launch SCRIPT, which keeps sharded checkpoints of the whole run, or callbacks.ModelCheckpoint",
    },
    "config": {
        "disable_flash_attention": "torch chooses its kernels; torch.nn.attention.sdpa_kernel(...) restricts them in a layer of your own",
        "disable_interactive_logging": "pass verbose=0, or verbose=2 for a line an epoch",
        "enable_traceback_filtering": "tracebacks are whole here",
        "enable_unsafe_deserialization": "pass safe_mode=False where a file that you trust is loaded",
        "max_epochs": "pass epochs= to fit",
        "max_steps_per_epoch": "pass steps_per_epoch= to fit",
        "set_max_epochs": "pass epochs= to fit",
        "set_max_steps_per_epoch": "pass steps_per_epoch= to fit",
    },
    "layers": {
        "AugMix": _IN_DATASET.format("AugMix"),
        "AutoContrast": _IN_DATASET.format("functional.autocontrast"),
        "ContrastLimitedAdaptiveHistogramEqualization": "kornia.enhance.equalize_clahe in the Dataset's __getitem__",
        "CutMix": "torchvision.transforms.v2.CutMix in the collate_fn of a DataLoader: it mixes the samples of a batch, which slices cut",
        "Equalization": _IN_DATASET.format("functional.equalize"),
        "FlaxLayer": "layers.TorchModule(module) for modules of torch",
        "JaxLayer": "layers.TorchModule(module) for modules of torch",
        "MaxNumBoundingBoxes": "torchvision.tv_tensors.BoundingBoxes in the Dataset's __getitem__",
        "MelSpectrogram": "layers.TorchModule(torchaudio.transforms.MelSpectrogram(...)), or ops.stft",
        "MixUp": "torchvision.transforms.v2.MixUp in the collate_fn of a DataLoader: it mixes the samples of a batch, which slices cut",
        "Pipeline": "Sequential([...]), which is a layer too",
        "RandAugment": _IN_DATASET.format("RandAugment"),
        "RandomColorDegeneration": _IN_DATASET.format("ColorJitter(saturation=...)"),
        "RandomColorJitter": _IN_DATASET.format("ColorJitter"),
        "RandomElasticTransform": _IN_DATASET.format("ElasticTransform"),
        "RandomGaussianBlur": _IN_DATASET.format("GaussianBlur"),
        "RandomGrayscale": _IN_DATASET.format("RandomGrayscale"),
        "RandomHue": _IN_DATASET.format("ColorJitter(hue=...)"),
        "RandomInvert": _IN_DATASET.format("RandomInvert"),
        "RandomPerspective": _IN_DATASET.format("RandomPerspective"),
        "RandomPosterization": _IN_DATASET.format("RandomPosterize"),
        "RandomSaturation": _IN_DATASET.format("ColorJitter(saturation=...)"),
        "RandomSharpness": _IN_DATASET.format("RandomAdjustSharpness"),
        "RandomShear": _IN_DATASET.format("RandomAffine(shear=...)"),
        "STFTSpectrogram": "ops.stft in a layer of your own, or layers.TorchModule(torchaudio.transforms.Spectrogram(...))",
        "Solarization": _IN_DATASET.format("RandomSolarize"),
        "TFSMLayer": "the model in PyTorch or ONNX, such as by onnx2torch, then layers.TorchModule(module)",
        "deserialize": "disttrain.saving.deserialize_keras_object(config)",
        "serialize": "disttrain.saving.serialize_keras_object(layer)",
        "TorchModuleWrapper": "layers.TorchModule(module), or the module itself where a layer stands",
    },
    "losses": {"legacy": "disttrain.losses: the losses of Keras 3"},
    "metrics": {"legacy": "disttrain.metrics: the metrics of Keras 3"},
    "mixed_precision": {
        "AWQDTypePolicy": _QUANTIZED,
        "DTypePolicyMap": "dtype= of each layer",
        "GPTQDTypePolicy": _QUANTIZED,
        "Int4DTypePolicy": _QUANTIZED,
        "QuantizedDTypePolicy": _QUANTIZED,
        "QuantizedFloat8DTypePolicy": _QUANTIZED,
        "LossScaleOptimizer": "disttrain.optimizers.LossScaleOptimizer",
    },
    "optimizers": {
        "legacy": "disttrain.optimizers: the optimizers of Keras 3",
    },
    "saving": {
        "get_custom_objects": "register(cls), or custom_objects= where a file is loaded",
        "get_registered_name": "register(cls, package=...) says the name",
        "get_registered_object": "custom_objects= where a file is loaded",
        "KerasFileEditor": "zipfile and h5py: a .keras file is a zip with config.json and model.weights.h5",
    },
    "utils": {
        "Config": "a dataclass of your own",
        "FeatureSpace": "one layer for each feature, such as Normalization, StringLookup, Hashing, HashedCrossing, and Concatenate",
        "audio_dataset_from_directory": "a torch Dataset whose __getitem__ reads file i",
        "bounding_boxes": "torchvision.ops",
        "disable_interactive_logging": "pass verbose=0, or verbose=2 for a line an epoch",
        "get_custom_objects": "register(cls), or custom_objects= where a file is loaded",
        "get_file": "fetch the file before the run; every worker must see the same one",
        "get_registered_name": "register(cls, package=...) says the name",
        "get_registered_object": "custom_objects= where a file is loaded",
        "get_source_inputs": "model.inputs",
        "legacy": "Keras 2's files load by load_model",
        "model_to_dot": "plot_model",
    },
}


def instead_of(module: str, name: str) -> str | None:
    """What to use in place of `name` of `disttrain.<module>`; None where Keras has no such name, or we have it."""
    return INSTEAD.get(module.removeprefix("disttrain").removeprefix("."), {}).get(name)
