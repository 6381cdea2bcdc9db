"""The payments in the shop's database."""
