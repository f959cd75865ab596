"""The typed SSA intermediate representation: operations, text form, verifier, its meaning in Python integers."""
