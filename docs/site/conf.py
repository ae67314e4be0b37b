"""Configuration of Sphinx for the documentation site: `make docs` builds it from the pages that `pages.py` collects."""

import re
from pathlib import Path

_VERSION = Path(__file__).parents[2] / "dedl_fastai" / "__init__.py"

project = "dedl-fastai"
author = "dedl-fastai maintainers"
copyright = author
release = re.search(r'__version__ = "(.+?)"', _VERSION.read_text(encoding="utf-8"))[1]

extensions = ["myst_nb", "sphinx_copybutton"]
root_doc = "index"
smartquotes = False  # two hyphens are the beginning of an option
highlight_language = "bash"  # blocks without a language are commands

myst_heading_anchors = 4
nb_execution_mode = "off"  # notebooks are committed with their outputs
nb_ipywidgets_js = {}  # no script from another server
nb_merge_streams = True

html_theme = "pydata_sphinx_theme"
html_title = f"dedl-fastai {release}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {"index": []}
html_theme_options = {
    "logo": {"text": "dedl-fastai"},
    "navbar_align": "left",
    "navbar_persistent": [],
    "navbar_end": ["search-button", "theme-switcher"],
    "show_nav_level": 2,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
