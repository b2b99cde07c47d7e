"""What happens, in which order, and how it is undone. Deterministic; imports contracts only."""
