"""Commands about what may be believed: quarantine, seals, the audit, the incident report."""
