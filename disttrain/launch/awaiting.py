"""What a session waits for, in words; nothing while its steps go on, of which a progress bar tells."""

from __future__ import annotations

from disttrain import orchestrator as o
from disttrain.controller.loop import Controller
from disttrain.launch.session import Session
from disttrain.orchestrator import call_states as c


def awaited_in(session: Session, script: str) -> str | None:
    """What the session's call waits for, or that the script is at work."""
    return f"{script} is running" if session.controller is None else of_session(session)


def of_session(session: Session) -> str | None:
    """The same, of one whose script has words of its own between the calls, such as a notebook's."""
    controller = session.controller
    return None if controller is None else of_call(controller)


def of_call(controller: Controller) -> str | None:
    """What a call waits for; None while it steps."""
    call, state = controller.call, controller.state
    if isinstance(call, c.Opening):
        return f"packing model and data of {controller.job.kind}() for the workers"
    match state:
        case o.Starting() | o.Waiting():
            return _workers(controller, state)
        case o.Gathering() if not state.planned:
            return "the workers that live leave the step that broke"
    if isinstance(call, c.Halting):
        return "keeping a checkpoint of this step"
    if isinstance(call, c.Finishing):
        return "keeping the result of the last step"
    if not controller.reporting.progressed and isinstance(state, o.Running):
        return f"the first step of {controller.job.kind}()"
    return None


def _workers(controller: Controller, state: o.Starting | o.Waiting) -> str:
    ready = len(state.roster.ready) + (len(state.holders) if isinstance(state, o.Waiting) else 0)
    needed = controller.policy.workers if isinstance(state, o.Starting) else controller.policy.min_workers
    room = getattr(controller.cluster, "room", None)
    unplaced = room() if room is not None else None
    words = f"waiting for workers: {ready} of {needed} ready"
    return f"{words}; {unplaced}" if unplaced else words
