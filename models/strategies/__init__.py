"""One short file per strategy; `models.library` finds them."""
