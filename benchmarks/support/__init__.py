"""What all benchmarks stand on: a stack, drivers, and the floors beside which they measure."""
