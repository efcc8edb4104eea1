"""Published bugs, one short file each."""
