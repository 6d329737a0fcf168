"""The console: the web page that the person on call keeps open, and acts through.

Pages are rendered here (Jinja2), kept live by server-sent events (htmx), and need no other server: every script and
style sheet is ours or vendored (`assets/`). Each room has its routes in `pages.py`, its templates in
`templates/<room>/` and its French in `locale/fr/<room>.po`:

access      who is logged in, and what they may do
overview    how Relais stands, live
acts        an act is shown, reasoned, done once, watched, stopped, recorded
recovery    the acts of a recovery: replay, drain, reconcile, divert, cancel
dead        dead letters by cause
search      an order, its life drawn; a pharmacy
report      the incident report, what operators did

Whatever is read comes from `orders.queries.orders` and its like, whatever is done goes through the same functions as
the command line's: the console can do nothing that an operator's shell cannot.
"""
