"""Whether an environment's template fits its host, asked before anything is made: chart, values, versions."""

from collections.abc import Mapping
from typing import Any

from clients.errors import ClientError, Rejected
from clients.host import Chart, Host
from contracts.environment import Environment
from contracts.template import Template
from contracts.values import compose
from starter.asking import FieldProblem, NotValid

#: Templates that are known to fit; a catalogue has a handful of versions in use.
KEPT = 64


class Fitting:
    """Asks the hosts, and remembers what was well: a template that fits goes on fitting."""

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self._hosts = hosts
        self._well: list[tuple[str, Template]] = []

    async def values(self, environment: Environment) -> dict[str, Any]:
        """The values to be installed with; `NotValid` says why the chart will not have them.

        A repository that cannot be asked now is no reason to refuse: the worker asks again before it makes
        the namespace.
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
        chart = template.chart
        try:
            await host.check_release(Chart(chart.repository or None, chart.name, chart.version), values)
        except Rejected as error:
            message = f'"{template.name}" cannot be made on {environment.host}: {error.detail}'
            raise NotValid([FieldProblem(field="template", message=message)]) from None
        except ClientError:
            return values
        self._well = [*self._well[-KEPT:], known]
        return values
