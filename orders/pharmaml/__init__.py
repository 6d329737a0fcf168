"""PharmaML 1.0 (CSRP), the French pharmacies' own ordering protocol, as a way into the same intake.

What is known of the protocol, and what the public record leaves open, is in docs/pharmaml.md.
"""
