"""The DFT codes: what each is given, and what it left."""
