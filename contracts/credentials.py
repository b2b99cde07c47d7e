"""The credentials of people for environments: client certificates that a vCluster issues."""

from datetime import timedelta

#: The group in every certificate. It has no rights: those of a person are a binding to the person's own name.
PEOPLE_GROUP = "moorage:people"
#: The shortest certificate that Kubernetes issues, and the longest that a person may have: it cannot be
#: withdrawn, only its rights can.
MIN_CREDENTIAL, MAX_CREDENTIAL = timedelta(minutes=10), timedelta(hours=1)
