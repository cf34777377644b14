"""How often: rates, quotas, plans that bundle them, and how many at a time."""
