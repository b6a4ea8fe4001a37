"""The documentation: ``sphinx-build -W docs docs/_build`` writes it, from the docstrings and these pages."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pages  # noqa: E402

import lamina  # noqa: E402

project = "lamina"
author = "the lamina authors"
release = version = lamina.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser", "mathml", "docstrings", "pages"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "lamina"
html_static_path = ["style"]
html_css_files = ["lamina.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False

nitpicky = True  # a reference that leads nowhere is a warning, and -W makes a warning an error
nitpick_ignore = [("py:exc", name) for name in ("URLError", "UnpicklingError", "pickle.UnpicklingError", "pickle.PicklingError")]
default_role = "literal"
add_module_names = False
autodoc_typehints = "none"
autodoc_class_signature = "mixed"
autodoc_inherit_docstrings = False
napoleon_custom_sections = ["Shape", "Shapes", ("Attributes", "params_style")]
napoleon_use_param = False  # types are words here ("int or tuple of ints"), not names to be looked up
napoleon_use_rtype = False
napoleon_preprocess_types = False
myst_heading_anchors = 3

pages.write()
