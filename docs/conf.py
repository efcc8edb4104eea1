"""How Sphinx builds the documentation: `make docs`."""

project = "check-strategy"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"page_width": "1200px", "body_max_width": "none"}  # formulas have 80 columns
myst_heading_anchors = 3
