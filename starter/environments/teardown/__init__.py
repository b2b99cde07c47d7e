"""Teardown of environments whose workflow was closed from outside, or that Temporal has forgotten."""
