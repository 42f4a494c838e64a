//! Tokenizations of whole vocabularies.
