"""Decides what a run does after each event: pure functions over frozen values, standard library only."""

from disttrain.orchestrator.effects import Abort, Effect, Form, GiveUp, GiveUpKind, Kill, Pause, StartWorker
from disttrain.orchestrator.events import (
    CallFinished,
    CheckpointCommitted,
    Event,
    GroupStuck,
    Progress,
    Silent,
    StartFailed,
    Stopped,
    StopRequested,
    Stuck,
    Timer,
    UserError,
    WorkerLost,
    WorkerReady,
)
from disttrain.orchestrator.machine import IllegalTransition, decide, first_call, new_call, next_deadline
from disttrain.orchestrator.placement import place
from disttrain.orchestrator.policy import RecoveryPolicy
from disttrain.orchestrator.ports import Cluster
from disttrain.orchestrator.roster import BreakHistory, Commit, Roster, Start
from disttrain.orchestrator.states import Decision, Ended, Gathering, Holding, Live, Running, Starting, State, Waiting

__all__ = [
    "Abort",
    "BreakHistory",
    "CallFinished",
    "CheckpointCommitted",
    "Cluster",
    "Commit",
    "Decision",
    "Effect",
    "Ended",
    "Event",
    "Form",
    "Gathering",
    "GiveUp",
    "GiveUpKind",
    "GroupStuck",
    "Holding",
    "IllegalTransition",
    "Kill",
    "Live",
    "Pause",
    "Progress",
    "RecoveryPolicy",
    "Roster",
    "Running",
    "Silent",
    "Start",
    "StartFailed",
    "StartWorker",
    "Starting",
    "State",
    "StopRequested",
    "Stopped",
    "Stuck",
    "Timer",
    "UserError",
    "Waiting",
    "WorkerLost",
    "WorkerReady",
    "decide",
    "first_call",
    "new_call",
    "next_deadline",
    "place",
]
