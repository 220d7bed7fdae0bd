//! The options of exports(5): which there are, what they take, and when two lists of them mean the same.

use std::collections::BTreeMap;

use crate::inventory::reader::{any_of, nearest};

/// What follows an option's name.
#[derive(Clone, Copy)]
enum OptionValue {
    Nothing,
    Number,
    OneOf(&'static [&'static str]),
    /// Some of these words, parted by colons.
    SomeOf(&'static [&'static str]),
    /// `root`, a number or a UUID.
    FileSystem,
    Text,
    /// A path, or nothing.
    MaybePath,
}

/// What an option is to NFS-Ganesha.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ganesha {
    /// It has the same under another name.
    Has,
    /// It always does so.
    Always,
    Lacks,
}

/// One option: its name, what it is about and what it sets that to, what it takes.
struct Known(&'static str, &'static str, &'static str, OptionValue, Ganesha);

use Ganesha::{Always, Has, Lacks};
use OptionValue::{FileSystem, MaybePath, Nothing, Number, OneOf, SomeOf, Text};

/// The options that exports(5) documents, up to nfs-utils 2.8.
const KNOWN: [Known; 36] = [
    Known("secure", "ports", "secure", Nothing, Has),
    Known("insecure", "ports", "insecure", Nothing, Has),
    Known("rw", "access", "rw", Nothing, Has),
    Known("ro", "access", "ro", Nothing, Has),
    Known("sync", "replies", "sync", Nothing, Always),
    Known("async", "replies", "async", Nothing, Lacks),
    Known("wdelay", "write delay", "wdelay", Nothing, Always),
    Known("no_wdelay", "write delay", "no_wdelay", Nothing, Lacks),
    Known("hide", "hiding", "hide", Nothing, Always),
    Known("nohide", "hiding", "nohide", Nothing, Lacks),
    Known("crossmnt", "crossing", "crossmnt", Nothing, Lacks),
    Known("nocrossmnt", "crossing", "nocrossmnt", Nothing, Always),
    Known("no_subtree_check", "subtree check", "no_subtree_check", Nothing, Always),
    Known("subtree_check", "subtree check", "subtree_check", Nothing, Lacks),
    Known("auth_nlm", "locks", "auth_nlm", Nothing, Always),
    Known("secure_locks", "locks", "auth_nlm", Nothing, Always),
    Known("no_auth_nlm", "locks", "no_auth_nlm", Nothing, Lacks),
    Known("insecure_locks", "locks", "no_auth_nlm", Nothing, Lacks),
    Known("mountpoint", "mount point", "mountpoint", MaybePath, Lacks),
    Known("mp", "mount point", "mountpoint", MaybePath, Lacks),
    Known("fsid", "fsid", "fsid", FileSystem, Lacks),
    Known("nordirplus", "readdirplus", "nordirplus", Nothing, Lacks),
    Known("refer", "refer", "refer", Text, Lacks),
    Known("replicas", "replicas", "replicas", Text, Lacks),
    Known("pnfs", "pnfs", "pnfs", Nothing, Lacks),
    Known("no_pnfs", "pnfs", "no_pnfs", Nothing, Always),
    Known("security_label", "labels", "security_label", Nothing, Has),
    Known("reexport", "reexport", "reexport", OneOf(&["auto-fsidnum", "predefined-fsidnum"]), Lacks),
    Known("sec", "sec", "sec", SomeOf(&["sys", "krb5", "krb5i", "krb5p"]), Has),
    Known("xprtsec", "xprtsec", "xprtsec", SomeOf(&["none", "tls", "mtls"]), Lacks),
    Known("root_squash", "root", "root_squash", Nothing, Has),
    Known("no_root_squash", "root", "no_root_squash", Nothing, Has),
    Known("all_squash", "everyone", "all_squash", Nothing, Has),
    Known("no_all_squash", "everyone", "no_all_squash", Nothing, Always),
    Known("anonuid", "anonuid", "anonuid", Number, Has),
    Known("anongid", "anongid", "anongid", Number, Has),
];

/// What is so unless an option says otherwise.
const DEFAULTS: [&str; 11] = [
    "secure",
    "ro",
    "sync",
    "wdelay",
    "hide",
    "nocrossmnt",
    "no_subtree_check",
    "auth_nlm",
    "no_pnfs",
    "root_squash",
    "no_all_squash",
];

/// What an export is, not how it may be used: it differs between exports that agree.
const OF_ITSELF: [&str; 7] = ["fsid", "mount point", "hiding", "crossing", "refer", "replicas", "reexport"];

/// One option as written.
#[derive(Clone, Copy)]
pub struct ExportOption<'t> {
    pub text: &'t str,
    known: &'static Known,
    value: Option<&'t str>,
}

/// Why a text is no option, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    pub message: String,
    pub help: String,
}

impl<'t> ExportOption<'t> {
    pub fn parse(text: &'t str) -> Result<Self, Mistake> {
        let mistake = |message: String, help: String| Err(Mistake { message, help });
        if text.contains([',', ' ']) {
            let parts: Vec<&str> = text.split([',', ' ']).filter(|part| !part.is_empty()).collect();
            return mistake(
                format!("`{text}` is more than one option"),
                format!("each is an item of its own: [{}]", parts.join(", ")),
            );
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let Some(known) = KNOWN.iter().find(|known| known.0 == name) else {
            let help = match nearest(name, KNOWN.iter().map(|known| known.0)) {
                Some(near) => format!("did you mean `{}`?", text.replacen(name, near, 1)),
                None => "exports(5) lists them, for example `rw`, `no_root_squash`, `sec=krb5`".to_owned(),
            };
            return mistake(format!("exports have no option `{name}`"), help);
        };
        let wanted = known.3.example(name);
        match (value, known.3.fits(value)) {
            (_, true) => Ok(Self { text, known, value }),
            (Some(_), false) if matches!(known.3, Nothing) => {
                mistake(format!("`{name}` takes no value"), format!("write `{name}`"))
            }
            (None, false) => mistake(format!("`{name}` needs a value"), wanted),
            (Some(value), false) => mistake(format!("`{name}` cannot be `{value}`"), wanted),
        }
    }

    /// What NFS-Ganesha makes of it: whether it can do as it says.
    pub fn in_ganesha(&self) -> bool {
        self.known.4 != Lacks
    }

    /// Whether both cannot be.
    pub fn contradicts(&self, other: &Self) -> bool {
        let squash = |one: &Self, two: &Self| one.known.0 == "all_squash" && two.known.0 == "no_root_squash";
        // Several `sec` are for several kinds of clients.
        let same = self.known.1 == other.known.1 && self.known.1 != "sec";
        let differ = self.known.2 != other.known.2 || self.value != other.value;
        same && differ || squash(self, other) || squash(other, self)
    }
}

impl OptionValue {
    fn fits(self, value: Option<&str>) -> bool {
        match (self, value) {
            (Nothing | MaybePath, None) => true,
            (Nothing, Some(_)) | (_, None) => false,
            (Number, Some(value)) => value.parse::<u32>().is_ok(),
            (OneOf(words), Some(value)) => words.contains(&value),
            (SomeOf(words), Some(value)) => value.split(':').all(|word| words.contains(&word)),
            (FileSystem, Some(value)) => {
                let digits = value.chars().filter(char::is_ascii_hexdigit).count();
                value == "root" || value.parse::<u32>().is_ok() || digits == 32
            }
            (Text, Some(value)) => !value.is_empty(),
            (MaybePath, Some(value)) => value.starts_with('/'),
        }
    }

    fn example(self, name: &str) -> String {
        match self {
            Nothing => format!("write `{name}`"),
            Number => format!("a number, as in `{name}=2020`"),
            OneOf(words) => any_of(words),
            SomeOf(words) => format!("{}; several are parted by `:`", any_of(words)),
            FileSystem => format!("`{name}=root`, a number or a UUID"),
            Text => format!("as in `{name}=/path@host`"),
            MaybePath => format!("`{name}`, or with an absolute path: `{name}=/data`"),
        }
    }
}

/// How an export may be used by its options: equal if they mean the same, in whatever order they are written.
pub fn meaning(options: &[ExportOption<'_>]) -> BTreeMap<&'static str, String> {
    let mut settings = BTreeMap::new();
    for option in options {
        let Known(_, about, says, ..) = option.known;
        if OF_ITSELF.contains(about) {
            continue;
        }
        let value = option.value.map_or_else(|| (*says).to_owned(), |value| format!("{says}={value}"));
        // The last one counts.
        if DEFAULTS.contains(says) || value == "sec=sys" {
            settings.remove(about);
        } else {
            settings.insert(*about, value);
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> String {
        ExportOption::parse(text)
            .map_or_else(|mistake| format!("{}; {}", mistake.message, mistake.help), |_| "-".into())
    }

    #[test]
    fn options_are_those_of_the_manual() {
        for (text, wanted) in [
            ("rw", "-"),
            ("no_root_squash", "-"),
            ("anonuid=2020", "-"),
            ("sec=krb5p:krb5", "-"),
            ("fsid=0", "-"),
            ("fsid=root", "-"),
            ("fsid=c7ee3c6e-0f3c-4d2c-9a3e-2f6d2b6a1b1f", "-"),
            ("mp", "-"),
            ("mountpoint=/data", "-"),
            ("xprtsec=tls:mtls", "-"),
            ("no_rootsquash", "exports have no option `no_rootsquash`; did you mean `no_root_squash`?"),
            ("anon_uid=7", "exports have no option `anon_uid`; did you mean `anonuid=7`?"),
            (
                "hard",
                "exports have no option `hard`; exports(5) lists them, for example `rw`, `no_root_squash`, `sec=krb5`",
            ),
            ("rw,sync", "`rw,sync` is more than one option; each is an item of its own: [rw, sync]"),
            ("rw=1", "`rw` takes no value; write `rw`"),
            ("anonuid", "`anonuid` needs a value; a number, as in `anonuid=2020`"),
            ("anonuid=www", "`anonuid` cannot be `www`; a number, as in `anonuid=2020`"),
            (
                "sec=krb",
                "`sec` cannot be `krb`; `sys`, `krb5`, `krb5i` or `krb5p`; several are parted by `:`",
            ),
            ("fsid=x", "`fsid` cannot be `x`; `fsid=root`, a number or a UUID"),
            ("mp=data", "`mp` cannot be `data`; `mp`, or with an absolute path: `mp=/data`"),
        ] {
            assert_eq!(mistake(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_two_options_say_together() {
        for (one, two, contradict) in [
            ("rw", "ro", true),
            ("rw", "rw", false),
            ("rw", "sync", false),
            ("auth_nlm", "secure_locks", false),
            ("auth_nlm", "insecure_locks", true),
            ("anonuid=1", "anonuid=2", true),
            ("no_root_squash", "all_squash", true),
            ("sec=sys", "sec=krb5", false),
        ] {
            let parse = |text| ExportOption::parse(text).ok().unwrap();
            assert_eq!(parse(one).contradicts(&parse(two)), contradict, "{one} {two}");
            assert_eq!(parse(two).contradicts(&parse(one)), contradict, "{two} {one}");
        }
    }

    #[test]
    fn lists_that_mean_the_same_are_equal() {
        let of = |texts: &[&'static str]| {
            meaning(&texts.iter().map(|text| ExportOption::parse(text).ok().unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(of(&["rw", "sync"]), of(&["no_subtree_check", "rw"]));
        assert_eq!(of(&["ro"]), of(&[]));
        assert_eq!(of(&["rw", "fsid=0", "crossmnt"]), of(&["rw", "fsid=1"]));
        assert_ne!(of(&["rw"]), of(&["ro"]));
        assert_ne!(of(&["rw", "anonuid=1"]), of(&["rw", "anonuid=2"]));
        assert_ne!(of(&["rw", "no_root_squash"]), of(&["rw"]));
    }
}
