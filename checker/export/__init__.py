"""Exports: the same transition system in the languages of other explicit-state model checkers."""
