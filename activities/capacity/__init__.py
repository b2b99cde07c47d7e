"""What the capacity workflow does outside, and what asks it: its audit, its pools."""
