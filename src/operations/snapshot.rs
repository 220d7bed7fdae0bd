//! Saves and restores the state of raft through the API of a server.

use std::io::Write;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Value;

use super::observed_hosts::ObservedHosts;
use crate::engine::api::{AGENT, Socket, Tls};
use crate::engine::observe::ClusterAnswers;
use crate::engine::{EngineError, Options, Run, file};
use crate::model::{Check, Finding, HostName, LOOPBACK};
use crate::products::snapshot::Snapshot;
use crate::products::{Gate, TlsFiles, Transfer};
use crate::ssh::Connection;

/// A large state takes long to write.
const TRANSFER: Duration = Duration::from_secs(30 * 60);
/// After a change of peers raft takes no snapshot before the next write (hashicorp/raft, `runFSM` and `takeSnapshot`); an
/// idle Consul writes within seconds.
const UNSETTLED: &str = "cannot take snapshot now";
const SETTLED: Duration = Duration::from_secs(60);
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// A raft cluster of the inventory that has a leader, and a way to one of its servers.
pub struct SnapshotSource {
    pub gate: Gate,
    /// The server that is asked: the leader where it can be.
    pub host: HostName,
    /// Where its log stands, of a product whose snapshots do not say so.
    pub position: Option<Snapshot>,
    pub(crate) socket: Socket,
    transfer: Transfer,
}

impl ObservedHosts {
    /// Every raft cluster of the inventory.
    ///
    /// # Errors
    /// One has no leader, or its API is out of reach.
    pub async fn snapshot_sources(&self, run: Run<'_>) -> Result<Vec<SnapshotSource>, EngineError> {
        let mut sources = Vec::new();
        let mut refused = Vec::new();
        for cluster in self.observed.clusters.iter().filter(|cluster| cluster.gate.snapshots().is_some()) {
            match self.open(run, cluster).await {
                Ok(cluster) => sources.push(cluster),
                Err(finding) => refused.push(finding),
            }
        }
        if refused.is_empty() { Ok(sources) } else { Err(EngineError::Unfit(refused)) }
    }

    async fn open(&self, run: Run<'_>, cluster: &ClusterAnswers) -> Result<SnapshotSource, Finding> {
        let gate = cluster.gate;
        let refuse = |reason: String, remedy: &str| {
            Finding::error(Check::Quorum, Vec::new(), format!("{}: {reason}", gate.name()), remedy.to_owned())
        };
        let leader = self.observed.seen.cluster_states.get(gate.name()).and_then(|now| now.leader.clone());
        let Some(leader) = leader else {
            return Err(refuse(
                "nobody leads".to_owned(),
                "`bootstrap health` says why; `bootstrap up` starts what is stopped; where quorum is lost for good, `bootstrap recover`",
            ));
        };
        let mut hosts: Vec<&HostName> =
            cluster.answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(host, _)| host).collect();
        hosts.sort_by_key(|host| **host != leader);
        for name in hosts {
            let host = run.wanted.hosts.iter().find(|wanted| wanted.host.name == *name);
            let (Some(host), Some(connection)) = (host, self.fleet.connections.get(name)) else { continue };
            let Some(snapshots) = gate.snapshots() else { continue };
            let position = cluster.answers.get(name).and_then(|answer| snapshots.position(answer));
            let transfer = snapshots.transfer();
            let socket = match transfer {
                Transfer::Stream { port, files, .. } => {
                    gateway(connection, (LOOPBACK, port), files, TRANSFER, run.options).await
                }
                Transfer::Api { .. } => match host.endpoint(gate.name()) {
                    Some(endpoint) => {
                        let header = gate.header(endpoint.tokens.manage.as_ref());
                        Socket::signed(connection, endpoint.port, TRANSFER, header).await
                    }
                    None => None,
                },
            };
            if let Some(socket) = socket {
                return Ok(SnapshotSource { gate, host: name.clone(), position, socket, transfer });
            }
        }
        Err(refuse(
            "no server's API can be reached".to_owned(),
            "snapshots go through a forwarded socket: allow `AllowStreamLocalForwarding` in one server's sshd",
        ))
    }
}

impl SnapshotSource {
    /// Writes a snapshot of the state to `file`, byte by byte as it comes: how many. Nothing is checked yet.
    ///
    /// # Errors
    /// The API's own words, or why it cannot be written.
    pub async fn save(&self, file: &mut impl Write) -> Result<u64, String> {
        let path = match self.transfer {
            Transfer::Api { path } => path,
            Transfer::Stream { path, .. } => return self.save_stream(path, file).await,
        };
        let deadline = Instant::now() + SETTLED;
        let response = loop {
            let response = self.socket.http.get(format!("{AGENT}{path}")).send().await;
            match said(response).await {
                Err(reason) if reason.contains(UNSETTLED) && Instant::now() < deadline => {
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
                response => break response?,
            }
        };
        let mut stream = response.bytes_stream();
        let mut bytes = 0;
        while let Some(chunk) = stream.next().await {
            let chunk =
                chunk.map_err(|error| format!("the transfer broke off after {bytes} bytes: {error}"))?;
            file.write_all(&chunk).map_err(|error| format!("cannot write it: {error}"))?;
            bytes += chunk.len() as u64;
        }
        Ok(bytes)
    }

    /// The gateway sends the state in pieces, each in a line of JSON.
    async fn save_stream(&self, path: &str, file: &mut impl Write) -> Result<u64, String> {
        let request = self.socket.http.post(format!("https://localhost{path}")).body("{}");
        let mut stream = said(request.send().await).await?.bytes_stream();
        let (mut bytes, mut line) = (0, Vec::new());
        while let Some(chunk) = stream.next().await {
            let chunk =
                chunk.map_err(|error| format!("the transfer broke off after {bytes} bytes: {error}"))?;
            line.extend_from_slice(&chunk);
            while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let rest = line.split_off(end + 1);
                bytes += piece(&line, file)?;
                line = rest;
            }
        }
        Ok(bytes + piece(&line, file)?)
    }

    /// Replaces the whole state with that of a snapshot.
    ///
    /// # Errors
    /// The API's own words.
    pub(super) async fn restore(&self, snapshot: Vec<u8>) -> Result<(), String> {
        let (Transfer::Api { path } | Transfer::Stream { path, .. }) = self.transfer;
        let request = self.socket.http.put(format!("{AGENT}{path}"));
        let response = request.header(CONTENT_TYPE, "application/octet-stream").body(snapshot).send().await;
        said(response).await.map(drop)
    }
}

/// A way to an API at an address that the host reaches, by a certificate that lies there.
pub(super) async fn gateway(
    connection: &Connection,
    to: (&str, u16),
    files: TlsFiles,
    patience: Duration,
    options: &Options,
) -> Option<Socket> {
    let certificate = file::read(connection, files.certificate, options).await?;
    let key = file::read(connection, files.key, options).await?;
    let authority = file::read(connection, files.authority, options).await?;
    let tls = Tls { authority, identity: certificate + &key };
    Socket::open_tls(connection, to, patience, &tls).await
}

/// One message of etcd's gateway, `{"result":{"blob":"…"}}`: how many bytes of the snapshot are in it.
fn piece(line: &[u8], file: &mut impl Write) -> Result<u64, String> {
    #[derive(Deserialize)]
    struct Message {
        result: Option<Piece>,
        error: Option<Value>,
    }
    #[derive(Deserialize)]
    struct Piece {
        #[serde(default)]
        blob: String,
    }
    if line.trim_ascii().is_empty() {
        return Ok(0);
    }
    let unreadable = |error: String| format!("what etcd sent is not understood: {error}");
    let message: Message = serde_json::from_slice(line).map_err(|error| unreadable(error.to_string()))?;
    if let Some(error) = message.error {
        return Err(format!("etcd broke off: {error}"));
    }
    let blob = STANDARD.decode(message.result.map(|piece| piece.blob).unwrap_or_default());
    let blob = blob.map_err(|error| unreadable(error.to_string()))?;
    file.write_all(&blob).map_err(|error| format!("cannot write it: {error}"))?;
    Ok(blob.len() as u64)
}

async fn said(response: reqwest::Result<Response>) -> Result<Response, String> {
    let response = response.map_err(|error| format!("its API does not answer: {error}"))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text: String = response.text().await.unwrap_or_default().chars().take(300).collect();
    Err(format!("its API says {status}: {}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_etcds_database() {
        let mut file = Vec::new();
        let line = br#"{"result":{"header":{},"remaining_bytes":"3","blob":"YWJj"}}"#;
        assert_eq!((piece(line, &mut file), piece(b"\n", &mut file)), (Ok(3), Ok(0)));
        assert_eq!(file, b"abc");
        let refused = piece(br#"{"error":{"message":"etcdserver: no leader"}}"#, &mut file).unwrap_err();
        assert!(refused.contains("no leader"), "{refused}");
        assert!(piece(b"<html>", &mut file).unwrap_err().contains("not understood"));
    }
}
