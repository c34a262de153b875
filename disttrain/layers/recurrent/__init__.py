"""Recurrent layers, cells, and wrappers for sequences."""

from __future__ import annotations

from disttrain.layers.layer import Layer
from disttrain.layers.recurrent.bidirectional import Bidirectional
from disttrain.layers.recurrent.conv_lstm import ConvLSTM1D, ConvLSTM2D, ConvLSTM3D
from disttrain.layers.recurrent.gru import GRU, GRUCell
from disttrain.layers.recurrent.lstm import LSTM, LSTMCell
from disttrain.layers.recurrent.rnn import RNN
from disttrain.layers.recurrent.simple_rnn import SimpleRNN, SimpleRNNCell
from disttrain.layers.recurrent.stacked_rnn_cells import StackedRNNCells
from disttrain.layers.recurrent.time_distributed import TimeDistributed

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "Bidirectional": Bidirectional,
    "ConvLSTM1D": ConvLSTM1D,
    "ConvLSTM2D": ConvLSTM2D,
    "ConvLSTM3D": ConvLSTM3D,
    "GRU": GRU,
    "GRUCell": GRUCell,
    "LSTM": LSTM,
    "LSTMCell": LSTMCell,
    "RNN": RNN,
    "SimpleRNN": SimpleRNN,
    "SimpleRNNCell": SimpleRNNCell,
    "StackedRNNCells": StackedRNNCells,
    "TimeDistributed": TimeDistributed,
}

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Bidirectional",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    "GRUCell",
    "LSTMCell",
    "SimpleRNN",
    "SimpleRNNCell",
    "StackedRNNCells",
    "TimeDistributed",
]
