//! See `sluice_fuzz::targets::piece`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::targets::piece(data));
