"""A second ground for the lab: real control planes (etcd, kube-apiserver, kube-controller-manager, kube-scheduler) in place of its own API."""
