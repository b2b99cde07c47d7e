"""A template of the catalogue, and the rules that it can set. Pure."""
