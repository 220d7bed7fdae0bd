# Written by bootstrap.
consul { token = "{{ nginx.consul_token }}" }
