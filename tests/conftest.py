"""Options of the whole test suite."""

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes, to draw or to try, depends on what else the machine does.
settings.register_profile("nvgre", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("nvgre")


def pytest_addoption(parser: pytest.Parser) -> None:
    own = parser.getgroup("nvgre")
    own.addoption("--frames", type=int, default=20_000, help="how many frames `-m agreement` draws by lot")
    own.addoption("--seed", type=int, default=7637, help="of the frames and states that `-m agreement` draws by lot")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what guests ran, for the tests that ran tests in one."""
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        for name, value in getattr(report, "user_properties", ()):
            if name == "in a guest" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid}: in a guest: {value}")
