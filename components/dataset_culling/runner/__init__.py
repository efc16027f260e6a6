"""The local engine: one process per stage over the graph, resumed by digest, nothing half-written ever trusted."""
