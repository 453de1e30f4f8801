"""What is measured. Each function takes the figures that it fills; what it raises is told, and the others go on."""
