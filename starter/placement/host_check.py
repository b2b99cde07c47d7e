"""Check on the host clusters that templates fit: chart, values, versions, rights. It creates nothing."""

from collections.abc import Iterable, Mapping

from clients.errors import Rejected
from clients.host.models import Chart
from clients.host.protocol import Host
from contracts.environment.chart_values import compose_values
from contracts.environment.models import Environment, Spec
from contracts.templates.template import Template
from contracts.types.naming import OwnerMark, Prefix, life_id

#: The environment name for the dry run; nothing is ever created under it.
DRY_RUN_SUFFIX = "setup-dry-run"


def planned_values(template: Template, host: Host, installation: str, prefix: Prefix) -> Mapping[str, object]:
    """Return the chart values for an environment of the template on this host."""
    environment = Environment(
        mark=OwnerMark(installation=installation, name=DRY_RUN_SUFFIX, life=life_id(DRY_RUN_SUFFIX)),
        prefix=prefix,
        owner="",
        spec=Spec(template=template.name, team=""),
        template=template.with_samples,
        ttl=template.ttl.default,
        host=host.name,
        has_identity_provider=False,
    )
    name = environment.derived_name
    return compose_values(environment, host.planned_overlay(name, name))


async def check_templates(
    templates: Iterable[Template], host: Host, installation: str, prefix: Prefix
) -> dict[str, str]:
    """Return why templates do not fit the host, by template name.

    Raises:
        ClientError: The host does not answer, or fails.
    """
    found = {}
    for template in templates:
        chart = template.chart
        wanted = Chart(chart.repository or None, chart.name, chart.version, chart.digest)
        try:
            await host.check_release(wanted, planned_values(template, host, installation, prefix))
        except Rejected as error:
            found[template.name] = error.detail
    return found
