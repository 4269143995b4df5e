"""What objects may look like: Go types, structural schemas, patches, server-side apply. Pure functions, no I/O but data files."""
