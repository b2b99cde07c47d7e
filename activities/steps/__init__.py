"""The steps of an environment: one module for each step, with ensure, remove and inspect."""
