"""Where the figures of a run's conversations lie, for those who only read them."""

FOLDER = "single"
"""Within the run folder."""
FILE = "conversations.json"
SCHEMA = "interbench.conversations/1"
