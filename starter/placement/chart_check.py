"""Check that an environment's template fits its host, before anything is created: chart, values, versions."""

import asyncio
from collections.abc import Mapping
from typing import Any

from clients.errors import ClientError, Rejected
from clients.host.models import Chart
from clients.host.protocol import Host
from contracts.environment.chart_values import compose_values
from contracts.environment.models import Environment
from contracts.templates.template import Template
from starter.request_errors import FieldProblem, InvalidRequest

#: Pairs of host and template in the cache of passed checks; a catalogue has a handful of versions in use.
MAX_CACHED = 64
#: How long a request waits for a chart that the host has to fetch first; a developer waits for the response.
TIMEOUT_SECONDS = 5.0


#: A host, and the template to check on it.
_Check = tuple[str, Template]


class ChartCheck:
    """Checks templates on the hosts, and caches passed checks: a template that fits continues to fit."""

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self._hosts = hosts
        self._passed: list[_Check] = []
        self._running: list[tuple[_Check, asyncio.Task[None]]] = []

    async def values(self, environment: Environment) -> dict[str, Any]:
        """Return the chart values for the environment; raise InvalidRequest if the chart rejects them.

        A chart repository that cannot be reached, or is slow, is no reason to refuse: the worker checks again
        before it creates the namespace.
        """
        host, template, name = (
            self._hosts.get(environment.host),
            environment.template,
            environment.derived_name,
        )
        if host is None:
            return compose_values(environment)
        values = compose_values(environment, host.planned_overlay(name, name))
        key = (environment.host, template)
        if key in self._passed:
            return values
        check = self._start_or_join(key, host, values)
        await asyncio.wait({check}, timeout=TIMEOUT_SECONDS)
        error = check.exception() if check.done() else None
        if isinstance(error, Rejected):
            message = f'"{template.name}" cannot be made on {environment.host}: {error.detail}'
            raise InvalidRequest([FieldProblem(field="template", message=message)])
        if error and not isinstance(error, ClientError):
            raise error
        return values

    def _start_or_join(self, key: _Check, host: Host, values: dict[str, Any]) -> asyncio.Task[None]:
        """Return the running check, or start a new one; concurrent callers share it."""
        for other, task in self._running:
            if other == key:
                return task
        chart = key[1].chart
        wanted = Chart(chart.repository or None, chart.name, chart.version, chart.digest)

        def finish(task: asyncio.Task[None]) -> None:
            self._running.remove((key, task))
            if not task.cancelled() and task.exception() is None:
                self._passed = [*self._passed[-MAX_CACHED:], key]

        task = asyncio.ensure_future(host.check_release(wanted, values))
        self._running.append((key, task))
        task.add_done_callback(finish)
        return task
