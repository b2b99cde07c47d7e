"""The simulated API servers of the vClusters: objects, client certificates, and rights on them."""
