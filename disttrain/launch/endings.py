"""What a person is told at the end of a run: what was made, and what can be done with it."""

from __future__ import annotations

from disttrain.launch.session import Session
from disttrain.launch.telling import quoted, shown
from disttrain.rundir.directory import RunDirectory

_BOARD = "tensorboard"  # where the TensorBoard callback of a launch writes


def tell_end(session: Session, script: str) -> None:
    """After a script that ended well. A directory that cannot be read any more costs these words, no more."""
    console, directory = session.console, session.directory
    if not session.calls:
        console.note(f"{script} has ended without a call of fit, evaluate or predict for this launch to carry out")
        return
    try:
        lines = end_lines(directory)
    except Exception as error:
        lines = [
            f"done; {shown(directory.run_dir)} cannot be looked at: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ]
    for line in lines:
        console.note(line)


def end_lines(directory: RunDirectory) -> list[str]:
    """The block, a line each; empty where the script trained nothing."""
    fits = [record for _, record in sorted(directory.finished_calls().items()) if record.get("commit")]
    if not fits:
        return []
    place = quoted(directory.run_dir)
    lines = [
        f"done     {shown(directory.run_dir)} holds the trained model, checkpoint {fits[-1]['commit']}",
        f"export   disttrain export {place} --format keras   (or onnx, safetensors, torch)",
        f"view     disttrain view {place}",
    ]
    if directory.store.list(_BOARD):
        lines.append(f"curves   disttrain tensorboard {place}")
    return [*lines, "again    the same command changes nothing; --restart trains anew"]
