//! Questions to local APIs and journals, with whatever client a host has.

use crate::shells::server::{Page, Server};
use crate::shells::{Host, call, have, shells};
use bootstrap::model::{Arg, Call};
use indoc::indoc;

const CLIENTS: [&str; 4] = ["curl", "wget", "python3", "perl"];

/// Each shell with each client, the others taken away.
fn each(test: impl Fn(&'static [&'static str], &Host, &str)) {
    for shell in shells() {
        for client in CLIENTS.into_iter().filter(|client| have(client)) {
            let others: Vec<_> = CLIENTS.into_iter().filter(|other| *other != client).collect();
            test(shell, &Host::new().without(&others), &format!("{shell:?} with {client}"));
        }
    }
}

#[test]
fn an_answer_is_its_status_and_body() {
    let server = Server::start();
    let body = indoc! {r#"
        {"Healthy": true,

         "Name": "ü '$(x)' %s"}

    "#};
    server.serve("/v1/health?stale", Page::new(body));
    server.serve("/v1/bad", Page { status: 429, ..Page::new(body) });
    server.serve("/v1/empty", Page::new(""));
    each(|shell, host, what| {
        for (path, status, body) in [
            ("/v1/health?stale", "200", body),
            ("/v1/bad", "429", body),
            ("/v1/empty", "200", ""),
            ("/v1/none", "404", "not here\n"),
        ] {
            let seen = host.ask(shell, call("http_get", &[&format!("{}{path}", server.url)]));
            let seen = seen.of("probe");
            assert_eq!(seen.text("status"), Some(status), "{what} {path}: {seen:?}");
            assert_eq!(seen.text("body"), Some(body), "{what} {path}");
        }
    });
}

#[test]
fn several_answers_stay_in_order() {
    let server = Server::start();
    server.serve("/one", Page::new("\n{\"a\": \"*\"}\n\n"));
    server.serve("/two", Page { status: 500, ..Page::new("") });
    server.serve("/three", Page::new("[1, 2]\n".repeat(20_000)));
    each(|shell, host, what| {
        let urls = ["one", "two", "none", "three"].map(|path| format!("{}/{path}", server.url));
        let seen = host.ask(shell, call("http_get", &urls.each_ref().map(String::as_str)));
        let seen = seen.of("probe");
        assert_eq!(seen.all("status").collect::<Vec<_>>(), ["200", "500", "404", "200"], "{what}");
        let bodies: Vec<_> = seen.all("body").collect();
        assert_eq!(bodies[..3], ["\n{\"a\": \"*\"}\n\n", "", "not here\n"], "{what}");
        assert_eq!(bodies[3].len(), 140_000, "{what}");
    });
}

#[test]
fn who_asks_shows_tokens_that_no_list_of_processes_has() {
    let server = Server::start();
    server.serve("/one", Page::new("1"));
    server.serve("/two", Page::new("2"));
    each(|shell, host, what| {
        server.tokens();
        let urls = ["one", "two"].map(|path| format!("{}/{path}", server.url));
        let asks = call("http_get", &urls.each_ref().map(String::as_str));
        let tokens = "X-Consul-Token: 3b0b8c2e-5d0f\nX-Nomad-Token: 9a55-2a3c";
        let seen = host.ask(shell, asks.clone().made_by("with_headers", [Arg::secret(tokens).unwrap()]));
        if what.ends_with("with wget") {
            // Its arguments could be seen, and it takes them from nowhere else.
            assert!(seen.of("probe").text("error").unwrap().contains("install curl"), "{what}: {seen:?}");
            assert!(server.tokens().is_empty(), "{what}");
            return;
        }
        assert_eq!(seen.of("probe").all("body").collect::<Vec<_>>(), ["1", "2"], "{what}: {seen:?}");
        let shown = ["x-consul-token: 3b0b8c2e-5d0f", "x-nomad-token: 9a55-2a3c"];
        assert_eq!(server.tokens(), [shown, shown], "{what}");
        // Whoever asks next has none.
        host.ask(shell, asks);
        assert_eq!(server.tokens(), [[""; 0], [""; 0]], "{what}");
    });
}

#[test]
fn a_request_is_sent_as_it_was_written() {
    let server = Server::start();
    server.serve("/v1/kv/a", Page { status: 500, ..Page::new("no \"leader\"\n") });
    for shell in shells() {
        server.tokens();
        server.methods();
        let url = format!("url = \"{}/v1/kv/a\"", server.url);
        let settings = [
            &url,
            "request = \"PUT\"",
            "header = \"X-Consul-Token: 9a55\"",
            r#"data-raw = "{\"a\": \"$(b) `c` \\\\ 'd'\"}""#,
        ];
        let sends = Call::new("http_send", [Arg::secret(settings.join("\n")).unwrap()]);
        let seen = Host::new().ask(shell, sends);
        let seen = seen.of("probe");
        assert_eq!(
            (seen.text("status"), seen.text("body")),
            (Some("500"), Some("no \"leader\"\n")),
            "{shell:?}: {seen:?}"
        );
        assert_eq!(
            (server.methods(), server.tokens()),
            (vec!["PUT".to_owned()], vec![vec!["x-consul-token: 9a55".to_owned()]])
        );
    }
}

#[test]
fn the_first_that_does_not_answer_ends_the_questions() {
    let server = Server::start();
    server.serve("/one", Page::new("1"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    each(|shell, host, what| {
        let (good, bad) = (format!("{}/one", server.url), format!("http://127.0.0.1:{port}/"));
        let seen = host.ask(shell, call("http_get", &[&good, &bad, &good]));
        let seen = seen.of("probe");
        assert_eq!(seen.all("status").collect::<Vec<_>>(), ["200"], "{what}: {seen:?}");
        assert!(seen.has("error"), "{what}: {seen:?}");
    });
}

#[test]
fn no_answer_is_an_error() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    each(|shell, host, what| {
        let seen = host.ask(shell, call("http_get", &[&format!("http://127.0.0.1:{port}/")]));
        assert!(!seen.of("probe").has("status"), "{what}: {seen:?}");
        assert!(seen.of("probe").has("error"), "{what}: {seen:?}");
    });
}

#[test]
fn a_silent_server_is_given_up_soon() {
    // Connections wait in the queue of a listener that never accepts.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    for client in CLIENTS.into_iter().filter(|client| have(client) && have("dash")) {
        let others: Vec<_> = CLIENTS.into_iter().filter(|other| *other != client).collect();
        let host = Host::new().without(&others);
        let began = std::time::Instant::now();
        let seen = host.ask(&["dash"], call("http_get", &[&url]));
        assert!(seen.of("probe").has("error"), "{client}: {seen:?}");
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{client}: {:?}", began.elapsed());
    }
}

#[test]
fn a_host_without_any_client_says_what_to_install() {
    for shell in shells() {
        let seen = Host::new().without(&CLIENTS).ask(shell, call("http_get", &["http://127.0.0.1:1/"]));
        assert!(
            seen.of("probe").text("error").unwrap().contains("install curl, wget"),
            "{shell:?}: {seen:?}"
        );
    }
}

/// Without TLS, which is curl's own; what is asked for and what comes of it is the same.
#[test]
fn who_asks_by_certificate_learns_of_each_question_what_came_of_it() {
    let server = Server::start();
    server.serve("/readyz?verbose", Page { status: 500, ..Page::new("[+]ping ok\n[-]etcd failed\n\n") });
    server.serve("/one", Page::new("1"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let urls = [
        format!("{}/readyz?verbose", server.url),
        format!("http://127.0.0.1:{port}/"),
        format!("{}/one", server.url),
    ];
    for shell in shells() {
        let host = Host::new();
        host.write("own.pem", "");
        let file = host.at("own.pem");
        let path = file.as_str();
        let words: Vec<&str> =
            urls.iter().flat_map(|url| [url.as_str(), path, path, path, "application/json", ""]).collect();
        let seen = host.ask(shell, call("tls_get", &words));
        let seen = seen.of("probe");
        assert_eq!(seen.all("status").collect::<Vec<_>>(), ["500", "0", "200"], "{shell:?}: {seen:?}");
        let bodies: Vec<_> = seen.all("body").collect();
        assert_eq!((bodies[0], bodies[2]), ("[+]ping ok\n[-]etcd failed\n\n", "1"), "{shell:?}");
        assert!(bodies[1].starts_with("curl: (7)"), "{shell:?}: {}", bodies[1]);

        let absent = host.at("absent.pem");
        let seen = host.ask(shell, call("tls_get", &[&urls[2], &file, &absent, &file, "", ""]));
        let reason = seen.of("probe").text("error").unwrap().to_owned();
        assert!(reason.contains(&absent) && !seen.of("probe").has("status"), "{shell:?}: {reason}");
    }
}

#[test]
fn a_put_is_sent_by_what_a_host_has() {
    for shell in shells() {
        for without in [&[][..], &["curl"]] {
            let host = Host::new().without(without);
            let server = Server::start();
            server.serve("/purge", Page::new("{}"));
            let put = |path: &str| {
                host.apply(shell, vec![call("http_put_until", &["1", &format!("{}{path}", server.url)])])
            };
            assert_eq!(put("/purge"), (0, String::new()), "{shell:?} without {without:?}");
            assert_eq!(server.methods(), ["PUT"], "{shell:?} without {without:?}");
            assert_ne!(put("/elsewhere").0, 0, "{shell:?} without {without:?}");
        }
    }
}
