"""Lists of environments: pages, their cursors, and what is wrong with a row."""
