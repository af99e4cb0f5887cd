"""Settings of the site that ``make book`` builds from the notebooks and the pages, as they are committed."""

project = "SapBERT, rebuilt"
author = "The SapBERT tutorial authors"
extensions = ["myst_nb", "sphinx-mathjax-offline"]
root_doc = "docs/index"
include_patterns = ["notebooks/0*.ipynb", "notebooks/solutions/0*.ipynb", "docs/*.md", "figures/README.md"]
exclude_patterns = ["docs/api", ".venv", "runs"]
nb_execution_mode = "off"  # the outputs are those of the committed run
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "sphinx_book_theme"
html_title = project
html_show_sourcelink = False
html_theme_options = {"home_page_in_toc": True, "show_navbar_depth": 1, "use_download_button": False}
html_extra_path = ["start"]
html_static_path = ["static"]
html_css_files = ["wide.css"]
