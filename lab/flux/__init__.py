"""Flux as the lab plays it: manifests, builds, and the source, kustomize and helm controllers."""
