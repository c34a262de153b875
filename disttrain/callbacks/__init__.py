"""Callbacks: what runs beside a training, once, in the process of the script."""

from typing import Any

from disttrain.callbacks.backup_and_restore import BackupAndRestore
from disttrain.callbacks.base import Callback
from disttrain.callbacks.callback_list import CallbackList
from disttrain.callbacks.csv_logger import CSVLogger
from disttrain.callbacks.early_stopping import EarlyStopping
from disttrain.callbacks.goodput import Goodput
from disttrain.callbacks.gradient_norms import GradientNorms
from disttrain.callbacks.history import History
from disttrain.callbacks.lambda_callback import LambdaCallback
from disttrain.callbacks.learning_rate_scheduler import LearningRateScheduler
from disttrain.callbacks.model_checkpoint import ModelCheckpoint
from disttrain.callbacks.monitor import MonitorCallback
from disttrain.callbacks.progbar_logger import ProgbarLogger
from disttrain.callbacks.reduce_lr_on_plateau import ReduceLROnPlateau
from disttrain.callbacks.remote_monitor import RemoteMonitor
from disttrain.callbacks.swap_ema_weights import SwapEMAWeights
from disttrain.callbacks.tensorboard import TensorBoard
from disttrain.callbacks.terminate_on_nan import TerminateOnNaN
from disttrain.identifiers import no_such_name

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "Goodput",
    "GradientNorms",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "MonitorCallback",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]


def __getattr__(name: str) -> Any:
    raise no_such_name("disttrain.callbacks", name, __all__)
