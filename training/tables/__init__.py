"""The paper's two tables, measured anew."""
