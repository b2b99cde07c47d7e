"""The figures as plots: times to ready, environments over time, failures by cause."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from starter.api.dependencies import CallerDep, StatisticsDep
from starter.auth.policy import GlobalVerb, ensure_allowed_globally
from starter.page.plots.charts import Plot, Series, TimeAxis, bar_list, line_plot, stacked_bars
from starter.page.plots.scales import Unit
from starter.page.rendering import page
from starter.statistics.daily_figures import OTHERS, CountedFailure, TimesOfDay
from starter.statistics.service import Figures

router = APIRouter()

#: The periods that the page offers, in days.
PERIODS = (2, 7, 30)
#: Templates with a separate line: those with the most lives. More lines look alike.
MAX_LINES = 4


@router.get("/platform/figures")
async def platform_figures(
    request: Request,
    statistics: StatisticsDep,
    caller: CallerDep,
    days: Annotated[int, Query(ge=1, le=31)] = 30,
) -> Response:
    """Show the plots of the last days, each with its table."""
    ensure_allowed_globally(caller, GlobalVerb.FIGURES)
    figures = await statistics.figures(days)
    return page(
        request,
        "platform/figures.html",
        days=days,
        periods=PERIODS,
        plots=[*ready_plots(figures, days), *count_plots(figures), failure_plot(figures.failures, days)],
        remark=figures.remark,
        lives=figures.lives,
        max_lines=MAX_LINES,
    )


def ready_plots(figures: Figures, days: int) -> list[Plot]:
    """Return the plots of the times to ready and to usable, by day and template."""
    moments = tuple(dict.fromkeys(_day(period.start) for period in figures.periods))[-days:]
    axis = TimeAxis(moments)
    counts: dict[str, int] = {}
    cells: dict[tuple[str, datetime], TimesOfDay] = {}
    for one in figures.times:
        counts[one.template] = counts.get(one.template, 0) + one.count
        cells[one.template, one.day] = one
    names = sorted(sorted(counts, key=lambda name: (-counts[name], name))[:MAX_LINES])

    def series(middle: str, upper: str) -> list[Series]:
        return [
            Series(
                name,
                tuple(getattr(cells.get((name, moment)), middle, None) for moment in moments),
                tuple(getattr(cells.get((name, moment)), upper, None) for moment in moments),
            )
            for name in names
        ]

    return [
        line_plot(
            "ready", "Time to ready, by template: median, and up to the 95th percentile", axis,
            series("ready_p50", "ready_p95"), Unit.SECONDS, "95th percentile",
        ),
        line_plot(
            "usable", "Time to usable, by template: median, and up to the 95th percentile", axis,
            series("usable_p50", "usable_p95"), Unit.SECONDS, "95th percentile",
        ),
    ]  # fmt: skip


def count_plots(figures: Figures) -> list[Plot]:
    """Return the plots of open, requested and ended environments."""
    periods = figures.periods
    axis = TimeAxis(tuple(period.start for period in periods), figures.hourly)
    unit = "hour" if figures.hourly else "day"
    return [
        line_plot(
            "open",
            "Environments over time",
            axis,
            [
                Series(f"Open at the end of the {unit}", tuple(period.open for period in periods)),
                Series("Requested", tuple(period.requested for period in periods)),
            ],
            Unit.COUNT,
        ),
        stacked_bars(
            "ended",
            f"Environments that ended, by {unit}",
            axis,
            [
                Series("Ended as wanted", tuple(period.ended - period.failed for period in periods)),
                Series("Failed", tuple(period.failed for period in periods)),
            ],
            Unit.COUNT,
        ),
    ]


def failure_plot(failures: Iterable[CountedFailure], days: int) -> Plot:
    """Return the plot of the causes of failures."""
    return bar_list(
        "failures",
        f"Failures of the last {days} days, by cause",
        [
            (
                OTHERS.capitalize()
                if one.is_others
                else f"{one.failure.step}, {one.failure.system}: {one.failure.type}",
                one.count,
            )
            for one in failures
        ],
        Unit.COUNT,
        ("Cause", "Number"),
    )


def _day(moment: datetime) -> datetime:
    return moment.replace(hour=0)
