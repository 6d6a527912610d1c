"""Side-by-side measurements: the gateway, and what else could stand in its place."""
