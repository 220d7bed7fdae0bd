//! Why a resource cannot be read, asked about or planned.

use crate::certificate::CertificateError;
use crate::model::NulInArgument;

/// Why a resource cannot be read, asked about or planned. It names the resource; the caller adds the host.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a resource is one kind and its fields, like `file: {{path: /etc/motd, …}}`")]
    Shape(#[source] serde_json::Error),
    #[error("`release` is one of the things that are downloaded: write `- download: {{ release: … }}`")]
    ReleaseKind,
    #[error("`{id}` holds a character that no shell can carry")]
    Nul {
        id: String,
        #[source]
        source: NulInArgument,
    },
    #[error("the host said nothing about `{key}` of `{id}`")]
    Unanswered { id: String, key: &'static str },
    #[error("the host's answer for `{key}` of `{id}` is not understood: `{text}`")]
    Unknown { id: String, key: &'static str, text: String },
    #[error("`{id}` could not be looked at: {message}")]
    Probe { id: String, message: String },
    #[error("{path} is {found}, wanted {wanted}; move it away, or name another path")]
    WrongType { path: String, found: String, wanted: &'static str },
    #[error("{path} has {size} bytes: too large to be merged")]
    TooLarge { path: String, size: u64 },
    #[error("{path} is not text in UTF-8, so nothing is merged into it")]
    NotText { path: String },
    #[error("{path} is not a JSON object, so nothing is merged into it; mend it on the host first")]
    SeenJson {
        path: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path} names a key twice, so nothing is merged into it; mend it on the host first")]
    DoubleKey { path: String },
    #[error("what is to be merged into {path} is not a JSON object")]
    WantedJson {
        path: String,
        #[source]
        source: serde_json::Error,
    },
    #[error(
        "{path} has a beginning without an end, or more than one block `{marker}`; mend it on the host first"
    )]
    BrokenBlock { path: String, marker: String },
    #[error(
        "{what} {number} of `{wanted}` belongs to `{owner}` on this host; choose another number, or rename that one"
    )]
    NumberTaken { what: &'static str, number: u32, wanted: String, owner: String },
    #[error(
        "`{name}` has the {what} {found}, wanted {wanted}: what it owns would be orphaned, so change it by hand first"
    )]
    NumberDiffers { what: &'static str, name: String, found: String, wanted: u32 },
    #[error("unit `{unit}` is masked; unmask it on the host first")]
    Masked { unit: String },
    #[error("unit `{unit}` needs systemd, which does not run on this host")]
    NoSystemd { unit: String },
    #[error("`{id}` needs a package manager: apt, dnf or apk")]
    NoPackageManager { id: String },
    #[error("the digest of {path} is not known; it must be read before the plan")]
    NoArtifactDigest { path: String },
    #[error("`{path}` is no path below a site: names between slashes, without `..`")]
    ReleasePath { path: String },
    #[error("a release comes over https, not from {url}; name it as a mirror if that is meant")]
    PlainRelease { url: String },
    #[error("`{id}` must have a signature, but no `signing_key` says whose")]
    NoSigningKey { id: String },
    #[error(
        "the archive of the image {image} cannot be at `{url}`: write `https://…`, `http://…`, or `file:///…` on the host"
    )]
    ImageUrl { image: String, url: String },
    #[error("the archive of the image {image} is on the host, at {url}: leave out `via: controller`")]
    ImageOnHost { image: String, url: String },
    #[error("the image {image} needs a `sha256`: what this machine brings to hosts must be known to it")]
    ImageDigest { image: String },
    #[error("the digest of `{id}` was not verified on this machine before the plan")]
    NoDigest { id: String },
    #[error("`{id}`: no authority that can sign it")]
    Certificate {
        id: String,
        #[source]
        source: CertificateError,
    },
    #[error(
        "`{id}` is good for {days} days and made anew {renew_days} days before its end, which is each time; make it fewer days"
    )]
    AlwaysRenewed { id: String, days: u32, renew_days: u32 },
    #[error("`{id}` names no program to run")]
    NoProgram { id: String },
    #[error("`{id}` interrupts what serves, and must have `phase: activate`, where voters go one at a time")]
    InterruptsEarly { id: String },
    #[error("`{id}` needs either `creates` or `unless`, so that it is not run each time")]
    Guard { id: String },
}
