"""Classification of an API server's refusals: missing right, denial, or temporary.

Kubernetes answers 403 to an account that lacks a right, to an object that a quota, a limit or a policy
denies, and to a request that it cannot decide yet. Webhooks choose their own status. So the message decides,
by whole phrases of the code that writes them (k8s.io/apiserver `admission`, kubernetes
`plugin/pkg/admission`).
"""

import re

_RIGHT = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)"'
    r' in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]*)")?'
)
#: Other refusals of an account: for a path instead of a resource, and for rights that it may not grant.
_ACCOUNT = re.compile(r'User "[^"]*" cannot |attempting to grant RBAC permissions not currently held')
#: A policy has denied the object; a webhook's own reason, which can be any text, follows.
_BY_POLICY = re.compile(
    r'admission webhook "[^"]*" denied the request|ValidatingAdmissionPolicy .* denied request'
)
_DENIED = re.compile(r" is forbidden: | is invalid: |exceeded quota:|failed quota:|violates PodSecurity ")
#: Messages that also contain "is forbidden" but are temporary: admission could not decide, and will decide
#: once its caches and quotas are ready.
_TRANSIENT = re.compile(
    r"error looking up service account|status unknown for quota|not yet ready to handle request"
    r"|caches? not synchronized|failed calling (?:admission )?webhook|failed to call webhook"
    r"|quota evaluation timed out|the object has been modified|Operation cannot be fulfilled"
    r"|etcdserver: |context deadline exceeded|request did not complete within|timed out"
    r"|connection refused|connection reset|i/o timeout|http2: |TLS handshake|unexpected EOF"
    r"|could not be completed at this time|currently unable to handle the request|Too many requests"
    r'|User "[^"]*" cannot '
)
_CONFLICT = re.compile(r"the object has been modified|Operation cannot be fulfilled on ")


def missing_right(message: str) -> str:
    """Name the missing right in the API server's words; "" if the refusal has another cause."""
    found = _RIGHT.search(message)
    if found is None:
        return ""
    resource = ".".join(part for part in (found["resource"], found["group"]) if part)
    where = f"in the namespace {found['namespace']}" if found["namespace"] else "in the whole cluster"
    return f"the account {found['user']} lacks the right to {found['verb']} {resource} {where}"


def is_account_refusal(message: str) -> bool:
    """Return whether the API server refuses the account, and not the object."""
    return _ACCOUNT.search(message) is not None


def is_policy_denial(message: str) -> bool:
    """Return whether a webhook or an admission policy has denied the object, with any status."""
    return _BY_POLICY.search(message) is not None


def is_transient(message: str) -> bool:
    """Return whether the same request may succeed later, because nothing has denied it."""
    return not is_policy_denial(message) and _TRANSIENT.search(message) is not None


def is_denial(message: str) -> bool:
    """Return whether the object is denied for good; unknown messages count as temporary."""
    return is_policy_denial(message) or (_DENIED.search(message) is not None and not is_transient(message))


def is_conflict(message: str) -> bool:
    """Return whether another writer has changed the object, so that a retry may succeed now."""
    return _CONFLICT.search(message) is not None
