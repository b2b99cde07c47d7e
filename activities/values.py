"""The inputs of a vCluster's installation: the template's chart, and the composed chart values.

`contracts.chart_values` composes the values.
"""

from clients.host.models import Chart
from contracts.chart_values import DNS_LIMITS as DNS_LIMITS
from contracts.chart_values import compose as compose
from contracts.chart_values import overlay as overlay
from contracts.chart_values import value_at as value_at
from contracts.environment import Environment


def chart_of(environment: Environment) -> Chart:
    """Return the chart to install, as the template names it."""
    chart = environment.template.chart
    return Chart(
        repository=chart.repository or None, name=chart.name, version=chart.version, digest=chart.digest
    )
