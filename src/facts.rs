//! What a host is asked about itself and how the answer is parsed.
