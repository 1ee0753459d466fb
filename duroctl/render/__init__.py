"""Pure functions from values to text. Nothing here reads a clock, a terminal or a store."""
