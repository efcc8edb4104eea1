"""What CPUs do and what instruction fetches may return."""
