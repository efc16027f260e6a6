"""Training of students on labelled frames, and the techniques that plug into it."""
