"""Video and avatar services that take a job and hand back a file."""
