# fabio on every client, on the host's own network: HTTP on 9999, its UI on 9998. It routes to the services in Consul that
# pass their checks and have a tag `urlprefix-…`.

variable "datacenters" {
  type    = list(string)
  default = ["dc1"]
}

# `docker` runs the image; any other driver runs the program that `binary` names, fetched unless it is a path.
variable "driver" {
  type    = string
  default = "docker"
}

variable "image" {
  type    = string
  default = "fabiolb/fabio:1.6.3"
}

variable "binary" {
  type    = string
  default = "https://github.com/fabiolb/fabio/releases/download/v1.6.3/fabio-1.6.3-linux_amd64"
}

# `sha256:…` of the program that is fetched.
variable "checksum" {
  type    = string
  default = ""
}

variable "http_port" {
  type    = number
  default = 9999
}

variable "ui_port" {
  type    = number
  default = 9998
}

# Ports for services with the tag `urlprefix-:PORT proto=tcp`.
variable "tcp" {
  type    = list(number)
  default = []
}

# Ports for TLS that is passed through to services by the name that the client asks for: `urlprefix-NAME/ proto=tcp+sni`.
variable "tcp_sni" {
  type    = list(number)
  default = []
}

variable "consul" {
  type    = string
  default = "127.0.0.1:8500"
}

locals {
  listeners = concat(
    [":${var.http_port};proto=http"],
    [for port in var.tcp : ":${port};proto=tcp"],
    [for port in var.tcp_sni : ":${port};proto=tcp+sni"],
  )
  args = [
    "-registry.consul.addr", var.consul,
    "-proxy.addr", join(",", local.listeners),
    "-ui.addr", ":${var.ui_port}",
  ]
  is_docker = var.driver == "docker"
  is_path   = substr(var.binary, 0, 1) == "/"
  source    = var.checksum == "" ? var.binary : "${var.binary}?checksum=${var.checksum}"
  file      = local.is_path ? var.binary : "local/fabio"
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
      port "http" {
        static = var.http_port
      }
      port "ui" {
        static = var.ui_port
      }
      dynamic "port" {
        for_each = concat(var.tcp, var.tcp_sni)
        labels   = ["listener-${port.value}"]
        content {
          static = port.value
        }
      }
    }

    dynamic "task" {
      for_each = local.is_docker ? [var.image] : []
      labels   = ["fabio"]
      content {
        driver = "docker"

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
        driver = var.driver

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
