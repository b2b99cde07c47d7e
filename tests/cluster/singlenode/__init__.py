"""A single-node Kubernetes from nothing, for the end-to-end suite. Not part of the product."""
