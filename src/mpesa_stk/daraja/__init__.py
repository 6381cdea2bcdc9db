"""Daraja's language: typed values, JSON, HTTP requests and answers. Pure, except `transport`."""
