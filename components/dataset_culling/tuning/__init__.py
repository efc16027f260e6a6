"""The search for a student that suits a camera."""
