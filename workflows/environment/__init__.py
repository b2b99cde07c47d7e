"""The workflow of one environment, and how it goes on in a new run."""
