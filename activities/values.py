"""What a vCluster is installed from: the template's chart, and what `contracts.chart_values` composes."""

from clients.host import Chart
from contracts.chart_values import DNS_LIMITS as DNS_LIMITS
from contracts.chart_values import compose as compose
from contracts.chart_values import overlay as overlay
from contracts.chart_values import value_at as value_at
from contracts.environment import Environment


def chart_of(environment: Environment) -> Chart:
    """The chart to install: the template's."""
    chart = environment.template.chart
    return Chart(repository=chart.repository or None, name=chart.name, version=chart.version)
