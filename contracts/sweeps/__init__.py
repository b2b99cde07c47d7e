"""The sweeps: what they are given, what they answer, and their rules. Pure."""
