"""The offline judge: figures that need no model."""
