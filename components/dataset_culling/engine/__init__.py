"""The local engine: walk the graph, one process per stage, resume after any interruption."""
