"""Ready parts for one framework each. Each needs an extra of the same name."""
