"""What everything stands on: errors, workers, scratch folders, reading from the net, progress, bundled data."""
