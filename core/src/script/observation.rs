//! Records of one reply -> what each probe said.

use std::collections::BTreeMap;

use super::Record;

/// What a host's probes said, by probe id.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    values: BTreeMap<String, Vec<(String, Vec<u8>)>>,
}

impl Observation {
    pub fn new<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut values: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for record in records {
            if let Record::Seen { id, key, value } = record {
                values.entry(id.clone()).or_default().push((key.clone(), value.clone()));
            }
        }
        Self { values }
    }

    /// Every probe whose id starts so, with the rest of its id.
    pub fn under(&self, prefix: &str) -> impl Iterator<Item = (&str, Fields<'_>)> {
        self.values.iter().filter_map(move |(id, values)| Some((id.strip_prefix(prefix)?, Fields { values })))
    }

    /// What the probe `id` said; nothing if it was not asked or did not answer.
    pub fn of(&self, id: &str) -> Fields<'_> {
        Fields { values: self.values.get(id).map(Vec::as_slice).unwrap_or_default() }
    }
}

/// The values one probe said, in its order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    values: &'a [(String, Vec<u8>)],
}

impl<'a> Fields<'a> {
    /// Values from elsewhere than a reply: tests.
    pub fn new(values: &'a [(String, Vec<u8>)]) -> Self {
        Self { values }
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The first value of a key, if it is text.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.bytes(key).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The first value of a key.
    pub fn bytes(&self, key: &str) -> Option<&'a [u8]> {
        self.values.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_slice())
    }

    /// Every value of a key that is text.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &'a str> {
        self.all_bytes(key).filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// Every value of a key.
    pub fn all_bytes(&self, key: &str) -> impl Iterator<Item = &'a [u8]> {
        let values = self.values;
        let key = key.to_owned();
        values.iter().filter(move |(name, _)| *name == key).map(|(_, value)| value.as_slice())
    }

    pub fn has(&self, key: &str) -> bool {
        self.bytes(key).is_some()
    }
}

impl From<&[Record]> for Observation {
    fn from(records: &[Record]) -> Self {
        Self::new(records)
    }
}
