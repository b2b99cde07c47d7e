"""Which charts are shown to work: every version outside is said to be, with the reason."""

import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from contracts.templates import supported_charts
from contracts.templates.supported_charts import NEWEST_TESTED, OLDEST_TESTED, chart_warning

#: The range as it is, before the fixture below changes it.
SHIPPED_RANGE = f"{OLDEST_TESTED} to {NEWEST_TESTED}"
SHIPPED_SUPPORT = dict(supported_charts.SUPPORTED_UNTIL)
IN_TIME = date(2026, 10, 22)


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge by a range that no later release of Moorage changes."""
    monkeypatch.setattr(supported_charts, "OLDEST_TESTED", "0.36.0")
    monkeypatch.setattr(supported_charts, "NEWEST_TESTED", "0.37.1")
    monkeypatch.setattr(supported_charts, "SUPPORTED_UNTIL", {"0.36": IN_TIME, "0.35": IN_TIME})


@pytest.mark.parametrize("version", ["0.36.0", "0.36.1", "0.36.99", "0.37.0", "0.37.1", "v0.37.1"])
def test_chart_within_the_range_has_no_caveat_while_supported(version: str) -> None:
    assert chart_warning(version, IN_TIME) == ""


@pytest.mark.parametrize(
    ("version", "caveat"),
    [
        ("0.35.9", "0.35.9 is older than what is shown to work: 0.36.0 to 0.37.1"),
        ("0.9.0", "0.9.0 is older than what is shown to work: 0.36.0 to 0.37.1"),
        ("0.37.2", "0.37.2 is newer than what is shown to work: 0.36.0 to 0.37.1"),
        ("0.100.0", "0.100.0 is newer than what is shown to work: 0.36.0 to 0.37.1"),
        ("1.0.0", "1.0.0 is newer than what is shown to work: 0.36.0 to 0.37.1"),
        *(
            (
                each,
                f"{each} is not one release: write a version from 0.36.0 to 0.37.1, which are shown to work",
            )
            for each in ("0.37.0-rc.1", "~0.36", ">=0.36.0", "0.36", "latest", "0.36.x")
        ),
    ],
)
def test_chart_outside_the_range_has_a_caveat(version: str, caveat: str) -> None:
    assert chart_warning(version, IN_TIME) == caveat


def test_chart_has_a_caveat_from_the_day_after_its_support() -> None:
    late = chart_warning("0.36.1", IN_TIME + timedelta(days=1))
    assert late == "0.36.1 is past its support, which ended on 2026-10-22"
    assert chart_warning("0.37.1", IN_TIME + timedelta(days=1)) == ""


def test_shown_charts_are_those_of_the_end_to_end_cluster() -> None:
    """The newest chart said to work is the one that the cluster of `make e2e` is built with."""
    layout = Path(__file__).parents[1] / "cluster" / "singlenode" / "layout.py"
    assert re.search(rf'^VCLUSTER_VERSION = "{re.escape(NEWEST_TESTED)}"$', layout.read_text(), re.MULTILINE)
    assert [int(part) for part in OLDEST_TESTED.split(".")] <= [
        int(part) for part in NEWEST_TESTED.split(".")
    ]


def test_documented_range_is_that_of_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "templates.md").read_text()
    assert f"vCluster charts are {SHIPPED_RANGE}." in page
    for minor, until in SHIPPED_SUPPORT.items():
        assert f"ended its support of {minor} on {until:%Y-%m-%d}" in page
