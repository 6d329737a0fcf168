"""How Relais stands, looked at once for everybody who has the console open.

probes      what one look at each store reads
poller      the one task that looks, and keeps what was known last of a store that is out
series      what the charts draw
stream      server-sent events to those who watch
"""
