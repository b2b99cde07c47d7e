"""Why an API server refuses, told from its words: who may not, what is denied, and what only passes.

Kubernetes answers 403 to an account that lacks a right, to what a quota, a limit or a policy denies, and to
what it cannot decide yet. Webhooks choose their status themselves. So the words count, by whole phrases of
the code that writes them (k8s.io/apiserver `admission`, kubernetes `plugin/pkg/admission`).
"""

import re

_RIGHT = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)"'
    r' in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]*)")?'
)
#: Other ways in which an account is refused: no resource but a path, and rights that it may not hand on.
_ACCOUNT = re.compile(r'User "[^"]*" cannot |attempting to grant RBAC permissions not currently held')
#: A policy has looked at it and said no. A webhook's own reason follows, and may say anything.
_BY_POLICY = re.compile(
    r'admission webhook "[^"]*" denied the request|ValidatingAdmissionPolicy .* denied request'
)
_DENIED = re.compile(r" is forbidden: | is invalid: |exceeded quota:|failed quota:|violates PodSecurity ")
#: In "is forbidden" as well: admission could not decide, and will once its caches and quotas are there.
_PASSING = re.compile(
    r"error looking up service account|status unknown for quota|not yet ready to handle request"
    r"|caches? not synchronized|failed calling (?:admission )?webhook|failed to call webhook"
    r"|quota evaluation timed out|the object has been modified|Operation cannot be fulfilled"
    r"|etcdserver: |context deadline exceeded|request did not complete within|timed out"
    r"|connection refused|connection reset|i/o timeout|http2: |TLS handshake|unexpected EOF"
    r"|could not be completed at this time|currently unable to handle the request|Too many requests"
    r'|User "[^"]*" cannot '
)
_MODIFIED = re.compile(r"the object has been modified|Operation cannot be fulfilled on ")


def missing_right(message: str) -> str:
    """Say which right is missing, from the API server's own words; "" if it is not about rights."""
    found = _RIGHT.search(message)
    if found is None:
        return ""
    resource = ".".join(part for part in (found["resource"], found["group"]) if part)
    where = f"in the namespace {found['namespace']}" if found["namespace"] else "in the whole cluster"
    return f"the account {found['user']} lacks the right to {found['verb']} {resource} {where}"


def is_about_the_account(message: str) -> bool:
    """Whether the account is refused, and not what it asks for."""
    return _ACCOUNT.search(message) is not None


def is_policy(message: str) -> bool:
    """Whether a webhook or an admission policy has denied it, whatever the status."""
    return _BY_POLICY.search(message) is not None


def is_passing(message: str) -> bool:
    """Whether the same may be taken later: nothing has denied it."""
    return not is_policy(message) and _PASSING.search(message) is not None


def is_denial(message: str) -> bool:
    """Whether it is denied, and will be again; whatever is not known counts as passing."""
    return is_policy(message) or (_DENIED.search(message) is not None and not is_passing(message))


def is_modified(message: str) -> bool:
    """Whether somebody else has changed the object meanwhile: the same call may go through now."""
    return _MODIFIED.search(message) is not None
