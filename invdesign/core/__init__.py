"""What every part speaks of: properties, targets, candidates, verdicts, the funnel."""
