"""Invariants that hold for any number of CPUs, and their certificates."""
