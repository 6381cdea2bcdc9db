"""Safaricom's own records of payments: what they say, and how they are read."""
