"""Figures from the lives that have ended: usual times, times to ready, environments over time, failures."""
