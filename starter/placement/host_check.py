"""Whether templates fit host clusters, as these say: chart, values, versions, rights. It makes nothing."""

from collections.abc import Iterable, Mapping

from clients.errors import Rejected
from clients.host import Chart, Host
from contracts.chart_values import compose
from contracts.environment import Environment, Spec
from contracts.naming import OwnerMark, Prefix, life_of
from contracts.template import Template

#: The name of the environment that is thought of; nothing is ever made under it.
REHEARSED = "setup-rehearsal"


def planned_values(template: Template, host: Host, installation: str, prefix: Prefix) -> Mapping[str, object]:
    """The values with which an environment of the template would be installed there."""
    environment = Environment(
        mark=OwnerMark(installation=installation, name=REHEARSED, life=life_of(REHEARSED)),
        prefix=prefix,
        owner="",
        spec=Spec(template=template.name, team=""),
        template=template,
        ttl=template.ttl.default,
        host=host.name,
        has_identity_provider=False,
    )
    name = environment.derived_name
    return compose(environment, host.planned_overlay(name, name))


async def misfits(
    templates: Iterable[Template], host: Host, installation: str, prefix: Prefix
) -> dict[str, str]:
    """Why templates do not fit the host, by name. Raises what a host that fails raises."""
    found = {}
    for template in templates:
        chart = Chart(template.chart.repository or None, template.chart.name, template.chart.version)
        try:
            await host.check_release(chart, planned_values(template, host, installation, prefix))
        except Rejected as error:
            found[template.name] = error.detail
    return found
