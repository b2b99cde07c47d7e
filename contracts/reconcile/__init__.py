"""The reconcile sweep: what bears our marks, compared with the open environments. Pure rules and models."""
