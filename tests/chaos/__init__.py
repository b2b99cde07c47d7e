"""Does its worst to running stacks: `make chaos`. What holds is written to docs/reference/chaos-results.md.

The quick part of it is in `tests/lifecycle`, marked `guarantee` as these are, and runs with `make slow`.
"""
