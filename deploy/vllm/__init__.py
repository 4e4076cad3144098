"""What Slipway asks of vLLM itself, run by hand in an environment that has it."""
