"""Environments on a real Kubernetes with the official vCluster chart: `make e2e`.

The cluster is that of `TEST_E2E_KUBECONFIG`, or else the one of `tests/cluster`, started if it is not up.
Moorage runs there as the accounts of `deploy/rbac.yaml`; only the tests themselves look as an administrator.
"""
