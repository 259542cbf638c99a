"""Options of the whole test suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    own = parser.getgroup("nvgre")
    own.addoption("--frames", type=int, default=20_000, help="how many frames `-m agreement` draws by lot")
    own.addoption("--seed", type=int, default=7637, help="of the frames and states that `-m agreement` draws by lot")
