"""What everything stands on: errors, rates, background threads."""
