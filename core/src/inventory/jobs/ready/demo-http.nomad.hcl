# A page over HTTP, to see jobs, checks, DNS and routes at work. It needs nothing but
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
  default = "demo-http"
}

# What fabio routes here: /PATH, or HOST/PATH.
variable "route" {
  type    = string
  default = "/"
}

variable "text" {
  type    = string
  default = "it works"
}

job "demo-http" {
  datacenters = var.datacenters

  group "http" {
    count = var.count

    update {
      max_parallel      = 1
      min_healthy_time  = "2s"
      healthy_deadline  = "1m"
      progress_deadline = "2m"
    }

    network {
      port "http" {}
    }

    service {
      name = var.service
      port = "http"
      tags = ["urlprefix-${var.route}", "http"]

      check {
        type     = "http"
        path     = "/"
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
        destination = "local/page.txt"
        data        = "${var.text}\n{{ env \"node.unique.name\" }}\n"
      }

      template {
        destination = "local/serve.pl"
        data        = <<PROGRAM
use strict;
use warnings;
use IO::Socket::INET;

my $listener = IO::Socket::INET->new(
    LocalAddr => $ENV{NOMAD_IP_http}, LocalPort => $ENV{NOMAD_PORT_http}, Listen => 64, ReuseAddr => 1,
) or die "cannot listen: $@\n";
open my $file, "<", "local/page.txt" or die "no page: $!\n";
my $page = join "", <$file>;
$SIG{CHLD} = "IGNORE";
while (1) {
    my $client = $listener->accept or next;
    next if fork;
    alarm 10;
    while (my $line = <$client>) { last if $line =~ /^\r?$/ }
    print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: ",
        length $page, "\r\n\r\n", $page;
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
