"""Daraja's language: typed values, JSON, HTTP requests and answers.

The files are pure, except `retry` and `tokens`, which wait, and `connections` and `transport`, which use
the network.
"""
