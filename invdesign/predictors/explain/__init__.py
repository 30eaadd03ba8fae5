"""What drove a prediction, and the nearest known materials."""
