"""The single registry of search attributes. They are in clear by nature: never a secret in one."""

import json
from collections.abc import Sequence
from datetime import datetime

from temporalio.common import SearchAttributeKey

OWNER = SearchAttributeKey.for_keyword("EnvOwner")
#: Who else uses it, by e-mail address.
COLLABORATORS = SearchAttributeKey.for_keyword_list("EnvCollaborators")
TEAM = SearchAttributeKey.for_keyword("EnvTeam")
PHASE = SearchAttributeKey.for_keyword("EnvPhase")
TEMPLATE = SearchAttributeKey.for_keyword("EnvTemplate")
HOST = SearchAttributeKey.for_keyword("EnvHost")
EXPIRES_AT: SearchAttributeKey[datetime] = SearchAttributeKey.for_datetime("EnvExpiresAt")
#: When the expiry sweep has to look at it next: its next warning, or its end and grace.
DUE_AT: SearchAttributeKey[datetime] = SearchAttributeKey.for_datetime("EnvDueAt")

ALL = (OWNER, COLLABORATORS, TEAM, PHASE, TEMPLATE, HOST, EXPIRES_AT, DUE_AT)

#: Longest value that a Temporal server takes, in bytes (`limit.searchAttributesSizeOfValueLimit`, 2 KB). One
#: keyword may have 255 characters at most: visibility on PostgreSQL and MySQL has no room for more.
LARGEST_VALUE = 2048


def size_of(values: Sequence[str]) -> int:
    """How large a list of keywords is for Temporal: what its converter makes of it."""
    return len(json.dumps(list(values), separators=(",", ":")).encode())
