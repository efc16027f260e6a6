"""What people look at: the page with pictures, the summary that machines read, the end of a run in a terminal."""
