"""MP4: H.264, boxes, fragments, files."""
