"""What transition systems are, what CPUs do, and what strategies for rewriting live code there are."""
