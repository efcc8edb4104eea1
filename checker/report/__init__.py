"""Verdicts and traces for people and for machines."""
