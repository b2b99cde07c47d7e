"""A real Kubernetes cluster as a host, called through the official client's asyncio variant.

`host.KubernetesHost` is the client, `credentials` loads its credentials, and `exposure` holds what differs
from host to host.
"""
