"""Property models: band gap of relaxed crystals, quick rank of genes."""
