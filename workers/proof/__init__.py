"""The proof: seals over what is journalled, their anchors outside the database, and what the audit checks of them."""
