"""Kubeconfigs without a secret, and certificates of people for a virtual cluster."""
