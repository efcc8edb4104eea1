"""Transition systems: expressions, systems, the reference evaluator. Nothing about patching lives here."""
