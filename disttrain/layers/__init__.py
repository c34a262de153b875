"""Layers, with the names, arguments, weights and numbers of Keras 3."""

from __future__ import annotations

from disttrain.layers.activation import Activation, ReLU, Softmax
from disttrain.layers.batch_normalization import BatchNormalization
from disttrain.layers.conv2d import Conv2D
from disttrain.layers.dense import Dense
from disttrain.layers.dropout import Dropout
from disttrain.layers.embedding import Embedding
from disttrain.layers.gru import GRU, GRUCell
from disttrain.layers.input_layer import Input, InputLayer
from disttrain.layers.lambda_layer import Lambda
from disttrain.layers.layer import Layer
from disttrain.layers.layer_normalization import LayerNormalization
from disttrain.layers.lstm import LSTM, LSTMCell
from disttrain.layers.merging import Add, Concatenate, add, concatenate
from disttrain.layers.naming import clear_session
from disttrain.layers.pooling2d import AveragePooling2D, GlobalAveragePooling2D, MaxPooling2D
from disttrain.layers.rescaling import Rescaling
from disttrain.layers.reshaping import Flatten, Reshape
from disttrain.layers.simple_rnn import SimpleRNN, SimpleRNNCell
from disttrain.layers.torch_module import TorchModule, as_layer
from disttrain.layers.tracking import assign_layer_ids

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "Activation": Activation,
    "Add": Add,
    "AveragePooling2D": AveragePooling2D,
    "BatchNormalization": BatchNormalization,
    "Concatenate": Concatenate,
    "Conv2D": Conv2D,
    "Dense": Dense,
    "Dropout": Dropout,
    "Embedding": Embedding,
    "Flatten": Flatten,
    "GRU": GRU,
    "GlobalAveragePooling2D": GlobalAveragePooling2D,
    "InputLayer": InputLayer,
    "LSTM": LSTM,
    "LayerNormalization": LayerNormalization,
    "MaxPooling2D": MaxPooling2D,
    "ReLU": ReLU,
    "Rescaling": Rescaling,
    "Reshape": Reshape,
    "SimpleRNN": SimpleRNN,
    "Softmax": Softmax,
}

# Keras's other names.
AvgPool2D = AveragePooling2D
Convolution2D = Conv2D
GlobalAvgPool2D = GlobalAveragePooling2D
MaxPool2D = MaxPooling2D

__all__ = [
    "CLASSES",
    "GRU",
    "LSTM",
    "Activation",
    "Add",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Convolution2D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "Input",
    "InputLayer",
    "LSTMCell",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "MaxPool2D",
    "MaxPooling2D",
    "ReLU",
    "Rescaling",
    "Reshape",
    "SimpleRNN",
    "SimpleRNNCell",
    "Softmax",
    "TorchModule",
    "add",
    "as_layer",
    "assign_layer_ids",
    "clear_session",
    "concatenate",
]
