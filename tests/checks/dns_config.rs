//! What role `dns` wants on each kind of host, as snapshots, and what it refuses.

use crate::rendered;
use indoc::formatdoc;
use std::fmt::Write as _;

use bootstrap::facts::{Facts, PackageManager, Resolved, Resolver, ResolverKind};
use bootstrap::model::HostName;
use bootstrap::roles::{ClusterAddresses, Formed, Wanted, WantedHost};

fn facts(resolver: Resolver) -> Facts {
    Facts { package_manager: Some(PackageManager::Apt), resolver, ..rendered::facts() }
}

fn plain() -> Resolver {
    Resolver {
        seen: "a file".into(),
        nameservers: ["10.0.0.2", "10.0.0.3", "10.0.0.4"].map(str::to_owned).into(),
        lines: vec!["search a.example b.example".into(), "options timeout:1 rotate ndots:2".into()],
        ..Resolver::default()
    }
}

/// A host whose /etc/resolv.conf leads to systemd-resolved.
fn resolved(version: u32, routes: bool) -> Resolver {
    Resolver {
        kind: ResolverKind::SystemdResolved,
        seen: "a link to /run/systemd/resolve/stub-resolv.conf".into(),
        stub: true,
        nameservers: vec!["127.0.0.53".into()],
        lines: vec!["options edns0 trust-ad".into()],
        resolved: Some(Resolved { version, listens: true, routes, nss: false }),
        ..Resolver::default()
    }
}

fn resolvconf() -> Resolver {
    let seen = "a link to /run/resolvconf/resolv.conf".into();
    Resolver { kind: ResolverKind::Resolvconf, seen, ..plain() }
}

/// Three servers and a host without an agent, settled for what one of them says.
fn settled(host: &str, facts: &Facts, variables: &str) -> (Wanted, ClusterAddresses) {
    let text = formatdoc!(
        r#"
            cluster: dc1
            hosts:
              node-[1-3]: {{ address: "10.0.0.1[1-3]" }}
              app-1: {{ address: 10.0.0.21 }}
            groups:
              servers: {{ hosts: ["node-*"], roles: [consul-server, dns] }}
              apps: {{ hosts: [app-1], roles: [dns] }}
            vars:
              consul:
                version: 1.21.4
            {variables}"#
    );
    let wanted = rendered::wanted(&text);
    let addresses = rendered::addresses(&wanted);
    let name = HostName::parse(host).unwrap();
    let settled = wanted.with_facts(|host| (*host == name).then_some(facts), &Formed::default(), &addresses);
    let settled = settled.unwrap_or_else(|errors| panic!("{errors:?}"));
    (settled, addresses)
}

/// The role's part of a host: what is refused, or the resources with their contents and the lookups.
fn shown(host: &str, facts: &Facts, variables: &str) -> String {
    let (wanted, addresses) = settled(host, facts, variables);
    let of_host: &WantedHost = wanted.host(&HostName::parse(host).unwrap()).unwrap();
    let role = of_host.roles.iter().find(|role| role.name.as_str() == "dns").unwrap();
    let mut text = String::new();
    for refused in &role.refused {
        writeln!(text, "refused: {}\n  remedy: {}", refused.reason, refused.remedy).unwrap();
    }
    if !role.refused.is_empty() {
        return text;
    }
    for resource in &role.resources {
        let resolved = wanted
            .resolved(of_host, role, resource, &of_host.late(facts, &wanted.everyone(&addresses)))
            .unwrap();
        writeln!(text, "==> {}", resolved.id()).unwrap();
        text.push_str(resolved.content().unwrap_or_default());
    }
    for port in &role.ports {
        let at: Vec<_> = port.at.iter().flatten().collect();
        writeln!(text, "==> port {} at {at:?}", port.number).unwrap();
    }
    for proof in &role.proofs {
        writeln!(text, "==> {:?}", proof.proof.asked).unwrap();
    }
    text
}

fn snapshots() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../cases/dns");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

#[test]
fn each_kind_of_host() {
    let writers = |mut facts: Facts, writers: &[&str]| {
        facts.resolver_writers = writers.iter().map(|word| (*word).to_owned()).collect();
        facts
    };
    snapshots().bind(|| {
        insta::assert_snapshot!("plain", shown("node-1", &facts(plain()), ""));
        let rewritten = writers(facts(plain()), &["network-manager", "dhclient", "dhcpcd"]);
        insta::assert_snapshot!("plain-with-writers", shown("node-1", &rewritten, ""));
        insta::assert_snapshot!("resolvconf", shown("node-1", &facts(resolvconf()), ""));
        insta::assert_snapshot!("resolved-252", shown("node-1", &facts(resolved(252, true)), ""));
        insta::assert_snapshot!("resolved-245-falls-back", shown("node-1", &facts(resolved(245, true)), ""));
        let port = "    dns_port: 53\n";
        insta::assert_snapshot!(
            "resolved-245-with-port-53",
            shown("node-1", &facts(resolved(245, true)), port)
        );
        insta::assert_snapshot!("plain-with-port-53", shown("node-1", &facts(plain()), port));
        let outside = "    domain: corp\n  dns: { outside_name: example.org }\n";
        insta::assert_snapshot!("no-agent", shown("app-1", &facts(plain()), outside));
        insta::assert_snapshot!("no-agent-resolved", shown("app-1", &facts(resolved(257, true)), outside));
    });
}

#[test]
fn a_second_run_wants_the_same() {
    for (host, resolver) in [
        ("node-1", plain()),
        ("node-1", resolvconf()),
        ("node-1", resolved(252, true)),
        ("node-1", resolved(252, false)),
    ] {
        let first = shown(host, &facts(resolver.clone()), "");
        let (_, kept) = first.split_once("==> file /var/lib/bootstrap/resolver\n").unwrap();
        let (kept, _) = kept.split_once("==>").unwrap();
        let kept: Resolver = serde_json::from_str(kept).unwrap();
        assert!(kept.set_up_as.is_some());
        assert_eq!(Resolver { set_up_as: None, ..kept.clone() }, resolver);
        assert_eq!(shown(host, &facts(kept), ""), first);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let unknown =
        Resolver { kind: ResolverKind::Unknown, seen: "a link to /opt/vpn/resolv.conf".into(), ..plain() };
    let nss = |resolver: Resolver| {
        let resolved = resolver.resolved.clone().map(|resolved| Resolved { nss: true, ..resolved });
        Resolver { resolved, ..resolver }
    };
    let fixed = |why: &str| Facts { resolv_conf_fixed: Some(why.into()), ..facts(plain()) };
    let mode = |mode: &str| format!("  dns: {{ mode: {mode} }}\n");
    let set_up = Resolver { set_up_as: Some("forwarder".into()), ..plain() };
    let cases = [
        ("unknown", facts(unknown.clone()), String::new()),
        ("unknown, but told how", facts(unknown), mode("forwarder")),
        ("other mode", facts(set_up.clone()), mode("resolvconf")),
        ("resolved on plain", facts(plain()), mode("resolved")),
        ("resolved 245", facts(resolved(245, true)), mode("resolved")),
        ("resolved with global servers", facts(resolved(252, false)), mode("resolved")),
        ("resolvconf on plain", facts(plain()), mode("resolvconf")),
        ("nss", facts(nss(resolved(252, false))), String::new()),
        ("nss, but it fits", facts(nss(resolved(252, true))), String::new()),
        ("immutable", fixed("immutable"), String::new()),
        ("mounted", fixed("mounted"), String::new()),
        ("immutable later", Facts { resolver: set_up, ..fixed("immutable") }, String::new()),
        ("nobody to ask", facts(Resolver { nameservers: Vec::new(), ..plain() }), String::new()),
    ];
    let mut text = String::new();
    for (name, facts, variables) in cases {
        let shown = shown("node-1", &facts, &variables);
        let refused = if shown.starts_with("refused") { shown.as_str() } else { "not refused\n" };
        write!(text, "-- {name}\n{refused}").unwrap();
    }
    snapshots().bind(|| insta::assert_snapshot!("refused", text));
}
