"""The steps of an environment: one module a step, with ensure, remove and inspect side by side."""
