"""What stages hand to each other: directories with a header. The only place that knows their file names."""
