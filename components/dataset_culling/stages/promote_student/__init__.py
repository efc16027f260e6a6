"""The promote-student stage."""
