"""Output: tables, lines and JSON on a terminal, in a pipe or in a log."""
