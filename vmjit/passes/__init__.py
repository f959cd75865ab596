"""Passes over a region of the IR, one a file; pipeline.py names their order."""
