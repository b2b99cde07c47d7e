"""The credentials for a host cluster: kubeconfigs, credential plugins and the service account of a pod."""
