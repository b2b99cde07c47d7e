"""Lists of environments: pages, their cursors, and the problem of a row."""
