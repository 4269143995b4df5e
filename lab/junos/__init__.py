"""The Juniper gateway: its configuration as a tree, its command line, and the SSH server before both."""
