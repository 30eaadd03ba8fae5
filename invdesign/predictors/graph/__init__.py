"""The graph network of the independent band-gap evaluator."""
