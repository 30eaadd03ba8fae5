"""What property models see of a crystal, a gene or a composition."""
