"""The credentials of people for environments: client certificates that a vCluster issues."""

from datetime import timedelta

#: The shortest certificate that Kubernetes issues, and the longest that a person may have: it cannot be
#: withdrawn, only its rights can.
MIN_CREDENTIAL, MAX_CREDENTIAL = timedelta(minutes=10), timedelta(hours=1)

#: https://kubernetes.io/docs/reference/config-api/client-authentication.v1/
PLUGIN_VERSION = "client.authentication.k8s.io/v1"
#: What a kubeconfig of an environment has of the administrator's: where the API server is, and how a client
#: knows it. Other fields are credentials, name files of a machine, or name a proxy.
CLUSTER_FIELDS = (
    "server",
    "certificate-authority-data",
    "tls-server-name",
    "insecure-skip-tls-verify",
)
