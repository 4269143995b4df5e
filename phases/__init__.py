"""The plan's phases, compiled from a site: data, in the order of the table of contents."""
