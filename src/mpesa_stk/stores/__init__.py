"""Stores of payments, tokens and budgets: in memory, in SQL databases, in Redis."""
