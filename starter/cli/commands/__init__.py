"""The commands: one function per command, with its options, and what it prints."""
