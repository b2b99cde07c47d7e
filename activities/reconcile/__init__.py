"""The work of the reconcile sweep: what bears our marks, and what becomes of it."""
