"""Environments, as the API handles them: planned, requested, read, listed, watched and torn down."""
