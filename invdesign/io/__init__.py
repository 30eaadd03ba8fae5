"""What touches the disk, processes and the terminal, and knows no physics."""
