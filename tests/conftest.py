"""Options of the whole test suite, and how many tests run side by side."""

import os
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes, to draw or to try, depends on what else the machine does.
settings.register_profile("nvgre", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("nvgre")


def pytest_addoption(parser: pytest.Parser) -> None:
    own = parser.getgroup("nvgre")
    own.addoption("--frames", type=int, default=20_000, help="how many frames `-m agreement` draws by lot")
    own.addoption("--seed", type=int, default=7637, help="of the frames and states that `-m agreement` draws by lot")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes `-n auto` means: one more than CPUs, since tests of networks wait half of their time.

    None but pytest's own (0) where they would not pay, for one file, or stand between a test and who looks at it.
    """
    is_looked_at = config.option.trace or config.option.capture == "no"
    if is_looked_at or is_one_file(config.args):
        return 0
    return len(os.sched_getaffinity(0)) + 1


def is_one_file(arguments: list[str]) -> bool:
    """Whether pytest's arguments name tests of but one file."""
    files = {argument.partition("::")[0] for argument in arguments}
    return len(files) == 1 and files.pop().endswith(".py")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what tries a mutant of the data plane: every test that has one compiled (`tests/netns/mutation.py`)."""
    for item in items:
        if isinstance(item, pytest.Function) and "compiled" in item.function.__code__.co_names:
            item.add_marker("mutants")


def mutation_score(reports: Iterable[pytest.TestReport]) -> tuple[int, int]:
    """How many mutants were noticed, by a test that passed, and how many there were, whatever came of their tests."""
    own = [report for report in reports if "mutants" in report.keywords]
    passed = {report.nodeid for report in own if report.when == "call" and report.passed}
    return len(passed - {report.nodeid for report in own if report.failed}), len({report.nodeid for report in own})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what guests ran, for the tests that ran tests in one, and how many mutants were noticed."""
    every = [found for reports in terminalreporter.stats.values() for found in reports]
    reports = [report for report in every if isinstance(report, pytest.TestReport)]
    noticed, mutants = mutation_score(reports)
    if mutants:
        terminalreporter.write_line(f"mutants: {noticed} of {mutants} noticed")
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == "in a guest" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid}: in a guest: {value}")
