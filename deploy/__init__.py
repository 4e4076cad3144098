"""Ways to run Slipway."""
