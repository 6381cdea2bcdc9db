"""The tables of the Django app."""
