"""The single registry of search attributes. They are in clear by nature: never a secret in one."""

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
