"""Downloads released models, and checks them."""
