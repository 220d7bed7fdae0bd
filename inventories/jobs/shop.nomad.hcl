# A web server on shared data. It runs as the data's owner, and reads what every host has mounted.
variable "count" {
  type    = number
  default = 1
}

job "shop" {
  datacenters = ["dc1"]

  group "web" {
    count = var.count

    # One a host: what one loses, another serves on.
    constraint {
      distinct_hosts = true
    }

    volume "app1" {
      type   = "host"
      source = "app1"
    }

    network {
      port "http" {
        to = 8080
      }
    }

    service {
      name = "shop"
      port = "http"
      tags = ["urlprefix-/shop strip=/shop"]

      check {
        type     = "http"
        path     = "/"
        interval = "10s"
        timeout  = "2s"
      }
    }

    task "nginx" {
      driver = "docker"
      user   = "2020:2020"

      config {
        image = "nginxinc/nginx-unprivileged:1.27-alpine"
        ports = ["http"]

        # The image's server, with another folder.
        volumes = ["local/shop.conf:/etc/nginx/conf.d/default.conf"]
      }

      volume_mount {
        volume      = "app1"
        destination = "/data/app1"
        read_only   = true
      }

      template {
        destination = "local/shop.conf"
        data        = <<SERVER
server {
  listen 8080;
  root /data/app1/static;
  autoindex on;
}
SERVER
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
