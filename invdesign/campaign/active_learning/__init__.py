"""The rounds after a campaign, which learn from DFT results."""
