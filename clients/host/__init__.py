"""The interface of a host cluster: its protocol, its return values and the kubeconfig of a vCluster."""
