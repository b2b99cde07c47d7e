"""What can be done with an environment that is ready: each change runs in the environment's workflow."""
