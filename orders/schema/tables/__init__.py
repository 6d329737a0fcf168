"""The tables, a module for each room that they serve; `core` has the orders and what becomes of them."""
