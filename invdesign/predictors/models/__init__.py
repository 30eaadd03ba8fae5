"""Regressors with calibrated intervals."""
