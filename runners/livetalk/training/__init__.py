"""How the student is made: ODE initialisation and distribution matching (docs/training.md). Serving imports none of it."""
