"""Settings: the account that is paid, Daraja's addresses, limits and secrets."""
