"""Metrics as tables for the terminal."""
