"""Executes a guest: interpreter, region formation, compile worker, cache, and the loop that runs a hart."""
