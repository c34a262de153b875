"""Recurrent layers."""

from __future__ import annotations

from disttrain.layers.layer import Layer
from disttrain.layers.recurrent.gru import GRU, GRUCell
from disttrain.layers.recurrent.lstm import LSTM, LSTMCell
from disttrain.layers.recurrent.simple_rnn import SimpleRNN, SimpleRNNCell

# What files may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    "GRU": GRU,
    "LSTM": LSTM,
    "SimpleRNN": SimpleRNN,
}

__all__ = ["GRU", "LSTM", "GRUCell", "LSTMCell", "SimpleRNN", "SimpleRNNCell"]
