"""What `make bench` runs: every figure a ratio to a floor measured beside it, or a bound the project has promised."""
