"""Settings of Sphinx."""

import sys
from pathlib import Path

# The package beside this folder is described, installed or not.
sys.path.insert(0, str(Path(__file__).parents[1]))

from objstore import __version__

project = "objstore"
author = "The objstore contributors"
copyright = author
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"objstore {release}"

# Pages link to headings of other pages.
myst_heading_anchors = 3

# Docstrings put code in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_use_ivar = True
