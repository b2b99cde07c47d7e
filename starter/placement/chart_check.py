"""Check that an environment's template fits its host, before anything is created: chart, values, versions."""

import asyncio
from collections.abc import Mapping
from typing import Any

from clients.errors import ClientError, Rejected
from clients.host.models import Chart
from clients.host.protocol import Host
from contracts.chart_values import compose
from contracts.environment import Environment
from contracts.template import Template
from starter.environments.planning import FieldProblem, NotValid

#: Pairs of host and template in the cache of passed checks; a catalogue has a handful of versions in use.
KEPT = 64
#: How long a request waits for a chart that the host has to fetch first; a developer waits for the response.
PATIENCE_SECONDS = 5.0


#: A host, and a template that may fit it.
_Known = tuple[str, Template]


class ChartCheck:
    """Checks templates on the hosts, and caches passed checks: a template that fits continues to fit."""

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self._hosts = hosts
        self._well: list[_Known] = []
        self._under_way: list[tuple[_Known, asyncio.Task[None]]] = []

    async def values(self, environment: Environment) -> dict[str, Any]:
        """Return the chart values for the environment; raise NotValid if the chart rejects them.

        A chart repository that cannot be reached, or is slow, is no reason to refuse: the worker checks again
        before it creates the namespace.
        """
        host, template, name = (
            self._hosts.get(environment.host),
            environment.template,
            environment.derived_name,
        )
        if host is None:
            return compose(environment)
        values = compose(environment, host.planned_overlay(name, name))
        known = (environment.host, template)
        if known in self._well:
            return values
        checking = self._checking(known, host, values)
        await asyncio.wait({checking}, timeout=PATIENCE_SECONDS)
        error = checking.exception() if checking.done() else None
        if isinstance(error, Rejected):
            message = f'"{template.name}" cannot be made on {environment.host}: {error.detail}'
            raise NotValid([FieldProblem(field="template", message=message)])
        if error and not isinstance(error, ClientError):
            raise error
        return values

    def _checking(self, known: _Known, host: Host, values: dict[str, Any]) -> asyncio.Task[None]:
        """Return the running check, or start a new one; concurrent callers share it."""
        for other, task in self._under_way:
            if other == known:
                return task
        chart = known[1].chart
        wanted = Chart(chart.repository or None, chart.name, chart.version, chart.digest)
        check = host.check_release(wanted, values)

        def over(task: asyncio.Task[None]) -> None:
            self._under_way.remove((known, task))
            if not task.cancelled() and task.exception() is None:
                self._well = [*self._well[-KEPT:], known]

        task = asyncio.ensure_future(check)
        self._under_way.append((known, task))
        task.add_done_callback(over)
        return task
