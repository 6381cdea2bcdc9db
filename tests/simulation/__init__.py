"""A whole system under a seed: shops, workers, a store, a Daraja, customers and one clock.

The seed decides at every await which task goes on, fails, is cancelled, or dies with its process.
"""
