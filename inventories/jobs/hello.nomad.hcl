variable "count" {
  type    = number
  default = 1
}

job "hello" {
  datacenters = ["dc1"]

  group "web" {
    count = var.count

    network {
      port "http" {
        to = 80
      }
    }

    service {
      name = "hello"
      port = "http"
      tags = ["urlprefix-/hello strip=/hello"]

      check {
        type     = "http"
        path     = "/"
        interval = "10s"
        timeout  = "2s"
      }
    }

    task "nginx" {
      driver = "docker"

      config {
        image = "nginx:1.27-alpine"
        ports = ["http"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
