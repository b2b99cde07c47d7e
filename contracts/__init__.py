"""The shared vocabulary: what workflows, activities, the worker and the ways in agree on. No I/O."""
