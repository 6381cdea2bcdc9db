"""Holds the rules of stored payments: states, callbacks, queries and reports."""
