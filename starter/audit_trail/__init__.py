"""The audit trail of all environments: what was done, by whom, with filters and export."""
