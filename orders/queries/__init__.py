"""Every SELECT for people: orders, causes, replays, samples, products, webhooks, evidence.

Face: every module of it.
"""
