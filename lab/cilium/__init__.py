"""Cilium as the lab plays it: the chart, the operator, the agents, load balancer addresses, BGP and the mesh."""
