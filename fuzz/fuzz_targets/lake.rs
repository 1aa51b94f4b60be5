//! See `sluice_fuzz::lake::lake`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::lake::lake(data));
