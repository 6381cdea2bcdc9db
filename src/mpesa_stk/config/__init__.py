"""Settings: who is paid, where Daraja is, what is allowed, and how all that is read."""
