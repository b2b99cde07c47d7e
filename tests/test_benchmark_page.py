"""Ensures that the page of benchmark results has each target, and hides none that was missed."""

import datetime
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import results_page
from benchmarks.results_page import page
from tools.lock_files import ROOT

MACHINE = {"cores": 2, "load": 0.25, "python": "3.11.7"}
FAST = {"what": "reads of one", "p95_ms": "12 | 13 <b>", "target": "p95 < 50 ms", "reached": True}
SLOW = {"what": "starts", "slowest": {"rich": "9.1 ms", "re": 2}, "target": "< 1 s", "reached": False}


def test_page_has_target_and_result_of_each_benchmark() -> None:
    text = page(MACHINE, [FAST, SLOW], datetime.date(2026, 1, 2))
    assert "on 2026-01-02, on 2 cores with a load of 0.2\nbefore" in text
    fast, slow = text.split("## Reads of one")[1].split("## Starts")
    assert "Target: p95 < 50 ms. **Reached.**" in fast
    assert "| p95 ms | 12 \\| 13 &lt;b> |" in fast
    assert "Target: < 1 s. **Not reached.**" in slow
    assert "| slowest | rich: 9.1 ms, re: 2 |" in slow
    assert "busy" not in text


def test_page_says_that_the_machine_was_busy() -> None:
    text = page(MACHINE | {"load": 3.5}, [FAST], datetime.date(2026, 1, 2))
    assert "**The machine was busy with other work**" in text


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two benchmarks, of which one fails, and where the page of their results would be."""

    async def fast(folder: Path) -> dict[str, Any]:
        return dict(FAST)

    async def broken(folder: Path) -> dict[str, Any]:
        raise RuntimeError("the stack has ended")

    file = tmp_path / "page.md"
    monkeypatch.setattr(benchmarks, "ALL", {"fast": fast, "broken": broken})
    monkeypatch.setattr(benchmarks, "PAGE", file)
    return file


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    return benchmarks.main()


def test_run_of_all_writes_the_page_also_when_one_has_failed(
    measured: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    assert run(monkeypatch, "--json", str(report)) == 1
    text = measured.read_text()
    assert "p95 < 50 ms. **Reached.**" in text
    assert "Target: a result. **Not reached.**" in text
    assert "| failed | RuntimeError: the stack has ended |" in text
    assert [one["reached"] for one in json.loads(report.read_text())["results"]] == [True, False]


def test_run_of_some_writes_no_page_unless_asked(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "fast") == 0
    assert not measured.exists()
    assert run(monkeypatch, "fast", "--page") == 0
    assert "## Reads of one" in measured.read_text()


@pytest.mark.parametrize("file", [results_page.PAGE, results_page.HOST_PAGE], ids=lambda file: file.stem)
def test_page_in_the_documentation_has_a_target_for_each_number(file: Path) -> None:
    text = (ROOT / file).read_text()
    parts = text.split("\n## ")[1:]
    assert parts
    assert all("\nTarget: " in part for part in parts)
