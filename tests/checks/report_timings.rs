//! The page of `--timings`: what it says of a run, that it needs nothing but itself, and that what a
//! host printed stays text.

use crate::runs;
use std::time::Duration;

use bootstrap::model::{Event, HostName, StageName, StepId, StepOutcome};
use bootstrap::report::{Output, RenderOptions, Timings, events, render};
use jiff::Timestamp;

fn began() -> Timestamp {
    "2026-11-21T00:12:03Z".parse().unwrap()
}

fn recorded(run: runs::Run) -> Timings {
    let mut timings = Timings::new(began());
    for (at, event) in run {
        timings.record(&event, Duration::from_millis(at));
    }
    timings
}

fn snapshot(name: &str, timings: &Timings) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../cases/report");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut data = timings.data();
    data["version"] = "[version]".into();
    settings.bind(|| insta::assert_snapshot!(name, rows(&data)));
}

/// JSON with a line for each span: short enough to be read in a review.
fn rows(data: &serde_json::Value) -> String {
    let mut text = String::new();
    for (key, value) in data.as_object().unwrap() {
        match value.as_array() {
            Some(entries) if key == "hosts" => {
                for host in entries {
                    text += &format!("host {} {} {}\n", host["name"], host["result"], host["error"]);
                    for span in host["spans"].as_array().unwrap() {
                        text += &format!("  span {span}\n");
                    }
                    for wait in host["waits"].as_array().unwrap() {
                        text += &format!("  wait {wait}\n");
                    }
                }
            }
            Some(entries) => entries.iter().for_each(|entry| text += &format!("{key} {entry}\n")),
            None => text += &format!("{key} {value}\n"),
        }
    }
    text
}

/// What a browser takes for the content of the page's data block.
fn data_block(page: &str) -> &str {
    let (_, rest) = page.split_once(r#"<script type="application/json" id="run">"#).unwrap();
    rest.split_once("</script>").unwrap().0
}

#[test]
fn what_each_host_did_and_waited_for() {
    for (name, run) in [
        ("timings-first", runs::first(3)),
        ("timings-failed-host", runs::failed_host(3)),
        ("timings-gate-timeout", runs::gate_timeout()),
    ] {
        snapshot(name, &recorded(run));
    }
}

#[test]
fn a_run_that_was_cut_short_shows_what_was_in_hand() {
    let run = runs::first(3);
    let cut = run.iter().position(|(_, event)| matches!(event, Event::StepFinished { .. })).unwrap();
    let data = recorded(run[..cut].to_vec()).data();
    assert_eq!(data["finished"], false);
    let spans = data["hosts"][0]["spans"].as_array().unwrap();
    let last = spans.last().unwrap();
    assert_eq!((&last["result"], &last["end"]), (&"unfinished".into(), &data["end"]));
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let page = recorded(runs::first(3)).page();
    let text = page.to_lowercase();
    // Of a page that loads nothing, the only address is the one SVG and its kin are named by.
    for trace in
        ["http://", "https://", "//cdn", " src=", "href=", "url(", "@import", "fetch(", "xmlhttp", "import("]
    {
        assert!(!text.contains(trace), "the page has {trace}");
    }
    assert!(text.contains("default-src 'none'"));
    serde_json::from_str::<serde_json::Value>(data_block(&page)).unwrap();
}

#[test]
fn what_a_host_printed_stays_text() {
    let hostile = "</script><script>alert(1)</script><!-- <script> --> <img src=x onerror=alert(1)> & \u{2028}\u{2029} \
                   ]]> \"'` ${x} \\u003c \u{1b}[2J \u{202e}gnp.exe";
    let host = HostName::parse("node-1").unwrap();
    let (stage, step) = (StageName(hostile.into()), StepId(format!("file /tmp/{hostile}")));
    let run: runs::Run = vec![
        (0, Event::RunStarted { command: "up".into(), cluster: hostile.into(), hosts: vec![host.clone()] }),
        (5, Event::HostConnected { host: host.clone(), elapsed_ms: 5 }),
        (9, Event::HostObserved { host: host.clone(), elapsed_ms: 9 }),
        (10, Event::StageStarted { stage: stage.clone(), hosts: vec![host.clone()], steps: 1 }),
        (11, Event::StepStarted { host: host.clone(), stage: stage.clone(), step: step.clone() }),
        (
            12,
            Event::StepFinished {
                host: host.clone(),
                stage,
                step,
                outcome: StepOutcome::Failed { output: hostile.into() },
                elapsed_ms: 1,
            },
        ),
        (
            13,
            Event::GateFailed {
                gate: hostile.into(),
                reason: hostile.into(),
                output: hostile.into(),
                elapsed_ms: 1,
            },
        ),
        (14, Event::Warning { host: None, message: hostile.into() }),
        (15, Event::HostFailed { host, error: hostile.into() }),
    ];
    let timings = recorded(run);
    let page = timings.page();
    // The data, our script and the ends of both: nothing else opens or closes an element for a script.
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<img") && !page.contains("<!--"), "host output is markup in the page");
    let block = data_block(&page);
    for raw in ['<', '>', '&', '\u{2028}', '\u{2029}', '\u{1b}', '\u{202e}'] {
        assert!(!block.contains(raw), "{raw:?} stands in the data as it is");
    }
    let read: serde_json::Value = serde_json::from_str(block).unwrap();
    assert_eq!(read, timings.data(), "the data was changed on its way into the page");
    let output = read["hosts"][0]["spans"][2]["output"].as_str().unwrap();
    assert!(output.starts_with("</script><script>alert(1)"), "{output}");
}

#[tokio::test]
async fn the_report_records_when_events_were_sent() {
    let (events, receiver) = events();
    let options = RenderOptions {
        timings: Some(Timings::new(began())),
        stderr: Box::new(std::io::sink()),
        ..RenderOptions::new(Output::Plain)
    };
    for (_, event) in runs::nothing_to_do(1) {
        events.send(event);
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(events);
    // Only now is anything rendered, and the times are still those of the sending.
    let data = render(receiver, options).await.timings.unwrap().data();
    let span = &data["hosts"][0]["spans"][1];
    let (start, end) = (span["start"].as_u64().unwrap(), span["end"].as_u64().unwrap());
    assert!(start >= 20 && end >= start + 20, "{span}");
    assert_eq!(data["finished"], true);
}

#[test]
fn the_page_takes_its_place_in_one_rename() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.html");
    std::fs::write(&file, "an older page").unwrap();
    let timings = recorded(runs::first(3));
    timings.write(&file).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), timings.page());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file is left");
    let missing = folder.path().join("no/run.html");
    assert!(timings.write(&missing).is_err());
}

#[test]
fn a_run_that_failed_leaves_its_page() {
    let folder = tempfile::tempdir().unwrap();
    let inventory = r#"
cluster: dc1
ssh: { user: root, port: 1 }
hosts: { "node-[1-3]": { address: "127.0.0.[1-3]" } }
groups: { servers: { hosts: ["node-*"], roles: [consul-server] } }
"#;
    std::fs::write(folder.path().join("inventory.yaml"), inventory).unwrap();
    let bootstrap = |command: &str, page: &str| {
        let mut call = std::process::Command::new(env!("CARGO_BIN_EXE_bootstrap"));
        call.current_dir(folder.path()).args([
            command,
            "inventory.yaml",
            "--timeout",
            "1s",
            "--timings",
            page,
        ]);
        call.output().unwrap()
    };
    for command in ["up", "plan"] {
        let ran = bootstrap(command, "run.html");
        assert_ne!(ran.status.code(), Some(0), "{ran:?}");
        let page = std::fs::read_to_string(folder.path().join("run.html")).unwrap();
        std::fs::remove_file(folder.path().join("run.html")).unwrap();
        let data: serde_json::Value = serde_json::from_str(data_block(&page)).unwrap();
        assert_eq!(data["command"], command);
        assert_eq!(data["hosts"][2]["result"], "failed", "{data}");
        assert!(data["hosts"][2]["error"].as_str().unwrap().contains("cannot be reached"), "{data}");
    }
    // Known before anything is done.
    let ran = bootstrap("up", "no/run.html");
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("its folder does not exist"), "{ran:?}");
}

/// Pages for eyes: `TIMINGS=/tmp/pages cargo test --test checks -- --ignored demo_`.
#[test]
#[ignore = "writes pages for people"]
fn demo_pages() {
    let folder = std::path::PathBuf::from(std::env::var("TIMINGS").expect("TIMINGS names a folder"));
    for (name, run) in [
        ("first-3", runs::first(3)),
        ("first-100", runs::first(100)),
        ("nothing-100", runs::nothing_to_do(100)),
        ("failed-12", runs::failed_host(12)),
        ("gate", runs::gate_timeout()),
    ] {
        recorded(run).write(&folder.join(format!("{name}.html"))).unwrap();
    }
}
