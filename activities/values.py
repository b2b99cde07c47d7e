"""What a vCluster is installed from: the template's chart, and what `contracts.values` composes."""

from clients.host import Chart
from contracts.environment import Environment
from contracts.values import DNS_LIMITS as DNS_LIMITS
from contracts.values import compose as compose
from contracts.values import overlay as overlay
from contracts.values import value_at as value_at


def chart_of(environment: Environment) -> Chart:
    """The chart to install: the template's."""
    chart = environment.template.chart
    return Chart(repository=chart.repository or None, name=chart.name, version=chart.version)
