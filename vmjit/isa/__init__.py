"""The notation in which a guest is written: encoding rows, operands, traced semantics, the decode table."""
