"""Settings of the site: ``make docs`` builds it into docs/_build/html.

The pages are the Markdown files of this folder, which GitHub shows as they are. Three parts are made when the site is
built, by `_ext/pages.py`: the gallery, the pages of claims and the reference of all public names.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]
os.environ["PYTHONPATH"] = str(HERE.parent)  # for the kernels that run the notebooks

import olsbn  # noqa: E402

project = "olsbn"
author = "The olsbn developers"
copyright = author
version = release = olsbn.__version__

extensions = [
    "pages",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints", "claims.md"]
nitpicky = False
suppress_warnings = ["mystnb.unknown_mime_type"]

# Pages
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

# Notebooks: run when they have changed
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "notebooks")
nb_execution_in_temp = True  # they write files
nb_execution_timeout = 300
nb_execution_raise_on_error = True

# Reference
autodoc_typehints = "none"
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Look
html_theme = "pydata_sphinx_theme"
html_title = "olsbn"
html_static_path = ["_static"]
html_css_files = ["olsbn.css"]
html_show_sourcelink = False
html_sidebars = {name: [] for name in ("index", "start", "theory", "glossary", "benchmarks", "made/gallery")}
html_theme_options = {
    "logo": {"text": "olsbn"},
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "back_to_top_button": False,
}
