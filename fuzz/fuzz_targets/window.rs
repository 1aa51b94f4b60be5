//! See `sluice_fuzz::lake::window`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::lake::window(data));
