//! Looks through a gzip stream without keeping anything of it: how much of it can be trusted, and whether it is a bomb.

use std::io::{self, BufRead, Read};

use super::{GzipFault, GzipReader, InflateLimits, RATIO_FLOOR};

const WINDOW: usize = 64 << 10;

/// What was found in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Inflated bytes that are good: all before the damage; none of a member whose checksum is wrong, since the place of the
    /// damage is unknown and a changed digit is still a number; none at all of a bomb.
    pub(crate) trusted: u64,
    /// What is wrong behind them.
    pub(crate) fault: Option<GzipFault>,
}

/// Inflates the whole stream and throws the content away.
///
/// # Errors
/// Only those of `input` itself.
pub(crate) fn survey(input: impl BufRead) -> io::Result<Survey> {
    let mut reader = GzipReader::new(input);
    let mut window = vec![0; WINDOW];
    loop {
        match reader.read(&mut window) {
            Ok(0) => return Ok(Survey { trusted: reader.produced(), fault: None }),
            Ok(_) => {}
            Err(error) => {
                let fault = GzipFault::of(&error).ok_or(error)?;
                let trusted = match fault {
                    GzipFault::Truncated | GzipFault::Invalid => reader.produced(),
                    GzipFault::Checksum => reader.verified(),
                    GzipFault::Bomb => 0,
                };
                return Ok(Survey { trusted, fault: Some(fault) });
            }
        }
    }
}

/// Tells whether a stream inflates beyond every measure from its start on. An honest one is told by its first MiB.
///
/// # Errors
/// Only those of `input` itself.
pub(crate) fn begins_as_bomb(input: impl BufRead) -> io::Result<bool> {
    let max_ratio = InflateLimits::default().max_ratio as u64;
    let mut reader = GzipReader::new(input);
    let mut window = vec![0; WINDOW];
    loop {
        match reader.read(&mut window) {
            Ok(0) => return Ok(false),
            Ok(_) if reader.produced() >= RATIO_FLOOR as u64 && reader.produced() <= reader.consumed().saturating_mul(max_ratio) => {
                return Ok(false);
            }
            Ok(_) => {}
            Err(error) => return GzipFault::of(&error).map(|fault| fault == GzipFault::Bomb).ok_or(error),
        }
    }
}
