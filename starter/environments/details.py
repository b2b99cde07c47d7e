"""One environment for a caller who shows it: its state, a newer template, and what its host says of it."""

from starter.auth.policy import Principal, Verb
from starter.catalogue.loader import Catalogue
from starter.config_files.reloading import Reloaded
from starter.environments.access import EnvironmentAccess, EnvironmentNotFound
from starter.environments.health import EnvironmentHealth
from starter.environments.life_archive import LifeRecords, view_of_record
from starter.environments.reader import EnvironmentSnapshot
from starter.environments.schemas import EnvironmentView


class EnvironmentDetails:
    """Reads single environments for callers."""

    def __init__(
        self,
        access: EnvironmentAccess,
        records: LifeRecords,
        catalogue: Reloaded[Catalogue],
        health: EnvironmentHealth,
    ) -> None:
        self._access = access
        self._records = records
        self._catalogue = catalogue
        self._health = health

    async def read(self, name: str, principal: Principal) -> EnvironmentView:
        """Return the latest life of the name.

        Raises:
            EnvironmentNotFound: The principal may not see it, whether it exists or not.
        """
        try:
            snapshot = await self._access.find(name, principal, Verb.SHOW)
        except EnvironmentNotFound:
            # Temporal may have dropped the run; then its record has it, as in lists and histories.
            for record in await self._records.of_name(name, principal, Verb.SHOW):
                return view_of_record(record)
            raise
        return _with_newer_template(await self._health.add_to(snapshot), self._catalogue.current())


def _with_newer_template(snapshot: EnvironmentSnapshot, catalogue: Catalogue) -> EnvironmentView:
    """Return the view, with a note if its template has changed in the catalogue since."""
    view, used = snapshot.view, snapshot.status.environment.template if snapshot.status else None
    current = catalogue.get(view.template)
    if snapshot.ended or used is None or current is None or current == used:
        return view
    if current.version > used.version:
        return view.model_copy(update={"template_newer": current.version})
    if current.version == used.version:
        remark = (
            f"The template {used.name} has changed since, and is version {current.version} still: "
            "the platform team should raise it."
        )
        return view.model_copy(update={"remark": f"{view.remark} {remark}".strip()})
    return view
