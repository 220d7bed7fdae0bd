# Written by bootstrap.
consul {
  address = "127.0.0.1:{{ endpoints.consul.port }}"
  retry { attempts = 0 }
}
max_stale = "0s"
template {
  source          = "/etc/bootstrap-edge/nginx.conf.ctmpl"
  destination     = "/var/lib/bootstrap-edge/nginx.conf.new"
  left_delimiter  = "[["
  right_delimiter = "]]"
  command         = ["/etc/bootstrap-edge/apply", "apply"]
  # Several changes of one moment are one reload.
  wait { min = "100ms", max = "400ms" }
}
