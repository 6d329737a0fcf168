"""What a developer of a front end reads in a browser: a first page and the API's reference, made from its document.

Face: `add_pages`. Pages without a script, with a style sheet of our own, that need no network but the intake's.
"""

from orders.api.reference.pages import add_pages as add_pages
