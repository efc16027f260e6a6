"""`python -m dataset_culling.cli` is `culling`."""

from dataset_culling.cli import main

if __name__ == "__main__":
    main()
