"""What is measured, against what, in one run. Never a timed test: numbers are for people to judge."""
