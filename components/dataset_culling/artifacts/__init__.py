"""Artifacts: the directories with a header that stages pass on. Only this package knows their file names.

Every `write_*` takes the directory and the origin, and raises OutputError if it cannot write. Every `read_*` and
`*_file` checks sizes and SHA-256, and raises ArtifactError if the artifact is missing, of another kind or damaged.
"""
