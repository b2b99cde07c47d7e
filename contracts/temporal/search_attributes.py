"""The one registry of search attributes.

Temporal stores search attributes in clear text, so never put a secret in one.
"""

import json
from collections.abc import Sequence
from datetime import datetime

from temporalio.common import SearchAttributeKey

OWNER = SearchAttributeKey.for_keyword("EnvOwner")
#: The other users, by e-mail address.
COLLABORATORS = SearchAttributeKey.for_keyword_list("EnvCollaborators")
TEAM = SearchAttributeKey.for_keyword("EnvTeam")
PHASE = SearchAttributeKey.for_keyword("EnvPhase")
TEMPLATE = SearchAttributeKey.for_keyword("EnvTemplate")
HOST = SearchAttributeKey.for_keyword("EnvHost")
#: The labels: each as "key=value", and its key alone.
LABELS = SearchAttributeKey.for_keyword_list("EnvLabels")
EXPIRES_AT: SearchAttributeKey[datetime] = SearchAttributeKey.for_datetime("EnvExpiresAt")
#: When the expiry sweep must check it next: at its next warning, or at its end plus grace.
DUE_AT: SearchAttributeKey[datetime] = SearchAttributeKey.for_datetime("EnvDueAt")

ALL = (OWNER, COLLABORATORS, TEAM, PHASE, TEMPLATE, HOST, LABELS, EXPIRES_AT, DUE_AT)

#: The longest value that a Temporal server accepts, in bytes (`limit.searchAttributesSizeOfValueLimit`, 2
#: KB). One keyword may have at most 255 characters, because visibility on PostgreSQL and MySQL has no room
#: for more.
MAX_VALUE_BYTES = 2048


def ensure_collaborators_fit(collaborators: Sequence[str]) -> None:
    """Return if the addresses fit into the search attribute; raise ValueError with a sentence if not."""
    size = value_size(collaborators)
    if size > MAX_VALUE_BYTES:
        raise ValueError(
            f"their addresses are too long together: {size} bytes, at most {MAX_VALUE_BYTES}; "
            "name fewer people, or such with shorter addresses"
        )


def value_size(values: Sequence[str]) -> int:
    """Return the size of a list of keywords in bytes, as Temporal's converter encodes it."""
    return len(json.dumps(list(values), separators=(",", ":")).encode())


def quoted(value: str) -> str:
    """Quote `value` as a string of a visibility query, so that it cannot change the query."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
