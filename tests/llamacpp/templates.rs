//! Chat templates, byte for byte.
