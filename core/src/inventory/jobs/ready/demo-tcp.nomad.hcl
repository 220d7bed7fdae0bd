# A service over TCP that says its name and then repeats each line. It needs nothing but
# perl on the clients, which every Debian and Ubuntu has.

variable "datacenters" {
  type    = list(string)
  default = ["dc1"]
}

variable "driver" {
  type    = string
  default = "exec"
}

variable "count" {
  type    = number
  default = 1
}

# The name in Consul: NAME.service.consul.
variable "service" {
  type    = string
  default = "demo-tcp"
}

# The port on which fabio takes connections for it; one of the job fabio's `tcp` listeners.
variable "route_port" {
  type    = number
  default = 1234
}

job "demo-tcp" {
  datacenters = var.datacenters

  group "tcp" {
    count = var.count

    update {
      max_parallel      = 1
      min_healthy_time  = "2s"
      healthy_deadline  = "1m"
      progress_deadline = "2m"
    }

    network {
      port "tcp" {}
    }

    service {
      name = var.service
      port = "tcp"
      tags = ["urlprefix-:${var.route_port} proto=tcp", "tcp"]

      check {
        type     = "tcp"
        interval = "3s"
        timeout  = "2s"
      }
    }

    task "serve" {
      driver = var.driver

      config {
        command = "/usr/bin/perl"
        args    = ["local/serve.pl"]
      }

      template {
        destination = "local/serve.pl"
        data        = <<PROGRAM
use strict;
use warnings;
use IO::Socket::INET;

my $listener = IO::Socket::INET->new(
    LocalAddr => $ENV{NOMAD_IP_tcp}, LocalPort => $ENV{NOMAD_PORT_tcp}, Listen => 64, ReuseAddr => 1,
) or die "cannot listen: $@\n";
$SIG{CHLD} = "IGNORE";
while (1) {
    my $client = $listener->accept or next;
    next if fork;
    $client->autoflush(1);
    print $client "${var.service}\n";
    while (my $line = <$client>) { print $client $line }
    exit;
}
PROGRAM
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
