"""Systems that answer live over the conversation protocol."""
