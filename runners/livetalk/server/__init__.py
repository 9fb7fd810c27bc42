"""The conversation protocol over HTTP (docs/conversation-protocol.md)."""
