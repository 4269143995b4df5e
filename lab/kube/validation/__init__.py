"""Validation of built-in kinds, in the words of k8s.io/kubernetes/pkg/apis/*/validation (v1.33)."""
