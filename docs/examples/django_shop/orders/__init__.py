"""The shop's own app: orders with prices, and their pages."""
