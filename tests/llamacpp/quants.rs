//! Each weight format: blocks, and models that mix formats.
