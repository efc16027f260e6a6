"""How a student learns from labelled frames. No file is read or written here."""
