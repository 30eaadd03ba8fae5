"""Hand-off to DFT codes."""
