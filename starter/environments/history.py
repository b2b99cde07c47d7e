"""The history of a name, life by life: from the run in Temporal, and from the records of earlier lives."""

from contracts.types.naming import is_name
from starter.auth.policy import Principal, Verb, is_allowed
from starter.auth.security_log import note_denied
from starter.environments.access import EnvironmentNotFound, relations_to
from starter.environments.life_archive import LifeRecords, life_of_record
from starter.environments.reader import EnvironmentReader
from starter.environments.schemas import HistoryView, LifeView


class EnvironmentHistory:
    """Reads histories for callers."""

    def __init__(self, reader: EnvironmentReader, records: LifeRecords) -> None:
        self._reader = reader
        self._records = records

    async def read(self, name: str, principal: Principal) -> HistoryView:
        """Return the lives of the name that the principal may see, the latest first.

        Raises:
            EnvironmentNotFound: The principal may see none.
        """
        snapshot = await self._reader.read(name) if is_name(name) else None
        lives: list[LifeView] = []
        if snapshot and is_allowed(Verb.HISTORY, relations_to(snapshot, principal)):
            lives.append(LifeView.of(snapshot.view))
        lives += [
            life_of_record(record)
            for record in await self._records.of_name(name, principal, Verb.HISTORY)
            if snapshot is None or snapshot.life != record.life
        ]
        if not lives:
            if snapshot:
                note_denied()
            raise EnvironmentNotFound(name)
        return HistoryView(name=name, lives=tuple(lives))
