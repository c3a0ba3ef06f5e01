"""Would hardware do it: costs, error budgets, repeats and a verdict."""
