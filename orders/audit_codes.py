"""What an audit says of the journal, of its seals and of receipts (`workers.proof`), as codes with parameters."""

from __future__ import annotations

from orders.refusals import Phrase


class AuditCode(Phrase):
    """What can be said of it."""

    BALANCES = "The journal balances. No fault was found."
    BALANCES_SEALED = (
        "The journal balances, as it was sealed ({count:,} block). No fault was found.",
        "The journal balances, as it was sealed ({count:,} blocks). No fault was found.",
    )
    NO_FAULT = "no fault"
    FAULTS_ABOVE = "faults, see above"
    FAULTS_FOUND = "{count:,} fault was found.", "{count:,} faults were found."
    UNBALANCED = "accepted {accepted} is not backlog {backlog} + final {final}"
    NO_DELIVERY = "{count:,} order without a delivery", "{count:,} orders without a delivery"
    NO_ORDER = "{count:,} delivery without an order", "{count:,} deliveries without an order"
    UNRECEIPTED = "{count:,} delivered order without a receipt", "{count:,} delivered orders without a receipt"
    UNSIGNED = (
        "{count:,} delivered order without a signed receipt",
        "{count:,} delivered orders without a signed receipt",
    )
    NOWHERE = "{count:,} receipt of the spill that is no order", "{count:,} receipts of the spill that are no orders"
    ALTERED_ORDERS = "{count:,} order whose bytes were altered", "{count:,} orders whose bytes were altered"
    BLOCK = "block {block}"
    BLOCKS = "blocks {first} to {last}"
    UNSEALED = "not sealed yet"
    MORE_RECEIPTS = "and {count:,} more receipt", "and {count:,} more receipts"
    NEWER_SEAL = "sealed by a newer version of Relais"
    ALTERED_SEAL = "the seal itself was altered"
    UNKNOWN_SEAL_KEY = "is sealed with the key {key}, which RELAIS_SEAL_KEY does not have"
    DOES_NOT_FOLLOW = "does not follow the block before it"
    MISSING_BLOCKS = "missing from the chain"
    LOST = "lost; {why}"
    ACKNOWLEDGED = "{fault} ({why}, in block {block})"
    ROWS_MISSING = "{count:,} row missing from {table}", "{count:,} rows missing from {table}"
    ROWS_TOO_MANY = "{count:,} row too many in {table}", "{count:,} rows too many in {table}"
    ROWS_ALTERED = "rows of {table} altered"
    BACKDATED = (
        "{count:,} row of {table} is dated before it was written",
        "{count:,} rows of {table} are dated before they were written",
    )
    AHEAD = (
        "{count:,} row of {table} is of a transaction yet to come: after a restore run `relais admin migrate`",
        "{count:,} rows of {table} are of transactions yet to come: after a restore run `relais admin migrate`",
    )
    OF_NO_TRANSACTION = (
        "{count:,} row of {table} is of no transaction",
        "{count:,} rows of {table} are of no transaction",
    )
    UNRECORDED = (
        "{count:,} change of {table} that no act recorded",
        "{count:,} changes of {table} that no act recorded",
    )
    NOTHING_SEALED = "nothing is sealed yet"
    NO_ANCHOR = "compared with no anchor: the end of the chain may have been cut off"
    ANCHOR_DOWN = "the anchor cannot be read: {error}"
    ANCHOR_BEGINS = "the anchor begins with block {block}"
    SKIPPED = "not in the anchor, and a later one is"
    REPLACED = "is not the one that was anchored"
    CUT_OFF = "in the anchor and no longer in the journal"
    ANCHOR_BEHIND = "blocks {first} to {last} are not anchored yet"
    RECEIPT = "the receipt of order {order} {what}"
    OF_ANOTHER_ORDER = "was signed for another order"
    OF_ANOTHER_CONTENT = "was signed for another content"
    WITH_ANOTHER_REFERENCE = "was signed with another reference"
    WITH_OTHER_LINES = "was signed with other lines"
    UNKNOWN_KEY = "is said to be signed with the key {key}, which is not registered"
    NO_KEY = "the receipt key {key} of {backend} is no Ed25519 key"
    BAD_SIGNATURE = "has no good signature"
    NAMES_ANOTHER_KEY = "names another key"
