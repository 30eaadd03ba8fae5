"""SevenNet (Park and others, J. Chem. Theory Comput. 20, 4857, 2024), batched for many small crystals."""
