//! See `sluice_fuzz::targets::aws_offer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::targets::aws_offer(data));
