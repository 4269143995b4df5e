"""What the tests counted, shown at the end of every run, also of one in several processes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Counted = Callable[[str], None]


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Counted:
    """Takes a line of counts."""
    return lambda text: record_property("counts", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each that was taken."""
    ended = [report for reports in terminalreporter.stats.values() for report in reports if getattr(report, "when", "") == "teardown"]
    lines = [str(value) for report in ended for name, value in report.user_properties if name == "counts"]
    if lines:
        terminalreporter.section("counts")
        for line in sorted(lines):
            terminalreporter.write_line(line)
