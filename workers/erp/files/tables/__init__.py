"""CSV and fixed-width files that a template describes: orders, and what is answered to them."""
