"""HTTP in and out, for any framework: the three payment endpoints and who may call them."""
