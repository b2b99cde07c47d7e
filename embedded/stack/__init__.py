"""The embedded stack: its processes, its state directory, and how they start and stop."""
