"""Talos as data: machine configs, secrets bundles, client configs. Nothing here acts on the world."""
