"""The transcript: a model of its entries, how each one looks, and the view that scrolls them."""
