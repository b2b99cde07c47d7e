"""The workflows of the sweeps, and what they say to environments."""
