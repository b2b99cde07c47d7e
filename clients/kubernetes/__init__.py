"""A host cluster that is a real Kubernetes, through the official client's asyncio flavour.

`host.KubernetesHost` is the client; `access` its credentials, `wayin` what differs from host to host.
"""
