"""The terminal of a command: its streams, text that is safe to print, and how much is printed."""
