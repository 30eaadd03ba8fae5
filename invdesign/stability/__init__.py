"""Energy above the hull, phonons, molecular dynamics."""
