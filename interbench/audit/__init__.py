"""The judge on trial: planted, graded defects, and what a judge makes of them (docs/audit.md)."""
