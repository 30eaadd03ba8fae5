"""Training of the property models."""
