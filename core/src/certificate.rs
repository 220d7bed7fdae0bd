//! Authorities, and the certificates that they sign: made on this machine, judged by what a host shows of them.
//!
//! The key of an authority stays here. A host gets its own certificate and key, in one file.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::Deserialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// In seconds.
const DAY: i64 = 24 * 60 * 60;

/// Clocks differ, and so do the zones that they are read in: what is made counts from so much earlier, in seconds.
const EARLIER: i64 = DAY;

/// How long an authority is good for, in days: as those of kubeadm.
const AUTHORITY_DAYS: i64 = 3650;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("the authority has no certificate: it is `-----BEGIN CERTIFICATE-----` and its key, as PEM")]
    NoCertificate,
    #[error(
        "the authority has no key that can be used: write it as PKCS #8, `-----BEGIN PRIVATE KEY-----`; \
         `openssl pkcs8 -topk8 -nodes -in KEY` makes one of others"
    )]
    NoKey,
    #[error("the authority's certificate is for another key than the one beside it")]
    OtherKey,
    #[error("the authority's certificate may not sign others")]
    NoAuthority,
    #[error("the authority's certificate is not understood: {0}")]
    Form(String),
    #[error("the authority has expired, {0}: give it a new one, or mend the clock")]
    Expired(String),
    #[error("`{0}` can be no name in a certificate")]
    Name(String),
    #[error("cannot make a key or certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Usage {
    /// Shown to those who connect.
    Server,
    /// Shown by who connects.
    Client,
}

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectName {
    Address(IpAddr),
    Dns(String),
}

/// A certificate as it is to be.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    pub common_name: &'a str,
    pub organization: Option<&'a str>,
    pub names: &'a BTreeSet<SubjectName>,
    pub usage: &'a BTreeSet<Usage>,
    /// How long it is good for, in days.
    pub days: u32,
    /// How many days before its end it is made anew.
    pub renew_days: u32,
}

/// Signs certificates.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl SubjectName {
    fn parse(word: &str) -> Self {
        word.parse().map_or_else(|_| Self::Dns(word.to_owned()), Self::Address)
    }

    /// All of a text, between blanks.
    pub fn all(text: &str) -> BTreeSet<Self> {
        text.split_whitespace().map(Self::parse).collect()
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Dns(name) => f.write_str(name),
        }
    }
}

/// A new authority: its certificate, then its key, as PEM. `now` is in seconds since 1970.
///
/// # Errors
/// No random numbers from the operating system.
pub fn new_authority(name: &str, now: i64) -> Result<String, CertificateError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    set_validity(&mut params, now, AUTHORITY_DAYS);
    Ok(params.self_signed(&key)?.pem() + &key.serialize_pem())
}

fn set_validity(params: &mut CertificateParams, now: i64, days: i64) {
    let at = |seconds: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.max(0).unsigned_abs());
    params.not_before = at(now - EARLIER);
    params.not_after = at(now + days * DAY);
}

impl Authority {
    /// From its certificate and its key, as PEM.
    ///
    /// # Errors
    /// One of the two is missing, is not what it should be, or does not belong to the other.
    pub fn parse(pem: &str) -> Result<Self, CertificateError> {
        let certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| CertificateError::NoCertificate)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| CertificateError::NoKey)?;
        let key = KeyPair::try_from(&key).map_err(|_| CertificateError::NoKey)?;
        let parsed = parse(&certificate).map_err(CertificateError::Form)?;
        if parsed.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(CertificateError::OtherKey);
        }
        if !parsed.is_ca() {
            return Err(CertificateError::NoAuthority);
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { certificate: certificate.into_owned(), issuer })
    }

    /// A certificate and its key, as PEM, which begin to count a day before `now`, in seconds since 1970.
    ///
    /// # Errors
    /// The authority has expired, or a name is none.
    pub fn issue(&self, leaf: &Leaf<'_>, now: i64) -> Result<String, CertificateError> {
        let own = parse(&self.certificate).map_err(CertificateError::Form)?;
        let end = own.validity().not_after.timestamp();
        if end <= now {
            return Err(CertificateError::Expired(date(end)));
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(organization) = leaf.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.distinguished_name.push(DnType::CommonName, leaf.common_name);
        let name = |name: &SubjectName| match name {
            SubjectName::Address(address) => Ok(SanType::IpAddress(*address)),
            SubjectName::Dns(name) => name
                .as_str()
                .try_into()
                .map(SanType::DnsName)
                .map_err(|_| CertificateError::Name(name.clone())),
        };
        params.subject_alt_names = leaf.names.iter().map(name).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let purpose = |usage: &Usage| match usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        };
        params.extended_key_usages = leaf.usage.iter().map(purpose).collect();
        params.use_authority_key_identifier_extension = true;
        // No certificate outlives the one that vouches for it.
        set_validity(&mut params, now, i64::from(leaf.days).min((end - now) / DAY));
        Ok(params.signed_by(&key, &self.issuer)?.pem() + &key.serialize_pem())
    }

    /// Why what a host shows is not the certificate that it is to have; `None`: it is. `pem` is its certificate without the key,
    /// `now` the host's clock, in seconds since 1970.
    pub fn objection(&self, pem: &str, leaf: &Leaf<'_>, now: i64) -> Option<String> {
        let Ok(certificate) = CertificateDer::from_pem_slice(pem.as_bytes()) else {
            return Some("there is no certificate in it".to_owned());
        };
        let seen = match parse(&certificate) {
            Ok(seen) => seen,
            Err(error) => return Some(format!("its certificate is not understood: {error}")),
        };
        let own = parse(&self.certificate).ok()?;
        if seen.issuer().as_raw() != own.subject().as_raw()
            || seen.verify_signature(Some(own.public_key())).is_err()
        {
            return Some(format!("another authority signed it, {}", seen.issuer()));
        }
        let subject = subject(&seen);
        let wanted = (Some(leaf.common_name.to_owned()), leaf.organization.map(str::to_owned));
        if subject != wanted {
            return Some(format!("it is for {}, wanted {}", seen.subject(), said(&wanted)));
        }
        let (names, usage) = (names(&seen), usage(&seen));
        if names != *leaf.names {
            return Some(format!("it is for {}, wanted {}", list(&names), list(leaf.names)));
        }
        if usage != *leaf.usage {
            return Some("it is for other uses".to_owned());
        }
        let (from, end) = (seen.validity().not_before.timestamp(), seen.validity().not_after.timestamp());
        if now < from {
            return Some(format!("it counts from {} on", date(from)));
        }
        if end <= now {
            return Some(format!("it has expired, {}", date(end)));
        }
        let left = (end - now) / DAY;
        // One that its authority's end cut short cannot be better.
        let is_short = left < i64::from(leaf.renew_days) && own.validity().not_after.timestamp() - end > DAY;
        is_short.then(|| format!("it expires in {left} days, {}", date(end)))
    }
}

/// For how many days a certificate is still good at `now`, in seconds since 1970: less than none once it has expired; `None`: it is none.
pub fn days_left(pem: &str, now: i64) -> Option<i64> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let end = parse(&certificate).ok()?.validity().not_after.timestamp();
    Some((end - now).div_euclid(DAY))
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    X509Certificate::from_der(certificate).map(|(_, parsed)| parsed).map_err(|error| error.to_string())
}

/// Common name and organization.
fn subject(certificate: &X509Certificate<'_>) -> (Option<String>, Option<String>) {
    let subject = certificate.subject();
    let text = |attribute: Option<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
        Some(attribute?.as_str().ok()?.to_owned())
    };
    (text(subject.iter_common_name().next()), text(subject.iter_organization().next()))
}

fn said((name, organization): &(Option<String>, Option<String>)) -> String {
    let name = name.as_deref().unwrap_or_default();
    organization
        .as_ref()
        .map_or_else(|| format!("CN={name}"), |organization| format!("O={organization}, CN={name}"))
}

fn names(certificate: &X509Certificate<'_>) -> BTreeSet<SubjectName> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return BTreeSet::new() };
    let address = |bytes: &[u8]| match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(SubjectName::Dns((*name).to_owned())),
        GeneralName::IPAddress(bytes) => address(bytes).map(SubjectName::Address),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}

fn usage(certificate: &X509Certificate<'_>) -> BTreeSet<Usage> {
    let Ok(Some(extension)) = certificate.extended_key_usage() else { return BTreeSet::new() };
    let found = [(extension.value.server_auth, Usage::Server), (extension.value.client_auth, Usage::Client)];
    found.into_iter().filter_map(|(has, usage)| has.then_some(usage)).collect()
}

fn list(names: &BTreeSet<SubjectName>) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
}

/// A day, as people write it.
fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn both() -> BTreeSet<Usage> {
        [Usage::Server, Usage::Client].into()
    }

    fn authority() -> Authority {
        Authority::parse(&new_authority("consul-ca", NOW).unwrap()).unwrap()
    }

    fn leaf<'a>(names: &'a BTreeSet<SubjectName>, usage: &'a BTreeSet<Usage>) -> Leaf<'a> {
        Leaf { common_name: "node-1", organization: None, names, usage, days: 365, renew_days: 30 }
    }

    #[test]
    fn what_is_issued_is_as_wanted_until_it_is_to_be_renewed() {
        let (authority, names, usage) = (authority(), SubjectName::all("node-1 10.0.0.1 fd00::1"), both());
        assert_eq!(names.len(), 3);
        let wanted = leaf(&names, &usage);
        let pem = authority.issue(&wanted, NOW).unwrap();
        assert!(pem.contains("BEGIN CERTIFICATE") && pem.contains("BEGIN PRIVATE KEY"));
        for (days, says) in [
            (0, None),
            (334, None),
            (336, Some("it expires in 29 days, 2027-09-21")),
            (366, Some("it has expired, 2027-09-21")),
            (-2, Some("it counts from 2026-09-20 on")),
        ] {
            assert_eq!(authority.objection(&pem, &wanted, NOW + days * DAY).as_deref(), says, "{days}");
        }
        let left = |pem: &str, now| days_left(pem, now);
        assert_eq!(
            (left(&pem, NOW), left(&pem, NOW + 365 * DAY + 1), left("", NOW)),
            (Some(365), Some(-1), None)
        );
    }

    #[test]
    fn what_is_not_as_wanted_is_named() {
        let (authority, names, usage) = (authority(), SubjectName::all("node-1 10.0.0.1"), both());
        let wanted = leaf(&names, &usage);
        let pem = authority.issue(&wanted, NOW).unwrap();
        let other_names = SubjectName::all("node-1");
        let server = [Usage::Server].into();
        let says = |leaf: Leaf<'_>| authority.objection(&pem, &leaf, NOW).unwrap();
        assert_eq!(says(leaf(&other_names, &usage)), "it is for 10.0.0.1, node-1, wanted node-1");
        assert_eq!(says(leaf(&names, &server)), "it is for other uses");
        let ops = Leaf { organization: Some("ops"), ..wanted };
        assert_eq!(says(ops), "it is for CN=node-1, wanted O=ops, CN=node-1");
        assert_eq!(says(Leaf { common_name: "node-2", ..wanted }), "it is for CN=node-1, wanted CN=node-2");
        // Of the same name, and another key.
        let foreign = Authority::parse(&new_authority("consul-ca", NOW).unwrap()).unwrap();
        let said = foreign.objection(&pem, &wanted, NOW).unwrap();
        assert_eq!(said, "another authority signed it, CN=consul-ca");
        assert_eq!(authority.objection("", &wanted, NOW).unwrap(), "there is no certificate in it");
    }

    #[test]
    fn no_certificate_outlives_its_authority() {
        let (authority, names, usage) = (authority(), SubjectName::all("node-1"), both());
        let wanted = leaf(&names, &usage);
        let late = NOW + (AUTHORITY_DAYS - 10) * DAY;
        let pem = authority.issue(&wanted, late).unwrap();
        assert_eq!(authority.objection(&pem, &wanted, late), None, "there is none that is good for longer");
        let over = NOW + AUTHORITY_DAYS * DAY;
        let error = authority.issue(&wanted, over).unwrap_err();
        assert!(error.to_string().starts_with("the authority has expired, 2036-"), "{error}");
    }

    #[test]
    fn what_is_no_authority_is_named() {
        let own = new_authority("ca", NOW).unwrap();
        let (certificate, key) = own.split_at(own.find("-----BEGIN PRIVATE KEY").unwrap());
        let other = new_authority("ca", NOW).unwrap();
        let (_, other_key) = other.split_at(other.find("-----BEGIN PRIVATE KEY").unwrap());
        let (names, usage) = (SubjectName::all("x"), both());
        let no_authority = Authority::parse(&own).unwrap().issue(&leaf(&names, &usage), NOW).unwrap();
        for (pem, says) in [
            (key.to_owned(), "the authority has no certificate"),
            (certificate.to_owned(), "the authority has no key that can be used"),
            (format!("{certificate}{other_key}"), "for another key than the one beside it"),
            (no_authority, "may not sign others"),
        ] {
            let error = Authority::parse(&pem).err().unwrap().to_string();
            assert!(error.contains(says), "{error}");
        }
        let names = SubjectName::all("köln");
        let error = Authority::parse(&own).unwrap().issue(&leaf(&names, &usage), NOW).unwrap_err();
        assert_eq!(error.to_string(), "`köln` can be no name in a certificate");
    }
}
