"""What DFT returned: on which scale, beside which prediction, into which campaign."""
