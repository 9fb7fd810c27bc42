"""Playing scenarios against systems: the driver and its clock, written replies, spending."""
