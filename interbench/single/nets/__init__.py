"""The networks of the metrics, written for the checkpoints as they were published: their key names, their shapes."""
