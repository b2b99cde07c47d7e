"""The capacity workflow, and the parts of it: who holds what on which host."""
