"""The check of a chart before its first install: values, and the permissions that it needs."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from clients.errors import Denied, Rejected
from clients.host.models import Chart
from clients.kubernetes.api.client import KubernetesApi
from clients.kubernetes.cluster.account import ENVIRONMENT_ROLE
from clients.kubernetes.release.chart_permissions import missing_chart_permissions
from clients.kubernetes.release.helm import Helm
from clients.safe_yaml import UnsupportedYaml

#: The namespace and release name with which a chart is rendered to find the permissions that it needs;
#: nothing is created.
RENDER_NAME = "moorage-check"
#: Maximum number of cached results, one for each chart with its values.
MAX_CACHED_CHECKS = 64


class ChartCheck:
    """Checks that a host can install a chart."""

    def __init__(self, api: KubernetesApi, helm: Helm) -> None:
        self._api = api
        self._helm = helm
        # Permissions that checked charts need and we lack, by everything that the result depends on.
        self._missing: dict[str, tuple[str, ...]] = {}
        # Charts with values that they accept.
        self._accepted: tuple[str, ...] = ()

    async def check(self, chart: Chart, values: Mapping[str, Any]) -> None:
        """Check that the chart is available, accepts the values, and needs no permission that we lack.

        Raises:
            Rejected: it is not, or does not; the message gives the reason.
        """
        await self._check_values(chart, values)
        held = await self._role_rules()
        if held is None:
            return
        # Ignore the names as well: they differ from one environment to the next and do not change the
        # needed permissions.
        relevant = {key: value for key, value in values.items() if key != "exportKubeConfig"}
        key = json.dumps([dataclasses.astuple(chart), held, _without_names(relevant)], sort_keys=True)
        if key not in self._missing:
            operation = f"compare what chart {chart.name} {chart.version} needs with what we may"
            rendered = await self._helm.render(RENDER_NAME, RENDER_NAME, chart, values)
            try:
                found = missing_chart_permissions(rendered, held, RENDER_NAME)
            except UnsupportedYaml as error:
                raise Rejected(self._api.system, operation, f"the rendered chart {error.problem}") from None
            except yaml.YAMLError:
                raise Rejected(self._api.system, operation, "the rendered chart is not YAML") from None
            self._missing = {**dict(list(self._missing.items())[-MAX_CACHED_CHECKS:]), key: tuple(found)}
        if self._missing[key]:
            detail = (
                f"its chart needs more than the role {ENVIRONMENT_ROLE} has on the host: "
                f"{'; '.join(self._missing[key])}. deploy/rbac.yaml says what can be allowed"
            )
            raise Rejected(self._api.system, f"check chart {chart.name}", detail)

    async def _check_values(self, chart: Chart, values: Mapping[str, Any]) -> None:
        """Check the values, unless they were accepted before: the schema of a chart takes long to read."""
        key = json.dumps([dataclasses.astuple(chart), values], sort_keys=True)
        if key not in self._accepted:
            await self._helm.check(chart, values)
            self._accepted = (*self._accepted[-MAX_CACHED_CHECKS:], key)

    async def _role_rules(self) -> Sequence[Mapping[str, Any]] | None:
        """Return the rules of our role in environments' namespaces; None if we may not read it."""
        path = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{ENVIRONMENT_ROLE}"
        try:
            role = await self._api.get(path, f"read the role {ENVIRONMENT_ROLE}")
        except Denied:
            return None
        return None if role is None else role.get("rules") or []


def _without_names(values: Mapping[str, Any]) -> Mapping[str, Any]:
    control_plane = {key: each for key, each in (values.get("controlPlane") or {}).items() if key != "proxy"}
    return {**values, "controlPlane": control_plane}
