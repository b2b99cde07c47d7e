"""Helpers of the steps: resources, manifests and look-ups that several steps share."""
