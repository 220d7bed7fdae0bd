//! What the role `mariadb` renders and refuses.

use crate::rendered::{self, refused, shell_faults, shown, snapshots};
use indoc::formatdoc;

/// MariaDB on two of three hosts; `values` are of `vars.mariadb`.
fn inventory(values: &str) -> String {
    formatdoc!(
        r#"
            cluster: plant
            hosts:
              node-1: {{ address: 10.0.0.11, roles: [consul-server, mariadb] }}
              node-2: {{ address: 10.0.0.12, roles: [consul-client, mariadb] }}
            vars:
              mariadb: {values}
        "#
    )
}

#[test]
fn one_of_two_hosts_serves() {
    let text = inventory(
        r#"{ data: /srv/db, database: shop, password: "a'b\\c", settings: { innodb_buffer_pool_size: 1G }, backup_dir: /srv/backups }"#,
    );
    let mut files = rendered::files(&text, "node-1");
    assert_eq!(shell_faults(&files), "");
    files.retain(|path, _| path.contains("mariadb"));
    snapshots("mariadb").bind(|| insta::assert_snapshot!("node-1", shown(&files)));
    // Not a word of an application where there is none.
    let files = rendered::files(&inventory("{ data: /srv/db }"), "node-2");
    let start = &files["/etc/bootstrap-mariadb/start.sql"];
    assert!(!start.contains("app") && start.matches("GRANT").count() == 1, "{start}");
    assert!(!files.keys().any(|path| path.contains("backup")), "{:?}", files.keys());
}

#[test]
fn what_cannot_be_is_refused() {
    let alone = inventory("{ data: /srv/db }").replace("[consul-client, mariadb]", "[consul-client]");
    for (text, said) in [
        (alone, "one host alone can fail over to nobody"),
        (
            inventory("{ data: /srv/db }").replace("[consul-client, mariadb]", "[mariadb]"),
            "a lease of Consul",
        ),
        (inventory(r#"{ data: /srv/db, password: "a\nb" }"#), "more than one line"),
        (inventory(r#"{ data: /srv/db, settings: { port: "1\nsocket = x" } }"#), "more than one line"),
        (inventory("{ data: /srv/db, backup_keep: 0 }"), "1 or more"),
        (inventory("{}"), "mariadb.data"),
    ] {
        let problems = refused(&text);
        assert!(problems.contains(said), "{said}: {problems}");
    }
}
