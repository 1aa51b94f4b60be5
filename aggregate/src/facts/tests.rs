//! Tests of the rows made from calls.
