"""The simulated host cluster of the embedded stack: it keeps what it is told in SQLite, and runs nothing.

What is real about it: the times that things take, the traps (volumes that stay, with the old credentials on
them; a Secret that lags the pod), and virtual API servers that answer kubectl with the kubeconfig as written.
"""
