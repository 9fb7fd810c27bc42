"""OmniAvatar, the bidirectional model that LiveTalk was distilled from: its files, its sampler, its long clips."""
