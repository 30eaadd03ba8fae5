"""The crystals that a formula forms, by energy."""
