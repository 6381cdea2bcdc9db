"""Remembers payments: the transaction's life, the stores, and the flow over them."""
