"""The property-conditioned variational autoencoder."""
