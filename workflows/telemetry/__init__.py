"""What workflows count, measure and trace. None of it is a command: histories do not depend on it."""
