"""The incident report: what an outage was, as HTML and as PDF."""
