"""What an order must satisfy beyond its shape: the catalogue, the rules of each product, how old it may grow.

Face: `catalogue`, `validation`, `staleness`.
"""
