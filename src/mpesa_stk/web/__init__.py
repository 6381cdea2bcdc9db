"""The three payment endpoints, for any framework, and the rules about who may call them."""
