"""How Sphinx builds the documentation: `make docs`."""

project = "check-strategy"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"  # light and dark, and it can be read on a narrow screen
html_title = "check-strategy"
myst_heading_anchors = 3
