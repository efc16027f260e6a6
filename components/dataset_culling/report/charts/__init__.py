"""Charts of the pages: matplotlib drawn as themed SVG."""
