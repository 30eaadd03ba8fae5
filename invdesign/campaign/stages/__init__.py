"""The stages of a campaign as pure functions."""
