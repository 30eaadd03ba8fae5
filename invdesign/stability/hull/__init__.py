"""The convex hull of formation energies and where its phases come from."""
