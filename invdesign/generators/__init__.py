"""What proposes crystals: genes first, then geometries for them."""
