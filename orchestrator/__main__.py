"""`python -m orchestrator` is the command `bootstrap`."""

from orchestrator.cli import main

if __name__ == "__main__":
    main()
