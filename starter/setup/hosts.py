"""The parts of one host cluster: the cluster, its admission policies, and the charts for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clients.errors import Denied, Rejected
from clients.host.models import LABEL_POD_SECURITY
from clients.host.protocol import Host
from contracts.templates.supported_charts import chart_warning
from contracts.templates.template import PodSecurity, RetainedVolumes, Template
from contracts.types.naming import LABEL_INSTALLATION, Prefix
from starter.placement.host_check import DRY_RUN_SUFFIX, check_templates
from starter.setup.areas import Area
from starter.setup.check import Found, Kind, SetupCheck, well

SYSTEM = "host cluster"
#: Timeout of the check of charts: the first call downloads them one by one, from repositories that may be
#: slow.
CHARTS_TIMEOUT = timedelta(seconds=90)
_RBAC = "sed 's/INSTALLATION/{}/; s/PREFIX/{}/' deploy/rbac.yaml | kubectl apply -f -"


@dataclass(frozen=True)
class HostCluster:
    """Checks of one host cluster. It has no repairs, because only its administrator can correct it."""

    name: str
    host: Host
    installation: str
    prefix: Prefix
    templates: Callable[[], Sequence[Template]]

    def parts(self, files: SetupCheck) -> tuple[SetupCheck, ...]:
        """Return the parts of the host cluster, in order."""
        area = Area.HOSTS
        denied = ("refuses us", f"correct the kubeconfig in the settings, or {self._apply}")
        cluster = SetupCheck(area, SYSTEM, "cluster", self.name, self._cluster, denied=denied)
        admission = SetupCheck(
            area,
            SYSTEM,
            "admission",
            self.name,
            self._admission,
            needs=(cluster, files),
        )
        charts = SetupCheck(
            area,
            SYSTEM,
            "charts",
            self.name,
            self._charts,
            needs=(cluster, files),
            denied=("the chart repository refuses us", "see to it that charts can be had without a login"),
            timeout=CHARTS_TIMEOUT,
        )
        return cluster, admission, charts

    @property
    def _apply(self) -> str:
        command = _RBAC.format(self.installation, self.prefix)
        return f"apply deploy/rbac.yaml for this installation, as an administrator: {command}"

    async def _cluster(self) -> Found:
        if lacking := await self.host.missing_permissions():
            detail = "our account lacks rights of deploy/rbac.yaml; it may not"
            return Found(Kind.REFUSED, f"{detail} {', '.join(lacking)}", self._apply)
        return well(await self.host.check())

    async def _admission(self) -> Found:
        ours = {LABEL_INSTALLATION: self.installation}
        # Either level is suitable here, because the policy does not distinguish them.
        secured = {LABEL_POD_SECURITY: PodSecurity.BASELINE.value}
        if refusal := await self._refusal({**ours, **secured}):
            return Found(Kind.REFUSED, f"will not let us make a namespace: {refusal}", self._apply)
        if not await self._refusal(secured):
            kept = "and others: the policy of deploy/rbac.yaml does not hold us"
        elif not await self._refusal(ours):
            detail = "lets in a namespace without pod security: its policy is of an older deploy/rbac.yaml"
            return Found(Kind.REFUSED, detail, self._apply)
        else:
            kept = "and no others"
        if open_to_tenants := await self._open_to_tenants():
            return Found(Kind.REFUSED, open_to_tenants, self._apply)
        if refused := await self.host.find_refused_policies():
            detail = f"refuses what every environment is made with: {'; '.join(refused)}"
            return Found(Kind.REFUSED, detail, f"let its policies accept them, and {self._apply}")
        wanting = [one.name for one in self.templates() if one.retained_volumes is RetainedVolumes.DELETE]
        if wanting:
            try:
                await self.host.require_volume_permission()
            except Denied as error:
                detail = f"template {', '.join(wanting)}: retained volumes are to be deleted: {error.detail}"
                remedy = "bind the role moorage-volumes, as deploy/rbac.yaml says, or keep such volumes"
                return Found(Kind.REFUSED, detail, remedy)
        return well(f"namespaces of this installation can be made, {kept}; tenants are kept from the host")

    async def _open_to_tenants(self) -> str:
        """Return what its policies wrongly allow tenants, as a sentence; "" if nothing."""
        try:
            let_in = await self.host.find_policy_gaps()
        except Denied as error:
            return (
                f"does not let us try what tenants may do: its policies are of an older file: {error.detail}"
            )
        return f"its policies do not keep tenants from {'; '.join(let_in)}" if let_in else ""

    async def _refusal(self, labels: Mapping[str, str]) -> str:
        """Return why the host rejects a namespace with these labels; "" if it accepts it."""
        try:
            await self.host.dry_run_namespace(f"{self.prefix}-{DRY_RUN_SUFFIX}", labels)
        except (Denied, Rejected) as error:
            return error.detail or "it does not say why"
        return ""

    async def _charts(self) -> Found:
        templates = self.templates()
        misfit = await check_templates(templates, self.host, self.installation, self.prefix)
        problems = [f"template {name}: {why}" for name, why in misfit.items()]
        known = [f"{one.chart.name} {one.chart.version}" for one in templates]
        today = datetime.now(UTC).date()
        caveats = [
            f"warning: template {one.name}: chart {caveat}"
            for one in templates
            if (caveat := chart_warning(one.chart.version, today))
        ]
        if problems:
            return Found(Kind.REFUSED, "; ".join(problems), "correct the template, or set chart_repository")
        found = f"{', '.join(dict.fromkeys(known))}: there, and takes the values of the templates"
        return well("; ".join([found, *caveats]))
