//! Tests of the lake against its own reader.
