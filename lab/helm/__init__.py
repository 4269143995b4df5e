"""Helm as the lab plays it: templates, charts, releases kept as real Secrets, and the actions upon them."""
