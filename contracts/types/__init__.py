"""Types that every contract is made of: names, durations, quantities, printable text."""
