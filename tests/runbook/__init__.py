"""Runs the commands of the runbook (docs/how-to/operate) on a stack, as they are typed there."""
