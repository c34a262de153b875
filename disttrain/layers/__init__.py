"""Layers, with the names, arguments, weights and numbers of Keras 3.

Each family has a folder, which is loaded when one of its names is first used: a script waits for those alone that it names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from disttrain.identifiers import no_such_name
from disttrain.layers.layer import Layer
from disttrain.layers.naming import clear_session
from disttrain.layers.tracking import assign_layer_ids

if TYPE_CHECKING:
    from disttrain.layers.activation import *
    from disttrain.layers.attention import *
    from disttrain.layers.convolutional import *
    from disttrain.layers.core import *
    from disttrain.layers.merging import *
    from disttrain.layers.normalization import *
    from disttrain.layers.pooling import *
    from disttrain.layers.preprocessing import *
    from disttrain.layers.recurrent import *
    from disttrain.layers.regularization import *
    from disttrain.layers.reshaping import *

    CLASSES: dict[str, type[Layer]]  # what files may name, by class name

# The public names of each folder.
_NAMES = {
    "activation": """
        Activation ELU LeakyReLU PReLU ReLU Softmax
    """,
    "attention": """
        AdditiveAttention Attention GroupQueryAttention MultiHeadAttention
    """,
    "convolutional": """
        Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose Convolution1D Convolution1DTranspose
        Convolution2D Convolution2DTranspose Convolution3D Convolution3DTranspose DepthwiseConv1D DepthwiseConv2D
        SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D
    """,
    "core": """
        Dense EinsumDense Embedding Identity Input InputLayer InputSpec Lambda Masking ReversibleEmbedding TorchModule Wrapper
        as_layer
    """,
    "merging": """
        Add Average Concatenate Dot Maximum Minimum Multiply Subtract add average concatenate dot maximum minimum
        multiply subtract
    """,
    "normalization": """
        BatchNormalization GroupNormalization LayerNormalization RMSNormalization SpectralNormalization
        UnitNormalization
    """,
    "pooling": """
        AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D
        AdaptiveMaxPooling2D AdaptiveMaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D
        AvgPool3D GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D
        GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D
        GlobalMaxPooling3D MaxPool1D MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D
    """,
    "preprocessing": """
        CategoryEncoding CenterCrop Discretization HashedCrossing Hashing IntegerLookup Normalization RandomBrightness
        RandomContrast RandomCrop RandomErasing RandomFlip RandomRotation RandomTranslation RandomZoom Rescaling Resizing
        StringLookup TextVectorization
    """,
    "recurrent": """
        Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D GRU GRUCell LSTM LSTMCell RNN SimpleRNN SimpleRNNCell
        StackedRNNCells TimeDistributed
    """,
    "regularization": """
        ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise SpatialDropout1D SpatialDropout2D
        SpatialDropout3D
    """,
    "reshaping": """
        Cropping1D Cropping2D Cropping3D Flatten Permute RepeatVector Reshape UpSampling1D UpSampling2D UpSampling3D
        ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """,
}
_FOLDER_OF = {name: folder for folder, names in _NAMES.items() for name in names.split()}

__all__ = ["CLASSES", "Layer", "assign_layer_ids", "clear_session", *sorted(_FOLDER_OF)]


def __getattr__(name: str) -> Any:
    if name == "CLASSES":
        folders = [import_module(f"disttrain.layers.{folder}") for folder in _NAMES]
        value: Any = {known: cls for folder in folders for known, cls in folder.CLASSES.items()}
    elif name in _FOLDER_OF:
        value = getattr(import_module(f"disttrain.layers.{_FOLDER_OF[name]}"), name)
    elif name in _NAMES:
        return import_module(f"disttrain.layers.{name}")
    else:
        raise no_such_name("disttrain.layers", name, __all__)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
