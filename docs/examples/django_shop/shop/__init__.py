"""The shop: settings, URLs, and the adapter in `views`."""
