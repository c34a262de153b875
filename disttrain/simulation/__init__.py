"""What a cluster that fails now and then would make of a run: `decide` on simulated time with models of workers. Values in, values out."""

from disttrain.simulation.account import Account
from disttrain.simulation.advice import Advice, Choice, advise, optimum_interval_s
from disttrain.simulation.model import ClusterModel
from disttrain.simulation.run import simulate

__all__ = ["Account", "Advice", "Choice", "ClusterModel", "advise", "optimum_interval_s", "simulate"]
