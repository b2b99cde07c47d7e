"""Plots as SVG made on the server, each with the same data as rows of a table. No I/O."""
