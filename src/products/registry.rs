//! Every product that there is.

use super::{Gate, consul, etcd, kubernetes, nomad};

impl Gate {
    /// Every part of every product.
    pub const ALL: [Self; 8] = [
        consul::SERVERS,
        consul::CLIENTS,
        nomad::SERVERS,
        nomad::CLIENTS,
        etcd::MEMBERS,
        kubernetes::CONTROL_PLANES,
        kubernetes::API_SERVERS,
        kubernetes::WORKERS,
    ];

    /// The products whose agents serve pages for people, by name.
    pub fn products_with_pages() -> Vec<&'static str> {
        let mut names: Vec<&str> = Self::ALL
            .iter()
            .filter(|gate| gate.product().ui().is_some())
            .map(|gate| gate.product().name())
            .collect();
        names.dedup();
        names
    }

    /// The part of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|gate| gate.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_product_reads_where_its_data_is_from_its_own_configuration() {
        for (gate, configuration, data) in [
            ("consul-servers", r#"{"data_dir": "/opt/consul", "server": true}"#, Some("/opt/consul")),
            ("consul-servers", r#"{"server": true}"#, None),
            ("consul-servers", "data_dir = 1", None),
            ("nomad-servers", r#"{"data_dir": "/opt/nomad"}"#, Some("/opt/nomad/server")),
            ("etcd-members", "ETCD_NAME=a\nETCD_DATA_DIR=/var/lib/etcd\n", Some("/var/lib/etcd")),
            ("kube-control-planes", r#"{"data_dir": "/a"}"#, None),
        ] {
            let product = Gate::parse(gate).unwrap().product();
            assert_eq!(product.data_in(configuration).as_deref(), data, "{gate}: {configuration}");
        }
    }

    #[test]
    fn what_is_removed_of_a_folder_is_never_the_folder_of_others() {
        for gate in Gate::ALL {
            let product = gate.product();
            let data = if product.name() == "nomad" { "/data/server" } else { "/data" };
            let (state, membership) = (product.state(data), product.membership(data));
            assert!(state.iter().all(|path| path.starts_with("/data/") && path != "/data/"), "{state:?}");
            assert!(membership.iter().all(|path| state.contains(path)), "{membership:?} of {state:?}");
        }
    }
}
