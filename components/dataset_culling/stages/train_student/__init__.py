"""The train-student stage."""
