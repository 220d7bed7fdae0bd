# fabio on every client, on the host's own network: HTTP on 9999, its UI on 9998 of the loopback. It routes to the services in Consul
# that pass all their checks and have a tag `urlprefix-…`, and is itself `fabio.service.consul`. The role `edge-fabio` is the same as a
# service of hosts.

variable "datacenters" {
  type    = list(string)
  default = ["dc1"]
}

# `docker` runs the image; any other driver runs the program of the release, or the one that `binary` names.
variable "driver" {
  type    = string
  default = "docker"
}

variable "version" {
  type    = string
  default = "1.7.3"
}

# Empty: that of the version.
variable "image" {
  type    = string
  default = ""
}

# Where releases are, or a mirror of the same layout: SITE/vVERSION/fabio-VERSION-linux_ARCH, and fabio-VERSION.sha256 beside it.
variable "site" {
  type    = string
  default = "https://github.com/fabiolb/fabio/releases/download"
}

# A path on the clients, or an address from which it is fetched, instead of the release.
variable "binary" {
  type    = string
  default = ""
}

# `sha256:…` of the program that is fetched. Empty: a release is compared with the list beside it.
variable "checksum" {
  type    = string
  default = ""
}

# 0: none.
variable "http_port" {
  type    = number
  default = 9999
}

variable "ui_port" {
  type    = number
  default = 9998
}

# Who reaches the UI is asked for no name. It shows all routes and settings, and changes none.
variable "ui_addr" {
  type    = string
  default = "127.0.0.1"
}

# Ports for services with the tag `urlprefix-:PORT proto=tcp`.
variable "tcp" {
  type    = list(number)
  default = []
}

# Ports for TLS that is passed through to services by the name that the client asks for: `urlprefix-NAME/ proto=tcp`.
variable "tcp_sni" {
  type    = list(number)
  default = []
}

# More ports, as the role `edge-fabio` has them: `[{ port: 443, protocol: https, certificates: shop }]`.
variable "listeners" {
  type    = list(map(string))
  default = []
}

# Sources of certificates, as the role has them: `[{ name: shop, consul: /fabio/shop }]`. A folder, `path`, is seen by the driver `raw_exec`
# alone.
variable "certificates" {
  type    = list(map(string))
  default = []
}

variable "tag_prefix" {
  type    = string
  default = "urlprefix-"
}

variable "consul" {
  type    = string
  default = "127.0.0.1:8500"
}

locals {
  ports = concat(
    [for port in [var.http_port] : { port = port, protocol = "http", certificates = "" } if port > 0],
    [for port in var.tcp : { port = port, protocol = "tcp", certificates = "" }],
    [for port in var.tcp_sni : { port = port, protocol = "tcp+sni", certificates = "" }],
    [for one in var.listeners : { port = one.port, protocol = try(one.protocol, "http"), certificates = try(one.certificates, "") }],
  )
  listeners = [for one in local.ports : ":${one.port};proto=${one.protocol}${one.certificates == "" ? "" : ";cs=${one.certificates}"}"]
  sources = [
    for one in var.certificates : try(
      "cs=${one.name};type=path;cert=\"${one.path}\"",
      "cs=${one.name};type=consul;cert=\"http://${var.consul}/v1/kv${one.consul}/\"",
    )
  ]
  args = [
    "-registry.consul.addr", var.consul,
    "-registry.consul.tagprefix", var.tag_prefix,
    "-registry.consul.checksRequired", "all",
    # It would give Consul the address of its UI, which nobody else reaches: the service below is for others.
    "-registry.consul.register.enabled=false",
    "-proxy.addr", join(",", local.listeners),
    "-proxy.cs", join(",", local.sources),
    "-proxy.strategy", "rr",
    "-proxy.dialtimeout", "2s",
    "-proxy.shutdownwait", "5s",
    "-ui.addr", "${var.ui_addr}:${var.ui_port}",
    "-ui.access", "ro",
  ]
  is_docker = var.driver == "docker"
  is_path   = substr(var.binary, 0, 1) == "/"
  image     = var.image == "" ? "fabiolb/fabio:${var.version}" : var.image
  release   = "${var.site}/v${var.version}"
  # The architecture is that of the client which fetches it.
  program  = var.binary == "" ? "${local.release}/fabio-${var.version}-linux_$${attr.cpu.arch}" : var.binary
  sums     = var.binary == "" ? "file:${local.release}/fabio-${var.version}.sha256" : ""
  checksum = var.checksum == "" ? local.sums : var.checksum
  source   = local.checksum == "" ? local.program : "${local.program}?checksum=${local.checksum}"
  file     = local.is_path ? var.binary : "local/fabio"
}

job "fabio" {
  datacenters = var.datacenters
  type        = "system"

  update {
    max_parallel = 1
    stagger      = "10s"
  }

  group "fabio" {
    network {
      dynamic "port" {
        for_each = local.ports
        labels   = ["listener-${port.value.port}"]
        content {
          static = port.value.port
        }
      }
      port "ui" {
        static = var.ui_port
      }
    }

    dynamic "service" {
      for_each = slice(local.ports, 0, 1)
      content {
        name = "fabio"
        port = "listener-${service.value.port}"

        check {
          type     = "tcp"
          interval = "5s"
          timeout  = "2s"
        }
      }
    }

    dynamic "task" {
      for_each = local.is_docker ? [local.image] : []
      labels   = ["fabio"]
      content {
        driver       = "docker"
        kill_timeout = "15s"

        config {
          image        = task.value
          network_mode = "host"
          args         = local.args
        }

        resources {
          cpu    = 200
          memory = 128
        }
      }
    }

    dynamic "task" {
      for_each = local.is_docker ? [] : [local.file]
      labels   = ["fabio"]
      content {
        driver       = var.driver
        kill_timeout = "15s"

        config {
          command = task.value
          args    = local.args
        }

        dynamic "artifact" {
          for_each = local.is_path ? [] : [local.source]
          content {
            source      = artifact.value
            destination = "local/fabio"
            mode        = "file"
          }
        }

        resources {
          cpu    = 200
          memory = 128
        }
      }
    }
  }
}
