//! `download: { images: … }`: images of containers that are brought to containerd as archives.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::remote::{RemoteFile, Trust, Via};
use super::{Error, FileUrl, Sha256Digest, call_of, optional_from_text, seen};
use crate::model::{Call, Change, Effect, StepId};
use crate::script::Fields;

/// Images that the runtime must have. One that it has under this name is never looked at again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// What they are, in a few words.
    pub name: String,
    /// Where containerd keeps them: `k8s.io`.
    pub namespace: String,
    pub list: Vec<Image>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its name, as pods name it.
    pub image: String,
    /// Of the archive; also `file:///…`, which is on the host.
    pub url: String,
    /// What the archive must be; without it the archive is as good as its address.
    #[serde(default, deserialize_with = "optional_from_text")]
    pub sha256: Option<Sha256Digest>,
    /// Who downloads it.
    #[serde(default)]
    pub via: Via,
}

/// The prelude's function that imports what was pushed, and which of its arguments is the digest.
pub(super) const PUSHED: (&str, usize) = ("image_from_push", 1);

impl Images {
    pub(super) fn check(&self) -> Result<(), Error> {
        for image in &self.list {
            let Image { image: name, url, sha256, via } = image;
            if url.parse::<FileUrl>().is_err() {
                return Err(Error::ImageUrl { image: name.clone(), url: url.clone() });
            }
            if *via == Via::Controller && url.starts_with("file:") {
                return Err(Error::ImageOnHost { image: name.clone(), url: url.clone() });
            }
            if *via == Via::Controller && sha256.is_none() {
                return Err(Error::ImageDigest { image: name.clone() });
            }
        }
        Ok(())
    }

    pub(super) fn id(&self) -> StepId {
        StepId(format!("download {}", self.name))
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        call_of(&self.id(), "images_probe", [&self.namespace])
    }

    pub(super) fn remote(&self) -> impl Iterator<Item = RemoteFile> {
        self.list.iter().filter_map(Image::remote)
    }

    pub(super) fn lacking(&self, seen: &Fields<'_>) -> impl Iterator<Item = RemoteFile> {
        self.absent(seen).into_iter().filter_map(Image::remote)
    }

    fn absent(&self, seen: &Fields<'_>) -> Vec<&Image> {
        let there: BTreeSet<&str> = seen.all("image").collect();
        self.list.iter().filter(|image| !there.contains(image.image.as_str())).collect()
    }

    pub(super) fn decide(&self, seen: &Fields<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        seen::text(&id, seen, "runtime")?;
        let absent = self.absent(seen);
        if absent.is_empty() {
            return Ok(None);
        }
        let names: Vec<&str> = absent.iter().map(|image| image.image.as_str()).collect();
        let mut calls = absent.iter().map(|image| self.import(&id, image)).collect::<Result<Vec<_>, _>>()?;
        // Once for all: each question to the runtime takes as long as a small import.
        let namespace = self.namespace.as_str();
        calls.push(call_of(&id, "images_are_there", [namespace].into_iter().chain(names.iter().copied()))?);
        let reason = match names[..] {
            [name] => format!("{name} absent"),
            _ => format!("{} of {} absent", names.len(), self.list.len()),
        };
        let diff = (names.len() > 1).then(|| names.join("\n") + "\n");
        Ok(Some(Change { reason, diff, effect: Effect::Start, calls }))
    }

    fn import(&self, id: &StepId, image: &Image) -> Result<Call, Error> {
        let digest = image.sha256.as_ref().map(ToString::to_string).unwrap_or_default();
        match image.via {
            Via::Controller => call_of(id, PUSHED.0, [&self.namespace, &digest]),
            Via::Host => call_of(id, "image_from_site", [&self.namespace, &digest, &image.url]),
        }
    }
}

impl Image {
    /// Its archive, if that is at a site.
    fn remote(&self) -> Option<RemoteFile> {
        let digest = self.sha256.as_ref().map(|sha256| Trust::Digest(sha256.to_string()));
        let at_site = !self.url.starts_with("file:");
        at_site.then(|| {
            RemoteFile::new(self.image.clone(), &self.url, self.via, digest.unwrap_or(Trust::Nobody))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{calls, reason, resource};
    use super::super::{Error, Resource};

    const SUM: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    fn images(list: &Value) -> Value {
        json!({"download": {"images": {"name": "container images", "namespace": "k8s.io", "list": list}}})
    }

    #[test]
    fn what_is_absent_is_imported() {
        let two = images(&json!([
            {"image": "a:1", "url": "http://10.0.0.1/a.tar", "sha256": SUM, "via": "controller"},
            {"image": "b:1", "url": "file:///srv/b.tar", "sha256": ""},
        ]));
        let there = [("runtime", "up"), ("image", "a:1"), ("image", "b:1"), ("image", "c:1")];
        assert_eq!(reason(two.clone(), &there), "-");
        assert_eq!(reason(two.clone(), &there[..2]), "b:1 absent");
        assert_eq!(
            calls(two.clone(), &there[..2]),
            ["image_from_site 'k8s.io' '' 'file:///srv/b.tar'", "images_are_there 'k8s.io' 'b:1'"]
        );
        assert_eq!(reason(two.clone(), &[("runtime", "down")]), "2 of 2 absent");
        assert_eq!(calls(two.clone(), &there[..1])[0], format!("image_from_push 'k8s.io' '{SUM}'"));
        assert!(reason(two.clone(), &[]).starts_with("error: the host said nothing about `runtime`"));
        // What lies on the host already comes from no site.
        let Resource::Download(two) = resource(two) else { panic!("a download") };
        assert_eq!(two.remote_files("amd64").len(), 1);
    }

    #[test]
    fn what_this_machine_carries_must_be_known() {
        let wrong = |image: Value| Resource::from_value(images(&json!([image]))).unwrap_err();
        let unknown = json!({"image": "a:1", "url": "http://10.0.0.1/a.tar", "via": "controller"});
        assert!(matches!(wrong(unknown), Error::ImageDigest { .. }));
        let on_host = json!({"image": "a:1", "url": "file:///a.tar", "via": "controller", "sha256": SUM});
        assert!(matches!(wrong(on_host), Error::ImageOnHost { .. }));
        for url in ["ftp://x", "file:///", "https://", "/a.tar", "http://a b"] {
            assert!(matches!(wrong(json!({"image": "a:1", "url": url})), Error::ImageUrl { .. }), "{url}");
        }
    }
}
