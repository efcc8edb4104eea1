"""Searches: every engine takes a transition system and answers with an `Exploration`."""
