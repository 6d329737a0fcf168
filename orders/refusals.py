"""Why something is not done, as codes with parameters: what an error tells, a field of a form, or the end of an act.

Whoever refuses says it by its code, so that the console tells it in the language of who asked, however much later.
"""

from __future__ import annotations

from enum import Enum


class Phrase(Enum):
    """What can be said. A plural has two renderings and a parameter `count`."""

    def __init__(self, one: str, many: str = "") -> None:
        self.one, self.many = one, many

    @property
    def key(self) -> str:
        """As the journal has it."""
        return self.name.lower()


class NotDone(Phrase):
    """What is said of it; a time is the parameter `at`."""

    # what ended an act of the console, or kept it from beginning
    FAULT = "a fault of the console's: {fault}"
    CONSOLE_ENDS = "the console ends"
    CONSOLE_ENDED = "the console ended in the middle of it"
    CONSOLE_GONE = "the console that ran it has gone"
    JOURNAL_LOST = "the journal was lost in the middle of it"
    STOPPED_BY = "{by} stopped it"
    ROLE_LOST = "its operator may not do this any more"
    NO_ACT = "there is no such act"
    ONE_STEP = "this act is done in one step: it cannot be stopped"
    FORM_USED = "this form was used for another act: load the page again"
    FORM_OF_ANOTHER = "this form is not of your session: load the page again"
    TAKES_ROLE = "this takes the role {role}"
    TAKES_ANOTHER_ROLE = "this takes the role {role}; {who} is {has}"
    TAKES_ACCOUNT = "this takes an account of the console, proven by its password"
    ALL_LIVE = "this console has as many live pages open as it bears"
    NO_PAGE = "there is no such page"
    NO_PROVIDER = "no identity provider is set"
    NO_REPORT = "no such report is kept at this console: it was made at another one, or too long ago"

    # a backend
    MAPPING_MOVED = "nothing was done: the mapping of {backend} was changed since it was looked at"
    NO_BACKEND = "no backend {backend}"
    NO_SUCH_BACKEND = "no such backend"
    BACKEND_ELSEWHERE = "no backend {backend} is known here; known are {known}"
    NEVER_FORWARDED = "no backend {backend}: no worker has ever run for it"
    PAUSED_ALREADY = "{backend} is paused already"
    NOT_PAUSED = "{backend} is not paused"
    NOT_QUARANTINED = "{backend} is not in quarantine"
    DONE_BY = "{what}: {by} did that at {at:%Y-%m-%d %H:%M:%SZ}"
    DONE_BECAUSE = "{what}: {by} did that at {at:%Y-%m-%d %H:%M:%SZ}, {reason}"
    QUARANTINED_ALREADY = "{backend} is in quarantine already, by {by}: {why}"
    NOT_PROPOSED = "nobody proposed to release {backend} under {digest}"
    NOT_PROPOSED_SINCE = "nobody proposed that since it is in quarantine"
    PROPOSED_IT = "{by} proposed it: another operator has to approve it"
    NOT_AS_SEEN = "{backend} is not as {by} saw it any more: look at it and propose it again"
    NOT_AS_YOU_SAW = "{backend} is not as you saw it any more: look at it and propose it again"
    TAKES_TWO = "a release takes two operators here"

    # a replay, a reconciliation
    REPLAY_NOT_OVER = "a replay of {backend} is not over: `relais replay status`"
    REPLAY_NOT_OVER_BY = "a replay of {backend} is not over ({replay}, started by {by}): `relais replay status`"
    STAGE_FAILED = "it holds because {stage} failed: {why}; `relais replay resume` tries again"
    LAST_STAGE = "no stage follows the ramp: pause stops it"
    REPLAY_OVER = "replay {replay} of {backend} is over"
    NO_OPEN_REPLAY = "no replay of {backend} is under way"
    NO_REPLAY = "no replay {replay}"
    NOTHING_TO_DO = "the replay of {backend} is {state}: there is nothing to {act}"
    REPLAY_MOVED = "replay {replay} of {backend} is at {stage} by now, which is not what was looked at"
    LAST_WORD = "{what}; the last word was `{act}` by {by}"
    NOTHING_CHOSEN = "no order of the backlog is chosen by this any more"
    NO_RECONCILIATION = "no reconciliation {run}"
    OVERTAKEN = "another process is at reconciliation {run}"
    UNSETTLED = "deliveries are still being settled after {seconds:.0f} s: resume it later"
    OUT_OF_REACH = "the ERP is out of reach: {detail}"
    RECONCILED = "reconciliation {run} is done"
    NOT_RECONCILED = "reconciliation {run} is not done: resume it first"

    # orders
    UNKNOWN_ORDER = "no order {order}"
    NO_ORDER_OF = "no order {reference} of pharmacy {pharmacy}"
    NO_ORDER_OF_PHARMACY = "no order of a pharmacy {pharmacy}"
    NO_CAUSE = "no cause {cause}"
    CANCELLED_ALREADY = "the order is cancelled already"
    BEING_FORWARDED = "the order is being forwarded to the ERP"
    TAKEN = "the ERP has taken the order"
    DELIVERED = "the ERP has accepted the order"
    GIVEN_UP = "an operator has given the order up"
    PERHAPS_TAKEN = "the order may be with the ERP: an attempt ended in the unknown"
    FEWER = "only {orders} of {named} can be moved; nothing was done"

    # an account
    NO_ACCOUNT = "no account {account}"
    ACCOUNT_EXISTS = "account {account} was not made: it exists already"
    SUBJECT_EXISTS = "account {account} was not made: this subject of the identity provider has one already"
    SAME_ROLE = "account {account} has the role {role} already"
    DISABLED_ALREADY = "account {account} is disabled already"
    NOT_DISABLED = "account {account} is not disabled"
    ACCOUNT_NAME = "small letters a to z, digits, dot, dash, underscore and @, a letter first, 64 at most"
    NO_PERSON = "{account} is no person's"

    # a field of a form or an address
    FIELD = "{field}: {what}"
    UNFIT = "is not what is asked for here"
    EMPTY = "must be filled in"
    HOLDS_FILE = "must not hold a file"
    HOLDS_CONTROLS = "must not hold control characters"
    TOO_LONG = "is too long"
    MOST_CHARACTERS = "must be at most {most} characters"
    ONE_LINE = "must be at most {most} characters on one line"
    REASON_LINE = "must be {least} to {most} characters on one line"
    NO_FORM = "is missing: load the page again"
    NAME_OF_BACKEND = "must be the name of a backend"
    ANOTHER_BACKEND = "must be another backend than the one that they are to leave"
    ONE_OF = "must be one of {known}"
    OFFERED = "must be one of those that are offered"
    NUMBER = "must be a number"
    ORDER_ID = "must be the id of an order"
    ORDER_IDS = "must be orders' ids, with commas between"
    MOST_IDS = "must be at most {most} orders' ids"
    PRODUCT_DIGITS = "must be 13 digits (CIP13, ACL13, UCD13) or the 7 of a CIP7"
    PRODUCT_PREFIX = "must begin with 3400 (CIP13, UCD13) or 3401 (ACL13)"
    CHECK_DIGIT = "its check digit is wrong"
    PRODUCT = "must be a product's CIP13, ACL13, EAN13 or CIP7"
    RATE = "must be orders a second, {least:g} to {most:,}, or {off}"
    PROPOSAL = "must be that of a proposal"
    AGE = "must be an age such as 6h or 2d"
    MOMENT = "must be an age such as 6h or 2d, or a time with its zone: 2026-01-05T18:00:00+01:00"
    STAMP = "must be a time with its zone: 2026-01-05T18:00:00Z"
    LOCAL_TIME = "is no time such as 2024-10-19T14:30"
    NOT_PAST = "is not over yet"
    AFTER_SINCE = "must be after since"
    AFTER_BEGINNING = "is not after the beginning"
    NARROW_IT = "narrow it: an act is not about all orders there are"
    CHOOSE_DEAD = "choose dead letters, a group of them, or a filter"
    BY_ID_ONLY = "what may be with its backend is moved by its id only"
    NO_PLACE = "is no place in this list: begin at its first page"

    # an order that is not forwarded as it is, or never: `orders.rules`, `orders.intake.settled`
    NOT_REGISTERED = "not in the register of pharmacies"
    WRONG_FINESS = "not in the register of pharmacies; if it is meant as a FINESS number, its key is wrong"
    NOT_IN_CATALOGUE = "not in the catalogue"
    WITHDRAWN = "withdrawn from the catalogue"
    MOST_QUANTITY = "more than the {most} that one order may ask for"
    PAST = "this time has passed"
    PASSED_BEFORE = "this time passed before it was forwarded"
    STALE_URGENT = "{aged} when it was to be forwarded, and an urgent order may be {may} old"
    STALE_NORMAL = "{aged} when it was to be forwarded, and a normal order may be {may} old"
    STALE_COLD_CHAIN = (
        "{aged} when it was to be forwarded, and an order with a product of the cold chain may be {may} old"
    )
    STALE_NARCOTIC = "{aged} when it was to be forwarded, and an order with a narcotic may be {may} old"
    STALE_QUOTA = "{aged} when it was to be forwarded, and an order with a product under quota may be {may} old"
    HAS_KEY = "order {order} came with its Idempotency-Key"
    HAS_REFERENCE = "order {order} has its reference, with other content"
    BACK_TOO_LATE = "it was taken back too late: the same order is {state} as order {order}"

    # what was in the spill and did not become an order
    NOT_SIGNED = "not signed with a key of ours"
    NOT_READ = "it cannot be read: {fault}"
    NOT_WRITTEN = "the journal cannot write it: {fault}"
    REPEATED = "the same order was accepted before"
