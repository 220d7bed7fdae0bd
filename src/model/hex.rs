//! Bytes -> text.

/// Bytes in hex, two small letters each: how a digest is written everywhere.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
