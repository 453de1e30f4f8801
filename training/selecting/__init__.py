"""The paper's training idea: what a site's frames show chooses the photographs to learn from."""
