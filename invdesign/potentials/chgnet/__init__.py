"""CHGNet, the potential that is in the package."""
