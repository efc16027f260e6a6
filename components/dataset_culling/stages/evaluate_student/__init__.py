"""The evaluate-student stage."""
