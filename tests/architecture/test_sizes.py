"""How long files of the runtime may be: past that, two things live in one."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "disttrain"
RUNTIME = ("clusters", "collectives", "controller", "elastic", "launch", "orchestrator", "rundir", "training")
MOST_LINES = 400


def too_long(package: Path, rooms: tuple[str, ...], most_lines: int) -> list[str]:
    """One line for each file of these rooms that is longer."""
    found = []
    for room in rooms:
        for file in sorted((package / room).rglob("*.py")):
            lines = len(file.read_text(encoding="utf-8").splitlines())
            if lines > most_lines:
                found.append(f"{file.relative_to(package.parent).as_posix()}: {lines} lines")
    return found


def test_no_file_of_the_runtime_is_longer_than_400_lines():
    assert all((PACKAGE / room).is_dir() for room in RUNTIME)
    assert too_long(PACKAGE, RUNTIME, MOST_LINES) == []


def test_a_file_that_is_too_long_is_named_with_its_length(tmp_path: Path):
    (tmp_path / "disttrain" / "launch" / "deep").mkdir(parents=True)
    (tmp_path / "disttrain" / "launch" / "deep" / "session.py").write_text("pass\n" * 4)
    (tmp_path / "disttrain" / "launch" / "door.py").write_text("pass\n" * 3)
    assert too_long(tmp_path / "disttrain", ("launch",), 3) == ["disttrain/launch/deep/session.py: 4 lines"]
