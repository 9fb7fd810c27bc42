"""Who thinks and speaks: one seam (``base``), and an implementation per kind of model."""
