"""Cards of released artifacts."""
