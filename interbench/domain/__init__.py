"""The words of the benchmark as types: scenarios, personas, dimensions, records. No I/O but key points' texts."""
