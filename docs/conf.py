"""The documentation's site: ``python -m sphinx -n -W --keep-going docs docs/_build/html``."""

import sys
from pathlib import Path

import django
from django.conf import settings

import mpesa_stk

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

# The models of the Django app are imported for their docstrings.
settings.configure(INSTALLED_APPS=["mpesa_stk.contrib.django"])
django.setup()

project = "mpesa-stk"
author = "The mpesa-stk authors"
release = version = mpesa_stk.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_llms_txt",
    "public_names",
]
exclude_patterns = ["_build", "examples/*/.*"]
nitpicky = True

# --- pages -----------------------------------------------------------------------------------------

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]

# --- the reference from docstrings -------------------------------------------------------------------

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "inherited-members": "Exception, BaseException, Enum, str, int, tuple, object",
}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Each lists the few names that signatures mention, so that a build needs no network.
intersphinx_mapping = {
    "django": ("https://docs.djangoproject.com/en/stable", "_inventories/django.txt"),
    "python": ("https://docs.python.org/3", "_inventories/python.txt"),
    "requests": ("https://requests.readthedocs.io/en/latest", "_inventories/requests.txt"),
    "sqlalchemy": ("https://docs.sqlalchemy.org/en/20", "_inventories/sqlalchemy.txt"),
}

# --- the look --------------------------------------------------------------------------------------

html_theme = "furo"
html_title = "mpesa-stk"
html_show_copyright = False
html_theme_options = {"top_of_page_buttons": []}

# --- llms.txt and llms-full.txt ----------------------------------------------------------------------

llms_txt_uri_template = "_sources/{docname}{suffix}{sourcelink_suffix}"
llms_txt_summary = (
    "A Python library for M-Pesa Express (STK push) through Safaricom's Daraja. "
    "It asks for money once, and never loses a payment."
)
html_static_path = ["_static"]
html_css_files = ["site.css"]
