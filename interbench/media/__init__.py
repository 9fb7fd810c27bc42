"""The only room that touches codecs, in bounded worker processes."""
