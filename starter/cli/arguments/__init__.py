"""What the user types: options and arguments, times, answers to questions."""
