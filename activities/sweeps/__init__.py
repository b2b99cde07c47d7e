"""What the sweeps do outside: they read many environments, and update some of them."""
