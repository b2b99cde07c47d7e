"""A plugin of pytest that writes the page of guarantees: `-p tests.chaos.report --guarantees PATH`.

It has a table for each promise, with a row for each step (or case) and a column for each way in which it was
attacked. Only what ran in this very run is in it.
"""

import os
import platform
import time
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from contracts.environment.models import StepName

COMMAND = "make chaos"
#: What a step is called in the parameters of tests: it makes the rows of a table.
ROW = "step"
_CELL = "cell of the page of guarantees"
_ORDER = tuple(StepName)
_ABOUT = """# Chaos test results

Every cell is an environment that was made or unmade on the embedded stack while something was done to it,
and then looked for in the databases of the outside systems themselves. *held* means: it ended as asked,
there was one of everything or nothing, and nothing was left.
[What is guaranteed](../explanation/guarantees.md) lists the promises; how each attack is made
is in `tests/chaos` and `tests/lifecycle`.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option."""
    parser.addoption("--guarantees", type=Path, help="write the page of guarantees to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Begins to collect, if a page is wanted."""
    if path := config.getoption("--guarantees"):
        config.pluginmanager.register(_Page(path), "page of guarantees")


class _Page:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = time.monotonic()
        # Promise, then what was done; then row and column.
        self._cells: dict[str, dict[str, dict[tuple[str, str], str]]] = defaultdict(lambda: defaultdict(dict))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        marker = item.get_closest_marker("guarantee")
        if marker and isinstance(item, pytest.Function) and (report.when == "call" or not report.passed):
            parameters = dict(item.callspec.params) if hasattr(item, "callspec") else {}
            row = str(parameters.pop(ROW, ""))
            column = ", ".join(map(str, parameters.values()))
            what = item.originalname.removeprefix("test_").replace("_", " ")
            # With the report, which is what goes from a process that tests to the one that writes the page.
            report.user_properties.append((_CELL, [marker.args[0], what, row, column]))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes note of what came of a test."""
        properties: dict[str, Any] = dict(report.user_properties)
        if _CELL not in properties:
            return
        promise, what, row, column = properties.pop(_CELL)
        verdict = "held" if report.passed else "skipped" if report.skipped else "**BROKEN**"
        numbers = "; ".join(f"{name} {value}" for name, value in properties.items())
        cell = f"{verdict} ({report.duration:.0f} s{'; ' + numbers if numbers else ''})"
        self._cells[promise][what][row, column] = cell

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Writes the page, if the run came to its end."""
        if hasattr(session.config, "workerinput"):
            return  # one of several that test; another one writes
        if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return
        cells = [
            cell for promise in self._cells.values() for table in promise.values() for cell in table.values()
        ]
        broken = sum("BROKEN" in cell for cell in cells)
        minutes = (time.monotonic() - self._began) / 60
        lines = [
            _ABOUT,
            f"Made by `{COMMAND}` in {minutes:.0f} minutes on {os.cpu_count()} cores, Python "
            f"{platform.python_version()}: {len(cells)} attacks, {broken} broken.",
        ]
        for promise in sorted(self._cells):
            lines += ["", f"## {promise}"]
            for what, table in self._cells[promise].items():
                lines += ["", *_table(what, table)]
        self._path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(what: str, cells: dict[tuple[str, str], str]) -> list[str]:
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    if rows == [""]:  # no steps: one line a case
        return [
            f"| {what} | |",
            "| --- | --- |",
            *(f"| {column or 'once'} | {cells['', column]} |" for column in columns),
        ]
    head = [
        f"| {what} | {' | '.join(column or 'result' for column in columns)} |",
        "| --- |" + " --- |" * len(columns),
    ]
    # Several processes test, so what comes first depends on chance: the steps' own order does not.
    rows.sort(key=lambda row: _ORDER.index(row) if row in _ORDER else len(_ORDER))
    return head + [
        f"| {row} | {' | '.join(cells.get((row, column), '') for column in columns)} |" for row in rows
    ]
