"""matgl's M3GNet and TensorNet."""
