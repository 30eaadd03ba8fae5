"""The rounds after a campaign: estimates corrected by DFT results, and the next candidates."""
