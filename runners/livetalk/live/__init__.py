"""Live conversations: engine, sessions, answers, turns, memory, the queue for the device."""
