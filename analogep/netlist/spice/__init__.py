"""SPICE text out, raw files in."""
