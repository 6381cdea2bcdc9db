"""Where payments, tokens and budgets are kept: in memory, in SQL databases, in Redis."""
