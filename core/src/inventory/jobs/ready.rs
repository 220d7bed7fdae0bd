//! Jobs that come with the program.

/// By name.
pub const READY: [(&str, &str); 4] = [
    ("bootstrap-shards", include_str!("ready/bootstrap-shards.nomad.hcl")),
    ("fabio", include_str!("ready/fabio.nomad.hcl")),
    ("demo-http", include_str!("ready/demo-http.nomad.hcl")),
    ("demo-tcp", include_str!("ready/demo-tcp.nomad.hcl")),
];

pub fn ready(name: &str) -> Option<&'static str> {
    READY.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
