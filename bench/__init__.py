"""Numbers beside their targets (issue 3 section 6): `python -m bench`."""
