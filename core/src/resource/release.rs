//! `download: { release: … }`: programs of a product, unpacked under a folder of their version, each with one link that moves.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::remote::{Fingerprint, RemoteFile, SignatureRule, SigningKey, Sums, Trust, Via};
use super::{Error, HostPath, PartName, Url, call_of, seen};
use crate::facts::Facts;
use crate::model::{Call, Change, Effect, PrefetchOf, StepId};
use crate::script::Fields;

/// A version of a product.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub product: PartName,
    pub version: PartName,
    pub source: Source,
    /// Where `source: release` goes; its layout is `PRODUCT/VERSION/PRODUCT_VERSION_linux_ARCH.zip`.
    #[serde(default = "default_url")]
    pub url: Url,
    /// Where its archive or program is below the site, `{arch}` for `amd64` and the like, where that is another layout. Its
    /// sha256 is beside it: the same name, with `.sha256` after it, unless `sums` says otherwise.
    #[serde(default)]
    pub path: Option<String>,
    /// The name of the file beside a `path` that lists the sha256 of each archive.
    #[serde(default)]
    pub sums: Option<PartName>,
    /// Who downloads it.
    #[serde(default)]
    pub via: Via,
    /// Fingerprint of the key that signs its `SHA256SUMS`; without one only the digest is checked.
    #[serde(default)]
    pub signing_key: Option<Fingerprint>,
    /// Where that key is published.
    #[serde(default)]
    pub signing_key_url: Option<Url>,
    /// A file on this machine that has the key, relative to the inventory.
    #[serde(default)]
    pub signing_key_file: Option<PathBuf>,
    #[serde(default)]
    pub signature: SignatureRule,
    /// Its programs. Default: one named as the product.
    #[serde(default)]
    pub binaries: Vec<PartName>,
    /// Default `/opt/bootstrap`; the programs are in `PRODUCT/VERSION/` below it.
    #[serde(default = "default_install_dir")]
    pub install_dir: HostPath,
    /// Default `/usr/local/bin`; the links are there.
    #[serde(default = "default_bin_dir")]
    pub bin_dir: HostPath,
    /// The sha256 of a `file`, read on this machine before the plan.
    #[serde(skip)]
    pub(super) artifact_digest: Option<String>,
    /// The sha256 of the archive that is to be downloaded, believed on this machine.
    #[serde(skip)]
    pub(super) verified_digest: Option<String>,
}

/// The prelude's function that installs what was pushed, and which of its arguments is the digest.
pub(super) const PUSHED: (&str, usize) = ("release_from_push", 0);

/// Where a release comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The vendor's site, over https.
    Release,
    /// Another site of the same layout; plain http is taken if the address says so.
    Mirror(Url),
    /// A zip archive or a program on this machine.
    File(PathBuf),
    /// The distribution's package of the product's name, in the version it has.
    Package,
}

fn default_url() -> Url {
    "https://releases.hashicorp.com".parse().expect("a literal address")
}

fn default_install_dir() -> HostPath {
    "/opt/bootstrap".parse().expect("a literal path")
}

fn default_bin_dir() -> HostPath {
    "/usr/local/bin".parse().expect("a literal path")
}

impl Release {
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.source == Source::Release && !self.url.as_str().starts_with("https://") {
            return Err(Error::PlainRelease { url: self.url.to_string() });
        }
        if self.path.as_ref().is_some_and(|path| path.split('/').any(|part| matches!(part, "" | "." | "..")))
        {
            return Err(Error::ReleasePath { path: self.path.clone().unwrap_or_default() });
        }
        if self.signature == SignatureRule::Required && self.signing_key.is_none() {
            return Err(Error::NoSigningKey { id: self.id().0 });
        }
        Ok(())
    }

    /// Ends with the links, so that a unit that watches one is seen to be touched.
    pub fn id(&self) -> StepId {
        let links: String = self.links().map(|link| format!(" {link}")).collect();
        StepId(format!("release {} {}{links}", self.product, self.version))
    }

    fn binaries(&self) -> impl Iterator<Item = &PartName> {
        let product = self.binaries.is_empty().then_some(&self.product);
        self.binaries.iter().chain(product)
    }

    /// The links to its programs.
    pub fn links(&self) -> impl Iterator<Item = String> {
        self.binaries().map(|binary| format!("{}/{binary}", self.bin_dir))
    }

    /// The folder of this version.
    pub fn directory(&self) -> String {
        format!("{}/{}/{}", self.install_dir, self.product, self.version)
    }

    /// Its archive for hosts of this architecture, if it comes from a site.
    pub(super) fn remote(&self, arch: &str) -> Option<RemoteFile> {
        let (site, vendor) = match &self.source {
            Source::Release => (&self.url, true),
            Source::Mirror(url) => (url, false),
            Source::File(_) | Source::Package => return None,
        };
        let (product, version) = (&self.product, &self.version);
        let (folder, name, sums, scope) = match &self.path {
            Some(path) => {
                let path = path.replace("{arch}", arch);
                let (below, name) = path.rsplit_once('/').unwrap_or(("", &path));
                let folder = if below.is_empty() { site.to_string() } else { format!("{site}/{below}") };
                let sums = self.sums.as_ref().map_or_else(|| format!("{name}.sha256"), PartName::to_string);
                (folder.clone(), name.to_owned(), sums, folder)
            }
            None => (
                format!("{site}/{product}/{version}"),
                format!("{product}_{version}_linux_{arch}.zip"),
                format!("{product}_{version}_SHA256SUMS"),
                site.to_string(),
            ),
        };
        let key = self.signing_key.as_ref().map(|fingerprint| SigningKey {
            fingerprint: fingerprint.clone(),
            url: self.signing_key_url.clone(),
            file: self.signing_key_file.clone(),
        });
        let signed = key.is_some() && (vendor || self.signature == SignatureRule::Required);
        Some(RemoteFile {
            what: format!("{product} {version}"),
            arch: arch.to_owned(),
            site: site.to_string(),
            folder,
            name,
            via: self.via,
            trust: Trust::Sums(Sums { name: sums, scope, key, signed }),
        })
    }

    /// The same, if the host that said this lacks it.
    pub(super) fn lacking_file(&self, seen: &Fields<'_>, facts: &Facts) -> Option<RemoteFile> {
        // What cannot be understood is reported by `decide`.
        let lacking = self.lacking(&self.id(), seen).ok().flatten().is_some();
        self.remote(facts.release_arch()).filter(|_| lacking)
    }

    /// The file on this machine that must be pushed to the host first.
    pub(super) fn artifact(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path) => Some(path),
            _ => None,
        }
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        let (function, first) = match self.source {
            Source::Package => ("release_package_probe", self.product.to_string()),
            _ => ("release_probe", self.directory()),
        };
        let start = [first, self.bin_dir.to_string()];
        let links = self.binaries().map(|name| PrefetchOf::Path.named(format!("{}/{name}", self.bin_dir)));
        let packages =
            matches!(self.source, Source::Package).then(|| PrefetchOf::Package.named(self.product.as_str()));
        let words = start.into_iter().chain(self.binaries().map(PartName::to_string));
        Ok(call_of(&self.id(), function, words)?.with_prefetch(links.chain(packages)))
    }

    pub(super) fn decide(&self, seen: &Fields<'_>, facts: &Facts) -> Result<Option<Change>, Error> {
        let id = self.id();
        let mut reasons = Vec::new();
        let mut calls = Vec::new();
        if let Some((reason, call)) = self.install(&id, seen, facts)? {
            reasons.push(reason);
            calls.push(call);
        }
        for binary in self.binaries() {
            if let Some((reason, call)) = self.link(&id, binary, seen)? {
                reasons.push(reason);
                calls.push(call);
            }
        }
        Ok((!calls.is_empty()).then(|| Change {
            reason: reasons.join(", "),
            diff: None,
            effect: Effect::Quiet,
            calls,
        }))
    }

    /// Takes the download out of a change where nothing that runs has its programs from this version yet: it is done before
    /// the links move.
    pub(super) fn ahead(&self, change: &mut Change) -> Option<(StepId, Change)> {
        let links = change.calls.iter().filter(|call| call.function() == "link_place").count();
        if links != self.binaries().count() || links == change.calls.len() {
            return None;
        }
        let (reason, links) = change.reason.split_once(", ")?;
        let id = StepId(format!("release {} {}", self.product, self.version));
        let (reason, links) = (reason.to_owned(), links.to_owned());
        let ahead = Change { reason, calls: vec![change.calls.remove(0)], diff: None, ..*change };
        change.reason = links;
        Some((id, ahead))
    }

    /// What brings the programs onto the host, if they are not all there.
    fn install(
        &self,
        id: &StepId,
        seen: &Fields<'_>,
        facts: &Facts,
    ) -> Result<Option<(String, Call)>, Error> {
        if self.source == Source::Package {
            if seen::text(id, seen, "manager")?.is_empty() {
                return Err(Error::NoPackageManager { id: id.0.clone() });
            }
            let call = call_of(id, "package_install", [self.product.as_str()])?;
            return Ok(seen.has("missing").then(|| ("package not installed".to_owned(), call)));
        }
        let Some(reason) = self.lacking(id, seen)? else { return Ok(None) };
        Ok(Some((reason, self.install_call(id, facts)?)))
    }

    /// Why the folder of this version is not as it should be.
    fn lacking(&self, id: &StepId, seen: &Fields<'_>) -> Result<Option<String>, Error> {
        let present = seen::text(id, seen, "directory")? == "present";
        let missing: Vec<_> =
            self.binaries().filter(|name| !seen.all("binary").any(|seen| seen == name.as_str())).collect();
        let archive = seen.text("archive").map(str::trim);
        Ok(if !present {
            Some(format!("version {} not installed", self.version))
        } else if archive.is_none() || !missing.is_empty() {
            Some(format!("version {} is incomplete", self.version))
        } else if archive != self.wanted_archive()?.or(archive) {
            Some(format!("version {} came from another file", self.version))
        } else {
            None
        })
    }

    /// The digest that the installed files must have come from, where it is known here.
    fn wanted_archive(&self) -> Result<Option<&str>, Error> {
        match (self.artifact(), &self.artifact_digest) {
            (Some(path), None) => Err(Error::NoArtifactDigest { path: path.display().to_string() }),
            (_, digest) => Ok(digest.as_deref()),
        }
    }

    fn install_call(&self, id: &StepId, facts: &Facts) -> Result<Call, Error> {
        let binaries = self.binaries().map(PartName::to_string);
        let from_file = |digest: &str| {
            let start = [digest.to_owned(), self.directory()];
            call_of(id, PUSHED.0, start.into_iter().chain(self.binaries().map(PartName::to_string)))
        };
        if let Some(digest) = self.wanted_archive()? {
            return from_file(digest);
        }
        let Some(remote) = self.remote(facts.release_arch()) else {
            return Err(Error::NoDigest { id: id.0.clone() });
        };
        let signed = matches!(&remote.trust, Trust::Sums(Sums { signed: true, .. }));
        match (&self.verified_digest, remote.via) {
            (Some(digest), Via::Controller) => return from_file(digest),
            (None, Via::Controller) => return Err(Error::NoDigest { id: id.0.clone() }),
            (None, Via::Host) if signed => return Err(Error::NoDigest { id: id.0.clone() }),
            (_, Via::Host) => {}
        }
        // Without a digest the host believes the sums of the site.
        let digest = self.verified_digest.clone().unwrap_or_default();
        let sums = remote.said_by().to_owned();
        let start = [remote.folder, remote.name, sums, digest, self.directory()];
        call_of(id, "release_from_site", start.into_iter().chain(binaries))
    }

    /// The version to which the links lead, where it is one of ours.
    pub fn linked_version<'a>(&self, seen: &Fields<'a>) -> Option<&'a str> {
        let ours = format!("{}/{}/", self.install_dir, self.product);
        let of = |binary: &PartName| {
            let target = linked(binary, seen)?.strip_prefix(&ours)?;
            target.split('/').next()
        };
        self.binaries().find_map(of)
    }

    /// What moves the link of one program, if it does not lead to this version.
    fn link(
        &self,
        id: &StepId,
        binary: &PartName,
        seen: &Fields<'_>,
    ) -> Result<Option<(String, Call)>, Error> {
        let target = linked(binary, seen);
        let link = format!("{}/{binary}", self.bin_dir);
        let reason = match target {
            Some(target) if self.is_target(target, binary) => return Ok(None),
            Some(target) => format!("{link} leads to {target}"),
            None if seen.all("other").any(|other| other == binary.as_str()) => {
                format!("{link} is not a link")
            }
            None => format!("{link} absent"),
        };
        let call = if self.source == Source::Package {
            call_of(id, "link_program", [self.bin_dir.as_str(), binary.as_str()])?
        } else {
            call_of(id, "link_place", [link, format!("{}/{binary}", self.directory())])?
        };
        Ok(Some((reason, call)))
    }

    fn is_target(&self, target: &str, binary: &PartName) -> bool {
        if self.source == Source::Package {
            ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
                .iter()
                .any(|folder| target == format!("{folder}/{binary}"))
        } else {
            target == format!("{}/{binary}", self.directory())
        }
    }
}

/// Where the link of a program leads.
fn linked<'a>(binary: &PartName, seen: &Fields<'a>) -> Option<&'a str> {
    seen.all("link").find_map(|link| link.strip_prefix(binary.as_str())?.strip_prefix(' '))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::super::testing::{SeenValue, calls, decide_with, facts, owned, reason, reason_of, resource};
    use super::super::{Error, Resource, Verified, pushed_digest};
    use crate::script::Fields;

    fn release(source: Value) -> Value {
        json!({"download": {"release": {"product": "consul", "version": "1.21.4", "source": source}}})
    }

    const INSTALLED: [SeenValue<'static>; 4] = [
        ("directory", "present"),
        ("archive", "d1d1"),
        ("binary", "consul"),
        ("link", "consul /opt/bootstrap/consul/1.21.4/consul"),
    ];

    #[test]
    fn what_is_installed_is_told_by_the_links() {
        let consul = json!({"download": {"release": {"product": "consul", "version": "1.8.7", "source": "release", "via": "host"}}});
        let Resource::Download(crate::resource::Download::Release(release)) = resource(consul) else {
            panic!("a release")
        };
        let version = |said: &[SeenValue<'_>]| {
            let said = owned(said);
            release.linked_version(&Fields::new(&said)).map(str::to_owned)
        };
        assert_eq!(version(&INSTALLED).as_deref(), Some("1.21.4"));
        assert_eq!(version(&[("link", "consul /usr/bin/consul")]), None);
        assert_eq!(version(&[("other", "consul")]), None);
    }

    #[test]
    fn the_version_and_its_link_are_compared() {
        let absent = [("directory", "absent")];
        for (said, wanted) in [
            (&INSTALLED[..], "-"),
            (&absent[..], "version 1.21.4 not installed, /usr/local/bin/consul absent"),
            (&[INSTALLED[0], INSTALLED[1], INSTALLED[3]], "version 1.21.4 is incomplete"),
            (&[INSTALLED[0], INSTALLED[2], INSTALLED[3]], "version 1.21.4 is incomplete"),
            (
                &[
                    INSTALLED[0],
                    INSTALLED[1],
                    INSTALLED[2],
                    ("link", "consul /opt/bootstrap/consul/1.20.0/consul"),
                ],
                "/usr/local/bin/consul leads to /opt/bootstrap/consul/1.20.0/consul",
            ),
            (
                &[INSTALLED[0], INSTALLED[1], INSTALLED[2], ("other", "consul")],
                "/usr/local/bin/consul is not a link",
            ),
            (
                &[],
                "error: the host said nothing about `directory` of `release consul 1.21.4 /usr/local/bin/consul`",
            ),
        ] {
            assert_eq!(reason(release(json!("release")), said), wanted);
        }
    }

    #[test]
    fn each_source_has_its_call() {
        let link = "link_place '/usr/local/bin/consul' '/opt/bootstrap/consul/1.21.4/consul'";
        let absent = [("directory", "absent")];
        assert_eq!(
            calls(release(json!("release")), &absent),
            [
                "release_from_site 'https://releases.hashicorp.com/consul/1.21.4' 'consul_1.21.4_linux_amd64.zip' \
                 'consul_1.21.4_SHA256SUMS' '' '/opt/bootstrap/consul/1.21.4' 'consul'",
                link
            ]
        );
        let mirror = resource(release(json!({"mirror": "http://10.0.0.1:8080/r"})));
        let change = decide_with(&mirror, &absent, &facts("aarch64"), &[]).unwrap().unwrap();
        assert!(
            change.calls[0].to_string().starts_with(
                "release_from_site 'http://10.0.0.1:8080/r/consul/1.21.4' 'consul_1.21.4_linux_arm64.zip'"
            ),
            "{}",
            change.calls[0]
        );
        let package = release(json!("package"));
        assert_eq!(
            resource(package.clone()).probe().unwrap().to_string(),
            "release_package_probe 'consul' '/usr/local/bin' 'consul'"
        );
        assert_eq!(
            calls(package.clone(), &[("manager", "apt"), ("missing", "consul")]),
            ["package_install 'consul'", "link_program '/usr/local/bin' 'consul'"]
        );
        let said = [("manager", "apt"), ("installed", "consul"), ("link", "consul /usr/bin/consul")];
        assert_eq!(reason(package, &said), "-");
    }

    #[test]
    fn a_file_is_compared_by_its_digest() {
        let file = resource(release(json!({"file": "consul.zip"})));
        assert_eq!(file.artifact().unwrap().to_str(), Some("consul.zip"));
        let decided = |file: &Resource| reason_of(decide_with(file, &INSTALLED, &facts("x86_64"), &[]));
        assert_eq!(
            decided(&file),
            "error: the digest of consul.zip is not known; it must be read before the plan"
        );
        assert_eq!(decided(&file.clone().with_artifact_digest("d1d1".into())), "-");
        let other = file.with_artifact_digest("e2e2".into());
        assert_eq!(decided(&other), "version 1.21.4 came from another file");
        let change = decide_with(&other, &INSTALLED, &facts("x86_64"), &[]).unwrap().unwrap();
        assert_eq!(
            change.calls[0].to_string(),
            "release_from_push 'e2e2' '/opt/bootstrap/consul/1.21.4' 'consul'"
        );
    }

    #[test]
    fn a_site_of_another_layout_has_the_digest_beside_the_program() {
        let mut value = release(json!({"mirror": "http://10.0.0.1/k"}));
        value["download"]["release"]["path"] = json!("release/v1.21.4/{arch}/consul");
        let call = |value: &Value| {
            let change =
                decide_with(&resource(value.clone()), &[("directory", "absent")], &facts("aarch64"), &[]);
            change.unwrap().unwrap().calls[0].to_string()
        };
        let rest = "'' '/opt/bootstrap/consul/1.21.4' 'consul'";
        let from = "release_from_site 'http://10.0.0.1/k/release/v1.21.4/arm64' 'consul'";
        assert_eq!(call(&value), format!("{from} 'consul.sha256' {rest}"));
        value["download"]["release"]["sums"] = json!("SHA256SUMS");
        assert_eq!(call(&value), format!("{from} 'SHA256SUMS' {rest}"));
        for wrong in ["/a", "a/../b", "a//b", ""] {
            value["download"]["release"]["path"] = json!(wrong);
            assert!(matches!(Resource::from_value(value.clone()), Err(Error::ReleasePath { .. })), "{wrong}");
        }
    }

    const KEY: &str = "C874 011F 0AB4 0511 0D02 1055 3436 5D94 72D7 468F";

    #[test]
    fn what_must_be_signed_is_installed_by_its_verified_digest_alone() {
        let with = |fields: Value| {
            let mut value = release(json!("release"));
            value["download"]["release"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            resource(value)
        };
        let decided = |resource: &Resource| {
            let change = decide_with(resource, &[("directory", "absent")], &facts("x86_64"), &[]);
            change.map(|change| change.unwrap().calls[0].clone())
        };
        let (signed, pushed) = (with(json!({"signing_key": KEY})), with(json!({"via": "controller"})));
        for resource in [&signed, &pushed] {
            assert!(matches!(decided(resource), Err(Error::NoDigest { .. })), "{resource:?}");
        }
        let told = |resource: Resource| {
            let file = resource.remote_files("amd64").remove(0);
            let verified = BTreeMap::from([(file, Verified { digest: Some("d1d1".to_owned()) })]);
            resource.with_verified(&verified, &facts("x86_64"))
        };
        let call = decided(&told(signed)).unwrap();
        assert!(call.to_string().contains("'consul_1.21.4_SHA256SUMS' 'd1d1' '/opt"), "{call}");
        assert_eq!(pushed_digest(&call), None);
        let call = decided(&told(pushed)).unwrap();
        assert_eq!(call.to_string(), "release_from_push 'd1d1' '/opt/bootstrap/consul/1.21.4' 'consul'");
        assert_eq!(pushed_digest(&call), Some("d1d1"));
    }

    #[test]
    fn a_download_is_named_only_where_it_is_lacking() {
        let resource = resource(release(json!("release")));
        let said = |said: &[SeenValue<'_>]| {
            let said = owned(said);
            resource.lacking(&Fields::new(&said), &facts("aarch64")).pop()
        };
        assert_eq!(said(&INSTALLED), None);
        // The programs are there, and only the link has to move.
        assert_eq!(said(&INSTALLED[..3]), None);
        let download = said(&[("directory", "absent")]).unwrap();
        assert_eq!(download.name, "consul_1.21.4_linux_arm64.zip");
        assert_eq!(download.folder, "https://releases.hashicorp.com/consul/1.21.4");
    }

    #[test]
    fn keys_are_named_by_whole_fingerprints() {
        for (key, right) in [(KEY, true), ("72D7468F", false), ("34365D9472D7468F", false), ("", false)] {
            let mut value = release(json!("release"));
            value["download"]["release"]["signing_key"] = json!(key);
            assert_eq!(Resource::from_value(value).is_ok(), right, "{key}");
        }
        let mut value = release(json!({"mirror": "http://10.0.0.1"}));
        value["download"]["release"]["signature"] = json!("required");
        assert!(matches!(Resource::from_value(value), Err(Error::NoSigningKey { .. })));
    }

    #[test]
    fn plain_http_is_only_for_mirrors() {
        let mut value = release(json!("release"));
        value["download"]["release"]["url"] = json!("http://releases.example.org");
        assert!(matches!(Resource::from_value(value), Err(Error::PlainRelease { .. })));
    }
}
