//! See `sluice_fuzz::lake::segment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::lake::segment(data));
