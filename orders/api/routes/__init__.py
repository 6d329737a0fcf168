"""What a front end asks of the intake, one file a request; those that are read only are in `order_routes`."""
