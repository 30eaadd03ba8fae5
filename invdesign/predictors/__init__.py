"""Property models: band gap of relaxed crystals, pre-ranking of genes."""
