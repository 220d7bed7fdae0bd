# Sets up many hosts by several clients of a cluster that stands: each runs `bootstrap up --shard I/N` for its part of an inventory.
# All clients have the same folder, a share of NFS or a copy: the program `bootstrap`, the inventory, the folder `.bootstrap` that
# the first `up` has made beside it, and whatever the inventory names (keys for SSH, `known_hosts`).

variable "datacenters" {
  type    = list(string)
  default = ["dc1"]
}

variable "folder" {
  type    = string
  default = "/srv/bootstrap"
}

# Its name in the folder: one with all the hosts, and without this job.
variable "inventory" {
  type    = string
  default = "inventory.yaml"
}

variable "shards" {
  type    = number
  default = 3
}

# How long a gate may take. The servers are in the first part: the others wait for them.
variable "timeout" {
  type    = string
  default = "10m"
}

job "bootstrap-shards" {
  datacenters = var.datacenters
  type        = "batch"

  group "shard" {
    count = var.shards

    spread {
      attribute = "${node.unique.id}"
    }

    # A run goes on where the one before it ended.
    restart {
      attempts = 2
      interval = "1h"
      delay    = "15s"
      mode     = "fail"
    }

    reschedule {
      attempts  = 0
      unlimited = false
    }

    # Without isolation: it uses the client's own ssh.
    task "up" {
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args = [
          "-c",
          "exec \"$0/bootstrap\" up \"$0/$1\" --shard \"$((NOMAD_ALLOC_INDEX + 1))/$2\" --timeout \"$3\"",
          var.folder,
          var.inventory,
          "${var.shards}",
          var.timeout,
        ]
      }

      resources {
        cpu    = 100
        memory = 256
      }
    }
  }
}
