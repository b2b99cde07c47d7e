"""The parts of the client that concern a vCluster: its Helm release, its start and its health."""
