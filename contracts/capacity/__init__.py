"""Capacity: how much hosts have, who holds how much of it, and the pure rules that decide."""
