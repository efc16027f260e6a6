"""`python -m dataset_culling` is `culling`."""

from __future__ import annotations

from dataset_culling.cli import main

if __name__ == "__main__":
    main()
