"""The simulated host cluster of the embedded stack: it keeps objects in SQLite, and runs nothing.

It has what is hard about a real one: durations, traps (volumes that stay, with the old credentials on them; a
Secret that lags its pod), and virtual API servers that serve kubectl with the kubeconfig as written.
"""
