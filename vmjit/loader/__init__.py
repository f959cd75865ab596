"""Executable files to guest memory."""
