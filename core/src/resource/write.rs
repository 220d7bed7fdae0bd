//! A file as it should be -> the change that makes it so. Every kind that ends as a file ends here.

use similar::TextDiff;

use super::seen::{Access, SeenPath, Stat, digest, encode};
use super::{Error, HostPath, call_of};
use crate::model::{Arg, Call, Change, Effect, PrefetchOf, StepId};
use crate::script::Fields;

/// Files above this are not read back, and not shown as a diff.
pub(super) const READ_LIMIT: u64 = 256 * 1024;

/// A file as it should be.
pub(super) struct FileWrite<'a> {
    pub id: &'a StepId,
    pub path: &'a HostPath,
    pub access: Access<'a>,
    pub content: &'a str,
    pub secret: bool,
    /// Argument list of a program that may refuse the new content; `%s` stands for the file.
    pub validate: &'a [String],
}

/// A file as the host shows it.
pub(super) struct SeenFile<'a> {
    /// `None`: there is no file.
    pub stat: Option<Stat<'a>>,
    /// What the host read back; `None` for secret and large files, and where there is none.
    pub body: Option<&'a [u8]>,
    /// Where a symbolic link leads that stands there.
    link: Option<&'a str>,
    /// As the host tells it from something else: sha256, `absent`, or `link TARGET`.
    pub(super) digest: String,
}

/// The probe of a file. A secret one is never read back, only its digest.
pub(super) fn probe(id: &StepId, path: &HostPath, secret: bool) -> Result<Call, Error> {
    let (how, prefetch) = if secret { ("digest", PrefetchOf::Digest) } else { ("read", PrefetchOf::Content) };
    let call = call_of(id, "file_probe", [path.as_str(), how])?;
    Ok(call.with_prefetch([prefetch.named(path.as_str())]))
}

/// What gives a file its mode and owner, whose content is as wanted.
pub(super) fn set_access(id: &StepId, path: &HostPath, access: &Access<'_>) -> Result<Call, Error> {
    let Access { mode, owner, group } = access;
    call_of(id, "path_owner", [path.as_str(), &mode.to_string(), owner.as_str(), group.as_str()])
}

/// The change of a file of which its mode and owner alone are not as wanted, if they are not.
pub(super) fn access_change(
    id: &StepId,
    path: &HostPath,
    access: &Access<'_>,
    drift: &[String],
) -> Result<Option<Change>, Error> {
    if drift.is_empty() {
        return Ok(None);
    }
    let calls = vec![set_access(id, path, access)?];
    Ok(Some(Change { reason: drift.join(", "), diff: None, effect: Effect::Quiet, calls }))
}

impl<'a> SeenFile<'a> {
    pub(super) fn parse(id: &StepId, path: &HostPath, seen: &Fields<'a>) -> Result<Self, Error> {
        let stat = match SeenPath::parse(id, seen)? {
            SeenPath::Absent => {
                return Ok(Self { stat: None, body: None, link: None, digest: "absent".to_owned() });
            }
            SeenPath::File(stat) => stat,
            other => {
                return Err(Error::WrongType {
                    path: path.to_string(),
                    found: other.describe(),
                    wanted: "a file",
                });
            }
        };
        let body = seen.bytes("body");
        if body.is_some_and(|body| body.len() as u64 != stat.size) {
            let message = "it changed while it was read; try again".to_owned();
            return Err(Error::Probe { id: id.0.clone(), message });
        }
        let digest = match body {
            Some(body) => digest(body),
            None => super::seen::text(id, seen, "sha256")?.to_owned(),
        };
        Ok(Self { stat: Some(stat), body, link: None, digest })
    }

    /// The same where a symbolic link may be replaced.
    pub(super) fn parse_or_link(id: &StepId, path: &HostPath, seen: &Fields<'a>) -> Result<Self, Error> {
        match SeenPath::parse(id, seen)? {
            SeenPath::Link(target) => {
                Ok(Self { stat: None, body: None, link: Some(target), digest: format!("link {target}") })
            }
            _ => Self::parse(id, path, seen),
        }
    }

    /// The text of the file, empty where there is none: what merging kinds start from.
    pub(super) fn text(&self, path: &HostPath) -> Result<&'a str, Error> {
        match (&self.stat, self.body) {
            (None, _) => Ok(""),
            (Some(_), Some(body)) => {
                std::str::from_utf8(body).map_err(|_| Error::NotText { path: path.to_string() })
            }
            (Some(stat), None) => Err(Error::TooLarge { path: path.to_string(), size: stat.size }),
        }
    }
}

impl FileWrite<'_> {
    /// The change that the file needs, if any.
    pub(super) fn decide(&self, seen: &SeenFile<'_>) -> Result<Option<Change>, Error> {
        let wanted = digest(self.content.as_bytes());
        let drift = seen.stat.as_ref().map(|stat| stat.drift(&self.access)).unwrap_or_default();
        if wanted != seen.digest {
            let reasons: Vec<_> = [self.content_reason(seen, &wanted)].into_iter().chain(drift).collect();
            return self.replace(seen, reasons.join(", ")).map(Some);
        }
        access_change(self.id, self.path, &self.access, &drift)
    }

    /// The change that puts the content there, for this reason.
    pub(super) fn replace(&self, seen: &SeenFile<'_>, reason: String) -> Result<Change, Error> {
        let calls = vec![self.write(seen, &digest(self.content.as_bytes()))?];
        Ok(Change { reason, diff: self.diff(seen), effect: Effect::Quiet, calls })
    }

    fn content_reason(&self, seen: &SeenFile<'_>, wanted: &str) -> String {
        match &seen.stat {
            None => match seen.link {
                Some(target) => format!("a symbolic link to {target}, wanted a file"),
                None => "absent".to_owned(),
            },
            Some(_) if self.secret => "content differs (secret)".to_owned(),
            Some(_) if self.texts(seen).is_some() => "content differs".to_owned(),
            Some(stat) => format!(
                "content differs: {} bytes, sha256 {:.12}…, wanted {} bytes, sha256 {wanted:.12}…",
                stat.size,
                seen.digest,
                self.content.len()
            ),
        }
    }

    /// Both sides, where both are text that can be shown.
    fn texts<'b>(&'b self, seen: &SeenFile<'b>) -> Option<(&'b str, &'b str)> {
        let before = match seen.stat {
            None => "",
            Some(_) => std::str::from_utf8(seen.body?).ok()?,
        };
        (!self.secret && can_be_shown(before) && can_be_shown(self.content)).then_some((before, self.content))
    }

    fn diff(&self, seen: &SeenFile<'_>) -> Option<String> {
        let (before, after) = self.texts(seen)?;
        Some(text_diff(self.path.as_str(), before, after))
    }

    fn write(&self, seen: &SeenFile<'_>, wanted: &str) -> Result<Call, Error> {
        let Access { mode, owner, group } = self.access;
        let text = |text: &str| Arg::new(text).map_err(|source| Error::Nul { id: self.id.0.clone(), source });
        // Neither the body of a secret file nor its digest, which a short secret could be guessed from.
        let content = |text: String| if self.secret { Arg::secret(text) } else { Arg::new(text) };
        let content =
            |hex: String| content(hex).map_err(|source| Error::Nul { id: self.id.0.clone(), source });
        let mut args = vec![
            text(self.path.as_str())?,
            text(&mode.to_string())?,
            text(owner.as_str())?,
            text(group.as_str())?,
            content(seen.digest.clone())?,
            content(wanted.to_owned())?,
            content(encode(self.content.as_bytes()))?,
        ];
        for word in self.validate {
            args.push(text(word)?);
        }
        Ok(Call::new("file_write", args))
    }
}

/// Whether a text is one that people can look at.
pub(crate) fn can_be_shown(text: &str) -> bool {
    !text.contains('\0') && text.len() as u64 <= READ_LIMIT
}

/// What changes in a text file, as a unified diff.
pub(crate) fn text_diff(path: &str, before: &str, after: &str) -> String {
    let (a, b) = (format!("a{path}"), format!("b{path}"));
    TextDiff::from_lines(before, after).unified_diff().context_radius(3).header(&a, &b).to_string()
}
