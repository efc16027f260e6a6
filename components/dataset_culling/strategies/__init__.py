"""How frames are chosen: one folder each (code and method card), one table. Pure numpy, no input or output."""
