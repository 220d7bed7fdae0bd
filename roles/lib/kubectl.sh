# WORD...: kubectl as the cluster's own administrator.
kubectl() {
  command kubectl --kubeconfig /etc/kubernetes/admin.conf "$@"
}
