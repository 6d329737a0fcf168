"""EDIFACT: its syntax, orders as ORDERS D.96A, and what CONTRL and ORDRSP say."""
