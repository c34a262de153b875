"""What a test wants people to know is told under the results, whichever process ran it: how many events, which seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_NAME = "told"


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Puts a line under the results. It travels with the test's own result."""
    return lambda line: request.node.user_properties.append((_NAME, line))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ended = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind) if report.when == "call"]
    for line in [line for report in ended for name, line in report.user_properties if name == _NAME]:
        terminalreporter.write_line(line)
