"""Drawing a person: each module draws one part, :mod:`.sprites` puts them together and in motion."""
